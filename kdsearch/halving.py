"""Successive halving: the rungs at which weak students are stopped, and who goes on.

    rungs(240, grace=30, factor=2, settled=155)     (30, 60, 120, 155)
    goes_on(0.61, [0.55, 0.70, 0.64], factor=2)     False
    stops([("a", 1, 0.5), ("b", 1, 0.4)], ...)      {"b": 1}

ASHA in its stopping variant (Li et al., MLSys 2020, arXiv 1810.05934). One law serves the scheduler
that stops students and the report that asks afterwards what other rungs would have done.
"""

from collections.abc import Collection, Iterable

import numpy as np


def rungs(
    epochs: int, grace: int, factor: float, warmup: int = 0, settled: int | None = None
) -> tuple[int, ...]:
    """The epochs after which students are compared, ascending, all below `epochs`.

    They lie `grace` times the powers of `factor` after the warm-up. Where the learning rate drops
    late, ranks before the drop can mislead: `settled` is the first epoch at which they have settled
    again, and a rung of its own unless one lies between it and the end.

    Raises:
        ValueError: no rung would lie between warm-up and end, or the factor does not reduce.
    """
    if not 1 <= grace < epochs - warmup:
        after = f" after {warmup} of warm-up" if warmup else ""
        raise ValueError(
            f"1 <= grace_period < epochs={epochs - warmup}{after} must hold, but got {grace}"
        )
    if factor <= 1:
        raise ValueError(f"reduction_factor > 1 must hold, but got {factor}")
    found = []
    step = float(grace)
    while warmup + int(step) < epochs:
        found.append(warmup + int(step))
        step *= factor
    if settled and found[-1] < settled < epochs:
        found.append(settled)
    return tuple(dict.fromkeys(found))


def cutoff(values: Collection[float], factor: float) -> float:
    """What a student must reach to be among the best 1/`factor` of some; -inf of none."""
    if not values:
        return float("-inf")
    return float(np.quantile(list(values), 1 - 1 / factor))


def goes_on(value: float, earlier: Collection[float], factor: float) -> bool:
    """Whether a student's accuracy at a rung is good enough beside those that came before it.

    The first one at a rung always is. A value that is not a number never is.
    """
    return value >= cutoff(earlier, factor)


def stops(
    observed: Iterable[tuple[str, int, float]], rungs: Collection[int], factor: float
) -> dict[str, int]:
    """When each student would have been stopped, by name; those that are not stopped are absent.

    `observed` are (name, epoch, accuracy) in the order in which they came. Students that meet a
    rung after they were stopped at an earlier one are not counted there.
    """
    met: dict[int, list[float]] = {rung: [] for rung in rungs}
    stopped: dict[str, int] = {}
    for name, epoch, accuracy in observed:
        if epoch not in met or name in stopped:
            continue
        if not goes_on(accuracy, met[epoch], factor):
            stopped[name] = epoch
        met[epoch].append(accuracy)
    return stopped
