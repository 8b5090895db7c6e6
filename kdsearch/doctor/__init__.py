"""The doctor: what would spoil a search before it costs anything, each with its remedy.

    for finding in examined(storage, study="study.yaml"):
        print(*finding.lines(), sep="\\n")

A check is a generator of findings and a name in its file's `CHECKS`: those of `environment.py` look
at a machine, a cluster and a tracker, those of `patient.py` at a study's data and teacher.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from kdsearch import data
from kdsearch.doctor import environment, patient
from kdsearch.doctor.environment import Surroundings
from kdsearch.doctor.finding import Finding, ok, wrong
from kdsearch.doctor.patient import Patient
from kdsearch.errors import KdsearchError, Mistakes
from kdsearch.search.study import Study

__all__ = ["Finding", "examined"]

On = TypeVar("On")


def examined(
    storage: Path,
    study: Study | str | Path | None = None,
    address: str | None = None,
    checkpoints: str | None = None,
) -> Iterator[Finding]:
    """Every finding, as soon as it is made: of the environment, then of the study if one is given.

    A study whose file or data cannot be read is a finding too, and has no further ones.
    """
    loaded: list[Study] = []
    if study is not None:
        yield from _found(_study, (study, loaded))
    own = loaded[0] if loaded else None
    surroundings = Surroundings(storage, address, checkpoints, own)
    for check in environment.CHECKS:
        yield from _found(check, surroundings)
    patients: list[Patient] = []
    if own:
        yield from _found(_data, (own, storage, patients))
    for each in patients:
        for examine in patient.CHECKS:
            yield from _found(examine, each)


def _found(check: Callable[[On], Iterator[Finding]], on: On) -> Iterator[Finding]:
    """The findings of one check under its name; what it raises is one of them."""
    name = check.__name__.strip("_").replace("_", " ")
    try:
        for finding in check(on):
            yield finding._replace(check=name)
    except Mistakes as error:
        yield from (wrong(str(problem))._replace(check=name) for problem in error.problems)
    except KdsearchError as error:
        yield wrong(str(error))._replace(check=name)
    except Exception as error:  # noqa: BLE001 - a check that fails is a finding, and no end
        said = f"it could not be checked ({type(error).__name__}: {error})."
        yield wrong(said, "What is checked is as unusual as this: look there first.")._replace(
            check=name
        )


def _study(given: tuple[Study | str | Path, list[Study]]) -> Iterator[Finding]:
    study, loaded = given
    loaded.append(study if isinstance(study, Study) else Study.load(study))
    yield ok(f"{loaded[0].name} has no mistake, digest {loaded[0].digest}")


def _data(given: tuple[Study, Path, list[Patient]]) -> Iterator[Finding]:
    study, storage, patients = given
    splits = data.load(**study.data.arguments)
    patients.append(Patient(study, splits, storage))
    sizes = (len(rows) for rows in (splits.train, splits.validation, splits.test))
    counts = "{:,} training, {:,} validation and {:,} test images".format(*sizes)
    yield ok(f"{counts} of {splits.classes} classes")
