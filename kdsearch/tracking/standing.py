"""What a search comes to, as plain values that a tracker can show row by row.

The leaderboard judges and the tracker shows; neither needs to know the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdsearch.tracking.journal import Event


@dataclass(frozen=True)
class Standing:
    """One line of a study's table: a setting over its seeds, or a published figure.

    kind: `row` or `paper`. name: says which among a search's rows, or among a study's papers.
    title: what it is called where it is shown.
    metrics: accuracies in [0, 1], their differences, counts; None where the data carry none.
    params: what was set; may be nested. tags: words.
    epochs: after how many the figures were taken; 0 where nobody says.
    started, ended: seconds since 1970.
    """

    kind: str
    name: str
    title: str
    metrics: Mapping[str, float | None]
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    epochs: int
    started: float
    ended: float


@dataclass(frozen=True)
class Conclusion:
    """What is added when a search has ended.

    standings: its rows. figures: of the search as a whole, by name. words: Markdown, said of it.
    files: kept with it.
    """

    standings: tuple[Standing, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    words: str = ""
    files: tuple[Path, ...] = ()


def published(event: Event) -> Standing:
    """A published row as a journal has it; its accuracy becomes a fraction as ours are."""
    row = event["row"]
    where = " ".join(str(row[key]) for key in ("paper", "table", "method"))
    name = f"{where}: {row['teacher']} to {row['student']}"
    std = None if row["std"] is None else row["std"] / 100
    epochs = f"{row['epochs']} epochs" if row["epochs"] else "epochs not said"
    return Standing(
        kind="paper",
        name=name,
        title=f"{row['method']} ({row['paper']})",
        metrics={"test_accuracy": row["top1"] / 100, "test_accuracy_std": std, "n": row["n"]},
        params={key: value for key, value in row.items() if value not in ("", None)},
        tags={
            "objective": row["objective"],
            "source": row["source"],
            "marks": "; ".join(event["marks"]),
            "protocol": f"{epochs}, epoch: {row['epoch']}, {row['selection']}, {row['split']}",
        },
        epochs=row["epochs"] or 0,
        started=event["time"],
        ended=event["time"],
    )
