"""Comparison of accuracies: of ours with each other, seed by seed, and of ours with published rows.

Rows of one board share their seeds, so differences are paired. A published row is a mean of other
seeds, with a spread and a count if the paper says them, so it is met by a test of two samples. The
statistics are scipy's.
"""

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Literal, NamedTuple

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """A mean paired difference with its confidence interval and the p of its being zero.

    All but the mean are None where the data carry none: n < 2, or no spread at all to estimate.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None = None


class Verdict(NamedTuple):
    """How our mean stands to a published one: the two-sided p, and what it allows to say."""

    word: Literal["above", "consistent", "below"]
    p: float | None


def spread(values: Sequence[float]) -> float:
    """The sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """A mean's 95 % confidence interval by Student's t; None of fewer than two, or no spread."""
    return interval_of(mean(values), spread(values), len(values)) if values else None


def interval_of(centre: float, std: float | None, n: int | None) -> tuple[float, float] | None:
    """The same of a mean, standard deviation and count; None where one of them is not known."""
    if not std or not n or n < 2:
        return None
    from scipy import stats

    low, high = stats.t.interval(CONFIDENCE, n - 1, centre, std / n**0.5)
    return float(low), float(high)


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

    test = stats.ttest_rel(ours, theirs)
    interval = test.confidence_interval(CONFIDENCE)
    return Difference(centre, float(interval.low), float(interval.high), float(test.pvalue))


def adjusted(ps: Sequence[float | None]) -> list[float | None]:
    """p values corrected for how many there are; None stays None.

    Benjamini and Hochberg's, which holds for comparisons with one reference (they depend on each
    other positively): of the differences that are called real at 5 %, at most 5 % are expected not
    to be, and where none is real, any is called so in at most 5 % of boards.
    """
    known = [p for p in ps if p is not None]
    if not known:
        return list(ps)
    from scipy import stats

    corrected = iter(stats.false_discovery_control(known).tolist())
    return [None if p is None else next(corrected) for p in ps]


def verdict(
    ours: Sequence[float], published: float, std: float | None = None, n: int | None = None
) -> Verdict:
    """Our accuracies against a published mean, with false alarms in at most 5 % of cases.

    With its own spread and a count of at least two, Welch's statistic with the smaller of the two
    degrees of freedom: Welch's own approximate ones raise 7 % of false alarms against three runs of
    a larger spread (Mickey and Brown, 1966, for the bound). Else the published figure is taken as
    one of `n` runs (1 where the paper does not say) with the spread of ours. Fewer than two runs of
    ours, or no spread at all, allow no claim: consistent, without p.
    """
    own = spread(ours)
    theirs = std if n and n > 1 else None
    if len(ours) < 2 or not (own or theirs):
        return Verdict("consistent", None)
    from scipy import stats

    freedom, count = len(ours) - 1, n or 1
    if theirs:
        freedom = min(freedom, count - 1)
    error = math.hypot(own / len(ours) ** 0.5, (theirs or own) / count**0.5)
    p = float(2 * stats.t.sf(abs(mean(ours) - published) / error, freedom))
    if p >= 1 - CONFIDENCE:
        return Verdict("consistent", p)
    return Verdict("above" if mean(ours) > published else "below", p)
