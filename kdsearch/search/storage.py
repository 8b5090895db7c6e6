"""The storage folder: finding searches, numbering them, and keeping them to one process each.

storage/searches/<study>-<digest>-<number>/{study.json, journal.jsonl}
storage/diagnoses/...                       the same of diagnoses
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kdsearch.errors import SearchError
from kdsearch.files import write_atomically
from kdsearch.tracking import Journal, Record

if TYPE_CHECKING:  # a study needs torch, and looking at a finished search does not
    from kdsearch.search.study import Study


def _thrown_away(place: Path) -> bool:
    """Whether a place lies in the copy of a working folder that Ray makes for a job."""
    return "working_dir_files" in place.absolute().parts


DEFAULT = Path.home() / "kdsearch" if _thrown_away(Path()) else Path("runs")
"""`runs`; in a Ray job `~/kdsearch`, because its working folder goes when it ends."""
SUBMITTED_BY = "KDSEARCH_SUBMITTED_BY"
"""Tells a job which version of kdsearch has checked its study."""


def searches(storage: Path, room: str = "searches") -> list[Path]:
    """The folders of all searches (or diagnoses), the one that wrote last at the end."""
    journals = (storage / room).glob("*/journal.jsonl")
    return [journal.parent for journal in sorted(journals, key=lambda file: file.stat().st_mtime)]


def named(storage: Path, name: str | None = None) -> Path:
    """The search of this name; the one that wrote last if None.

    Raises:
        SearchError: there is none.
    """
    found = searches(storage)
    if not found:
        raise SearchError(
            f"a search must have been run, but {storage} holds none. Start one with"
            " `kdsearch run STUDY`, or say with --storage where it is."
        )
    if name is None:
        return found[-1]
    for folder in found:
        if folder.name == name:
            return folder
    raise SearchError(
        f"a search must be one of those in {storage}, but got {name!r}."
        f" Valid: {', '.join(folder.name for folder in found)}."
    )


def unfinished(storage: Path, study: "Study | None" = None) -> Path:
    """The unfinished search that wrote last: of this study, or of any.

    Raises:
        SearchError: there is none.
    """
    stem = "" if study is None else _stem(study)
    for folder in reversed(searches(storage)):
        if folder.name.startswith(stem) and not record_of(folder).finished:
            return folder
    of_study = f" of {study.name!r}" if study else ""
    raise SearchError(
        f"a search must be unfinished to be resumed, but {storage} holds no unfinished one"
        f"{of_study}. See what is finished with `kdsearch leaderboard`."
    )


def record_of(folder: Path) -> Record:
    """What a search's journal says."""
    return Record.of(Journal(folder / "journal.jsonl"))


def study_of(folder: Path) -> "Study":
    """The study that a search was started with."""
    from kdsearch.search.study import Study

    return Study.of(json.loads((folder / "study.json").read_text()), source=folder.name)


def folder_for(study: "Study", storage: Path, fresh: bool = False, room: str = "searches") -> Path:
    """Where a run of this study writes: its unfinished search, or a new folder.

    `fresh` starts a new one in any case. `room` is `searches`, `diagnoses` or
    `reproductions`.

    Raises:
        SearchError: the storage would go with the job that writes it.
    """
    if _thrown_away(storage):
        raise SearchError(
            f"storage must outlive the job that writes it, but {storage} lies in the job's copy of"
            " the working folder. Give --storage or KDSEARCH_STORAGE an absolute path, best of a"
            " disk that all nodes share."
        )
    prefix = {"diagnoses": "diagnosis-", "reproductions": "reproduction-"}.get(room, "")
    stem = prefix + _stem(study)
    (storage / room).mkdir(parents=True, exist_ok=True)
    with _locked(storage / room / ".lock", fcntl.LOCK_EX):  # two may begin at once
        return _folder(storage, stem, study, fresh, room)


def _folder(storage: Path, stem: str, study: "Study", fresh: bool, room: str) -> Path:
    own = [folder for folder in searches(storage, room) if folder.name.startswith(stem)]
    if own and not fresh and not record_of(own[-1]).finished:
        return own[-1]
    numbers = [int(folder.name.removeprefix(stem)) for folder in own]
    folder = storage / room / f"{stem}{max(numbers, default=0) + 1}"
    folder.mkdir(exist_ok=True)  # one without a journal was never begun
    write_atomically(folder / "study.json", study.model_dump_json(indent=2).encode())
    (folder / "journal.jsonl").touch()
    return folder


def _stem(study: "Study") -> str:
    return f"{study.name}-{study.digest[:8]}-"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a search's folder; the lock goes with the process, however it ends.

    Raises:
        SearchError: another process runs this search.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            raise SearchError(
                f"a search may have one driver, but {folder.name} is being run by another process."
                " Wait for it, stop it, or start beside it with `kdsearch run --fresh`."
            ) from None
        yield


@contextmanager
def _locked(file: Path, how: int) -> Iterator[None]:
    """Hold a lock; how: what flock takes. It goes with the process, however it ends."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
