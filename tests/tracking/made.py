"""A search of the pair resnet32x4 and resnet8x4, made by hand, that has met two published rows."""

from typing import Any

from kdsearch import baselines
from kdsearch.reporting.standings import standings
from kdsearch.tracking import Conclusion, Journal, Record

PAPER = "WTTM (zheng2024ttm)"
FINALS = {
    "kd (published)": (0.73, 0.735, 0.731),
    "wttm (found)": (0.75, 0.765, 0.758),
}
"""Test accuracies over the seeds."""


def search(journal: Journal, name: str = "pair-1", finished: bool = True) -> Journal:
    """One pruned trial, one failed, one running if not finished, and the finals of two rows."""
    study = {"name": "pair", "question": "Q?", "recipe": {"epochs": 240}, "search": {"seed": 0},
             "data": {"name": "cifar100"}}  # fmt: skip
    sizes = {"train": 40_000, "validation": 10_000, "test": 10_000, "classes": 100}
    journal.append("search", study=study, name=name, digest="d", data="0123456789abcdef", slots=1,
                   sizes=sizes, environment={"commit": "c"})  # fmt: skip
    for method in ("kd", "wttm"):
        row = baselines.query("resnet32x4", "resnet8x4", "cifar100", method=method)[0]
        journal.append("paper", row=row.model_dump(), marks=row.marks())
    training(journal, "t0000", "kd", [0.5], "pruned", reason="stopped after epoch 1")
    training(journal, "t0001", "wttm", [0.4], "failed", reason="the training loss was not finite")
    training(journal, "c0000", "kd", [0.55, 0.6], "finished", kind="control")
    for number, (row_name, accuracies) in enumerate(FINALS.items()):
        for seed, accuracy in enumerate(accuracies):
            family, origin = row_name.rstrip(")").split(" (")
            training(journal, f"f{number:03d}-{seed}", family, [0.5, accuracy], "finished",
                     kind="final", row=row_name, origin=origin, seed=seed)  # fmt: skip
    if finished:
        journal.append("finished")
    else:
        training(journal, "t0002", "kd", [0.5], "running")
    return journal


def training(journal: Journal, id: str, family: str, curve: list[float], status: str,
             kind: str = "trial", row: str = "", origin: str = "published", seed: int = 0,
             **told: Any) -> None:  # fmt: skip
    """A training by its events; one that is running has no end."""
    experiment = {"objective": {"name": family, "temperature": 4.0}, "seed": seed,
                  "recipe": {"learning_rate": 0.1, "epochs": 240}}  # fmt: skip
    journal.append("trial", id=id, kind=kind, family=family, origin=origin, row=row,
                   experiment=experiment)  # fmt: skip
    for epoch, accuracy in enumerate(curve, start=1):
        journal.append("epoch", id=id, epoch=epoch, accuracy=accuracy, loss=1.0, train_loss=None,
                       seconds=0.1)  # fmt: skip
    if status != "running":
        journal.append("end", id=id, status=status, **told)


def outcome(journal: Journal) -> Conclusion:
    """What a finished search hands to MLflow."""
    return Conclusion(tuple(standings(Record.of(journal))), {"student_epochs": 17.0}, "The answer.")
