"""What of a working folder travels with a job: by Ray's own rules, and under the dashboard's limit.

A study's file, those that it extends, its code, and the files that it names relatively must be
among it. Absolute paths and URIs are the cluster's own.
"""

import logging
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from kdsearch.errors import Problem, SearchError, StudyError
from kdsearch.search.plan import elsewhere
from kdsearch.search.study import Study, named_files
from kdsearch.search.yaml12 import parse_yaml

LIMIT = 100 * 2**20  # bytes of a request that Ray's dashboard accepts
EXCLUDES = (
    *("/runs", "mlruns", "mlartifacts", "mlflow.db"),
    *(".git", ".venv", "venv", "__pycache__", "*.egg-info"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
)
"""Never uploaded, written as in .gitignore: results, environments and caches."""

Files = Mapping[Path, int]
"""Paths relative to a working folder, and their sizes in bytes."""


def packed(folder: Path) -> Files:
    """The files that Ray uploads of a folder: not those of EXCLUDES, .gitignore and .rayignore."""
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE
    from ray._private.runtime_env import packaging

    found: dict[Path, int] = {}

    def note(path: Path) -> None:
        if path.is_file():
            found[path.relative_to(folder)] = path.stat().st_size

    packaging._dir_travel(
        folder,
        [packaging._get_excludes(folder, list(EXCLUDES))],
        note,
        include_gitignore=os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1",
        logger=logging.getLogger(__name__),  # Ray's own would name every ignore file
    )
    return found


def check_size(folder: Path, files: Files) -> None:
    """Refuse what the dashboard would, before anything is sent.

    Raises:
        SearchError: the folder is too large; the largest files are named.
    """
    # Stored in a zip archive without compression: two headers with the name, and an end.
    size = sum(files.values()) + sum(76 + 2 * len(str(path).encode()) for path in files) + 22
    if size <= LIMIT:
        return
    largest = sorted(files, key=lambda path: files[path], reverse=True)[:5]
    shown = ", ".join(f"{path} ({_mib(files[path])})" for path in largest)
    raise SearchError(
        f"a working folder must have at most {_mib(LIMIT)} to be uploaded, but {folder} has"
        f" {_mib(size)} in {len(files)} files. The largest: {shown}. List in"
        f" {folder / '.rayignore'} what the study does not need, written as in .gitignore. Put the"
        " data and checkpoints that it does need where the cluster sees them, and name them in the"
        " study by absolute path or URI; or say `download: true`."
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def check_files(file: Path, study: Study, folder: Path, files: Files) -> list[str]:
    """Hold a study, loaded in its working folder, against what of that folder is uploaded.

    Returns:
        The places that the study names and that the cluster alone can find.

    Raises:
        StudyError: a file that it needs would stay behind.
    """
    own = dict(named_files(study.model_dump(mode="json")))
    code = _chain(file) | {path: each for path, each in own.items() if path.endswith("file")}
    others = [(path, each) for path, each in own.items() if path not in code]
    others += [("data", place) for place in study.data.places]
    needed = [*code.items(), *((path, each) for path, each in others if not elsewhere(each))]
    problems = [
        Problem(path, law) for path, each in needed if (law := _behind(each, folder, files))
    ]
    if problems:
        raise StudyError(file.name, dict.fromkeys(problems))
    return [each for _, each in others if elsewhere(each)]


def _chain(file: Path) -> dict[str, str]:
    """A study's file and those that it extends, by where they are named."""
    found, path = {"": str(file)}, "extends"
    while base := parse_yaml(file.read_text(encoding="utf-8")).get("extends"):
        file = file.parent / str(base)
        found[path] = str(file)
        path += ".extends"
    return found


def _behind(place: str, folder: Path, files: Files) -> str:
    """Why a file or folder would not be in the job's copy of the working folder; "" if it is."""
    inside = Path(os.path.relpath(folder / place, folder))
    if inside.parts[:1] == ("..",):
        return (
            f"must lie in the working folder {folder}, of which the job gets a copy, but got"
            f" {place!r}. Move it there, or name a --working-dir that holds it and the study."
        )
    travels = any(
        inside in (path, *path.parents) or fnmatch(str(path), str(inside)) for path in files
    )
    if travels or not any(folder.glob(str(inside))):  # what is not here yet is for a download
        return ""
    return (
        f"must travel with the job, but {place!r} is left out of the upload by .gitignore,"
        f" .rayignore or the names that never are ({', '.join(EXCLUDES)}). Take it out of there, or"
        " put it where the cluster sees it and name it by absolute path or URI."
    )
