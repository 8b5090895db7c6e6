"""Published rows beside ours: what may be said of the two, and nothing where protocols differ.

Ours is the setting that the search found for the same objective, which validation chose, else the
one at published settings. A figure that was chosen among epochs or runs by its test accuracy
flatters its method: ours may still be called above it, and no more. Students of teachers that are
more than `TEACHERS_APART` apart answer another question.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kdsearch.reporting.compare import CONFIDENCE, adjusted, verdict
from kdsearch.tracking import Record, TrialRecord

NOT_COMPARABLE = "not comparable"
TEACHERS_APART = 1.0
"""Points of test accuracy. A teacher of ours is another training run than the paper's, and lies
about that far from it."""


@dataclass(frozen=True)
class Judged:
    """A published row, and how ours stands to it; accuracies in percent.

    row: the fields of `baselines.Row`. marks: what must be said of it. ours: the name of our row,
    empty where we have none of its objective. word: `above`, `consistent`, `below` or
    `not comparable`, with the reason; empty without ours. p: corrected for all that are compared.
    """

    row: Mapping[str, Any]
    marks: tuple[str, ...]
    ours: str = ""
    word: str = ""
    reason: str = ""
    p: float | None = None

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of `HEADINGS`."""
        row = self.row
        return (
            row["method"],
            f"{row['top1']:.2f}",
            "" if row["std"] is None else f"{row['std']:.2f}",
            str(row["n"] or ""),
            str(row["epochs"] or ""),
            row["source"],
            "; ".join(self.marks),
            self.ours,
            f"{self.word}: {self.reason}" if self.reason else self.word,
            "" if self.p is None else f"{self.p:.3f}",
        )


HEADINGS = (
    "method", "test %", "std", "n", "epochs", "published in", "to be said of it",
    "ours of the same objective", "stands", "p",
)  # fmt: skip


def judged(record: Record) -> list[Judged]:
    """The published rows of a record's dataset, teacher and student, the best first."""
    ours = _ours(record)
    events = sorted(record.papers, key=lambda event: -float(event["row"]["top1"]))
    found = []
    for event in events:
        row, taught = event["row"], event.get("teacher_top1")
        marks = (*event["marks"], *([f"its teacher has {taught:.2f} %"] if taught else []))
        if row["objective"] not in ours:
            found.append(Judged(row, marks))
            continue
        name, accuracies = ours[row["objective"]]
        word, p = verdict(accuracies, row["top1"], row["std"], row["n"])
        reason = _difference(record, row) or _other_teacher(record, taught)
        if not reason and word != "above" and (flattered := _flattered(row)):
            reason = flattered
        if reason:
            found.append(Judged(row, marks, name, NOT_COMPARABLE, reason))
        else:
            found.append(Judged(row, marks, name, word, p=p))
    return _corrected(found)


def _corrected(found: list[Judged]) -> list[Judged]:
    """With p corrected for all comparisons; what it no longer carries is consistent."""
    ps = adjusted([each.p for each in found])
    return [
        replace(each, p=p, word="consistent" if p and p >= 1 - CONFIDENCE else each.word)
        for each, p in zip(found, ps, strict=True)
    ]


def _ours(record: Record) -> dict[str, tuple[str, list[float]]]:
    """Of each objective the row to compare with, by its name, and its accuracies."""
    finals: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in record.of_kind("final"):
        if trial.status == "finished":
            finals[trial.row].append(trial)
    published_first = sorted(finals.items(), key=lambda item: item[1][0].origin == "found")
    return {
        group[0].family: (name, [100 * trial.accuracy for trial in group])
        for name, group in published_first
    }


def _difference(record: Record, row: Mapping[str, Any]) -> str:
    """How a published row's protocol differs from ours, in words; empty where it does not."""
    epochs = record.header["study"]["recipe"]["epochs"]
    if row["subset"]:
        return f"on a part of the data, {row['subset']}"
    if row["split"] != "test" and row["dataset"] != "imagenet1k":  # whose test labels nobody has
        return f"accuracy on {row['split']}"
    if row["epochs"] != epochs:
        return f"{row['epochs'] or 'an unknown number of'} epochs, ours {epochs}"
    return ""


def _other_teacher(record: Record, taught: float | None) -> str:
    """How a published row's teacher differs from ours, in words; empty where it hardly does."""
    ours = record.facts.get("teacher_test_accuracy")
    if taught is None or ours is None or abs(100 * ours - taught) <= TEACHERS_APART:
        return ""
    return f"a teacher of {taught:.2f} %, ours {100 * ours:.2f} %"


def _flattered(row: Mapping[str, Any]) -> str:
    """Why a figure may be better than its method, in words."""
    if row["selection"] != "mean":
        return str(row["selection"])
    if row["epoch"] != "last":
        return "best test epoch" if row["epoch"] == "best_test" else "which epoch is not said"
    return ""
