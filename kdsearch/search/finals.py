"""The finals: the best setting of every family and the published ones, over the same seeds.

Each is trained on train and validation together for the full number of epochs and tested after the
last one. The seeds are new to all of them, and paired: every row meets the same ones.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kdsearch.search.jobs import Job
from kdsearch.search.study import Study
from kdsearch.tracking import Record, TrialRecord
from kdsearch.training import Experiment

HINTON = "kd (published)"
"""The row that all differences are taken to: distillation at the field's standard settings."""


class Row(NamedTuple):
    """One line of the finals: its name, family, where its settings come from, and what it is."""

    name: str
    family: str
    origin: str
    experiment: dict[str, Any]


def rows(study: Study, record: Record) -> list[Row]:
    """Published settings first, then the best that was found for each family.

    A family's best is its finished student with the highest validation accuracy, ties broken by
    the lower validation loss; where none finished, the one that came furthest. A found setting
    that equals a published one is not listed twice.
    """
    chosen: dict[str, Row] = {}
    for drawn in study.published():
        name = drawn["objective"]["name"]
        row = Row(f"{name} (published)", name, "published", study.assembled(drawn))
        chosen[_key(row.experiment)] = row
    best: dict[str, TrialRecord] = {}
    for trial in record.searched:
        if trial.status in ("finished", "pruned"):
            best[trial.family] = max(best.get(trial.family, trial), trial, key=_merit)
    for name, trial in best.items():
        row = Row(f"{name} (found)", name, "found", trial.experiment)
        chosen.setdefault(_key(row.experiment), row)
    return list(chosen.values())


def jobs(study: Study, chosen: list[Row]) -> Iterator[Job]:
    """One job per seed and row, seed by seed, so that an interrupted final is a paired one."""
    for number in range(study.final.seeds):
        for index, row in enumerate(chosen):
            yield Job(
                id=f"f{index:03d}-{number}",
                kind="final",
                family=row.family,
                origin=row.origin,
                row=row.name,
                experiment=row.experiment | {"seed": study.search.seed + 1 + number},
            )


def _merit(trial: TrialRecord) -> tuple[bool, int, float, float]:
    return trial.status == "finished", len(trial.epochs), trial.accuracy, -trial.loss


def _key(experiment: dict[str, Any]) -> str:
    return Experiment.model_validate(experiment).digest
