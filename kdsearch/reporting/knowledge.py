"""What the winner knows: its mistakes, how sure it is of itself, and what it took from its teacher.

Of the finals' kept predictions on the test part, averaged over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdsearch.reporting.leaderboard import REFERENCE, TUNED, leaderboard
from kdsearch.tracking import Outcomes, Record, Said

BINS = 10
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Knowledge:
    """Of one row of the leaderboard, over its seeds; shares are in [0, 1].

    confusion: (classes, classes), of each true class (row) the share that is taken for each other.
    confidence, accuracy, count: per bin of confidence, those that hold any example. error: expected
    calibration error. agreement: share of the test examples on which it says what its teacher says,
    and faithful: of those on which the teacher is wrong; None where the teacher's word is not kept.
    gain: (classes,) points of accuracy per class over `other`, the tuned kd; None without one.
    """

    name: str
    confusion: Floats
    confidence: Floats
    accuracy: Floats
    count: npt.NDArray[np.int64]
    error: float
    agreement: float | None
    faithful: float | None
    other: str
    gain: Floats | None

    def lines(self) -> list[str]:
        """In sentences."""
        lines = [f"{self.name} is off by {100 * self.error:.1f} points from its own confidence."]
        if self.agreement is not None:
            lines.append(f"It says what its teacher says of {self.agreement:.1%} of the examples")
            if self.faithful is not None:
                lines[-1] += f", and of {self.faithful:.1%} of those on which the teacher is wrong"
            lines[-1] += "."
        return lines


def knowledge(record: Record, outcomes: Outcomes) -> Knowledge | None:
    """Of the row that leads; None where its predictions were not kept."""
    rows = leaderboard(record)
    kept = outcomes.test()
    if not rows or kept is None:
        return None
    labels, teacher = kept
    said = _said(record, outcomes, rows[0].name)
    if not said:
        return None
    classes = record.header["sizes"]["classes"]
    wrong = teacher.predicted != labels if teacher else np.zeros(len(labels), dtype=np.bool_)
    names = [row.name for row in rows]
    other = next((n for n in (TUNED, REFERENCE) if n in names and n != rows[0].name), "")
    others = _said(record, outcomes, other) if other else []
    gain = None
    if others:
        ours, theirs = (_per_class(labels, each, classes) for each in (said, others))
        gain = 100 * (ours - theirs)
    confidence, accuracy, count = _bins(labels, said)
    return Knowledge(
        name=rows[0].name,
        confusion=_confusion(labels, said, classes),
        confidence=confidence,
        accuracy=accuracy,
        count=count,
        error=float((np.abs(confidence - accuracy) * count).sum() / count.sum()),
        agreement=_mean(said, teacher, slice(None)) if teacher else None,
        faithful=_mean(said, teacher, wrong) if teacher and wrong.any() else None,
        other=other,
        gain=gain,
    )


def _said(record: Record, outcomes: Outcomes, row: str) -> list[Said]:
    """What each seed of a row said, as far as it was kept."""
    finals = [t for t in record.of_kind("final") if t.row == row and t.status == "finished"]
    return [said for final in finals if (said := outcomes.said(final.id))]


def _mean(said: Sequence[Said], teacher: Said, where: "npt.NDArray[np.bool_] | slice") -> float:
    agreed = [(each.predicted == teacher.predicted)[where].mean() for each in said]
    return float(np.mean(agreed))


def _confusion(labels: npt.NDArray[np.int64], said: Sequence[Said], classes: int) -> Floats:
    counts = np.zeros((classes, classes))
    for each in said:
        np.add.at(counts, (labels, each.predicted), 1)
    shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _per_class(labels: npt.NDArray[np.int64], said: Sequence[Said], classes: int) -> Floats:
    right: Floats = _confusion(labels, said, classes).diagonal()
    return right


def _bins(
    labels: npt.NDArray[np.int64], said: Sequence[Said]
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Mean confidence, accuracy and count of the bins that hold any example."""
    sure = np.concatenate([each.confidence for each in said]).astype(np.float64)
    right = np.concatenate([each.predicted == labels for each in said]).astype(np.float64)
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    held = count > 0
    sums = (np.bincount(bins, weights=of, minlength=BINS)[held] for of in (sure, right))
    confidence, accuracy = (each / count[held] for each in sums)
    return confidence, accuracy, count[held]
