"""Selection bias: what choosing by validation gave, beside what the test would have chosen.

The search chooses by validation, so the student it would hand over is the found setting that stood
highest there. Whichever row leads on the test was chosen by the test: its lead flatters it.
"""

from statistics import mean

from kdsearch.reporting.leaderboard import leaderboard
from kdsearch.tracking import Record, TrialRecord


def selection(record: Record) -> list[str]:
    """In sentences; empty where the finals hold no setting that the search found."""
    rows = leaderboard(record)
    searched = _validation(record)
    found = {row.name: row for row in rows if row.name in searched}
    if not found:
        return []
    chosen = max(found, key=lambda name: searched[name])
    best, ours = rows[0], found[chosen]
    said = (
        f"Chosen by validation: {chosen}, {100 * searched[chosen]:.2f} % there and"
        f" {ours.mean:.2f} % on test."
    )
    if best.name == chosen:
        said += " It also leads on test."
    else:
        said += (
            f" {best.name} leads on test by {best.mean - ours.mean:.2f} points; naming it the"
            " winner is choosing by test, and flatters it."
        )
    gap = mean(100 * searched[name] - row.mean for name, row in found.items())
    stood = "higher" if gap > 0 else "lower"
    return [
        said,
        f"Found settings stood {abs(gap):.2f} points {stood} on validation, where they were chosen,"
        " than on test after training on both parts.",
    ]


def _validation(record: Record) -> dict[str, float]:
    """The validation accuracy in the search of each found row, by its name."""
    finals = {t.row: t for t in record.of_kind("final") if t.origin == "found"}
    found = {}
    for name, final in finals.items():
        same = [t for t in record.searched if _settings(t) == _settings(final)]
        if same:
            found[name] = max(trial.accuracy for trial in same)
    return found


def _settings(trial: TrialRecord) -> dict[str, object]:
    return {key: value for key, value in trial.experiment.items() if key != "seed"}
