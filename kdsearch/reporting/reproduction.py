"""Did a row come out again? The same seeds, held against what was recorded of them."""

from statistics import mean

from kdsearch.reporting.compare import interval
from kdsearch.tracking import Record


def verdict(past: Record, again: Record, row: str) -> tuple[bool, list[str]]:
    """Whether the row came out within the recorded interval, and what to say of it.

    Of fewer than two seeds, or seeds that were all alike, there is no interval: only the same
    accuracies are the same.
    """
    then, now = (_accuracies(each, row) for each in (past, again))
    missing = sorted(then.keys() - now.keys())
    if missing:
        return False, [f"Seeds {', '.join(map(str, missing))} failed this time."]
    gaps = [abs(now[seed] - then[seed]) for seed in then]
    centre, known = mean(now[seed] for seed in then), interval(list(then.values()))
    said = [
        f"{row}: {mean(then.values()):.2f} % then, {centre:.2f} % now, over {len(then)} seeds;"
        f" the largest difference of a seed is {max(gaps):.2f} points."
    ]
    if max(gaps) == 0:
        return True, [*said, "Reproduced to the last digit."]
    if known is None:
        return False, [*said, "Not reproduced: with no interval, only the same figures would do."]
    low, high = known
    within = low <= centre <= high
    where = f"the recorded 95 % interval, {low:.2f} to {high:.2f}"
    told = f"Reproduced: within {where}." if within else f"Not reproduced: outside {where}."
    return within, [*said, told]


def _accuracies(record: Record, row: str) -> dict[int, float]:
    """Percent, by seed."""
    return {
        trial.experiment["seed"]: 100 * trial.accuracy
        for trial in record.of_kind("final")
        if trial.row == row and trial.status == "finished"
    }
