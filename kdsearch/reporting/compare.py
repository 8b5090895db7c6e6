"""Comparison of paired results: same seeds, same data, so differences are taken seed by seed."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """A mean paired difference with its confidence interval.

    The ends are None where the data carry none: n < 2, or no spread at all to estimate.
    """

    mean: float
    low: float | None
    high: float | None


def spread(values: Sequence[float]) -> float:
    """The sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Mean of ours - theirs over paired seeds, with Student's t interval at 95 %.

    Args:
        ours, theirs: accuracies of the same seeds in the same order.
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    centre = mean(differences)
    if spread(differences) == 0:
        return Difference(centre, None, None)
    from scipy import stats  # takes most of a second to import

    interval = stats.ttest_rel(ours, theirs).confidence_interval(CONFIDENCE)
    return Difference(centre, float(interval.low), float(interval.high))
