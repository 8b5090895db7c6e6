"""The leaderboard: a record's finals, ranked by mean test accuracy after the last epoch.

Search chooses by validation; the finals are the first to see the test part. A row is one setting
over paired seeds. The best epoch is shown apart and never ranked, because choosing an epoch by its
test accuracy flatters every method.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from kdsearch.reporting.compare import paired, spread
from kdsearch.tracking import Record, TrialRecord

REFERENCE = "kd (published)"

FORMATS = ("table", "csv", "json", "markdown")


@dataclass(frozen=True)
class Row:
    """One setting; accuracies in percent.

    difference: to `kd` at its published settings over the same seeds, with its 95 % interval.
    student_epochs: epochs spent on its finals, and on its family's search if it was found there.
    failed: seeds whose training failed and that the figures leave out.
    protocol: how all rows of this board were made; rows of two boards compare where it agrees.
    """

    rank: int
    name: str
    settings: str
    mean: float
    std: float
    n: int
    difference: float | None
    low: float | None
    high: float | None
    best_epoch: float
    student_epochs: int
    failed: int
    protocol: str


def protocol(record: Record) -> str:
    """Epochs, split, data and teacher of a record's finals, in a line."""
    header = record.header
    epochs, data = header["study"]["recipe"]["epochs"], header["study"]["data"]["name"]
    parts = [f"{epochs} epochs, the last one counts", f"{data} {header['data'][:8]}"]
    if sizes := header.get("sizes"):
        learn = sizes["train"] + sizes["validation"]
        parts.insert(1, f"{learn:,} training and {sizes['test']:,} test images")
        parts.insert(2, f"{sizes['classes']} classes")
    teacher = record.facts.get("teacher_test_accuracy")
    if teacher is not None:
        parts.append(f"teacher {100 * teacher:.2f} %")
    return "; ".join(parts)


def leaderboard(record: Record) -> list[Row]:
    """The rows of a record, best first; empty before the first final ends."""
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in record.of_kind("final"):
        groups[trial.row].append(trial)
    accuracies = {
        name: {t.experiment["seed"]: 100 * t.accuracy for t in group if t.status == "finished"}
        for name, group in groups.items()
    }
    scored = sorted(
        (name for name in groups if accuracies[name]),
        key=lambda name: (-mean(accuracies[name].values()), name),
    )
    reference = accuracies.get(REFERENCE, {})
    return [
        _row(rank, groups[name], accuracies[name], reference, record)
        for rank, name in enumerate(scored, start=1)
    ]


def _row(
    rank: int,
    group: list[TrialRecord],
    accuracy: Mapping[int, float],
    reference: Mapping[int, float],
    record: Record,
) -> Row:
    first = group[0]
    shared = [seed for seed in accuracy if seed in reference]
    compared = bool(shared) and first.row != REFERENCE
    difference = (
        paired([accuracy[s] for s in shared], [reference[s] for s in shared]) if compared else None
    )
    spent = sum(len(trial.epochs) for trial in group)
    if first.origin == "found":
        spent += sum(len(t.epochs) for t in record.of_kind("trial") if t.family == first.family)
    finished = [trial for trial in group if trial.status == "finished"]
    return Row(
        rank=rank,
        name=first.row,
        settings=settings_of(first.experiment),
        mean=mean(accuracy.values()),
        std=spread(list(accuracy.values())),
        n=len(accuracy),
        difference=difference.mean if difference else None,
        low=difference.low if difference else None,
        high=difference.high if difference else None,
        best_epoch=mean(100 * trial.best_accuracy for trial in finished),
        student_epochs=spent,
        failed=sum(trial.status == "failed" for trial in group),
        protocol=protocol(record),
    )


def settings_of(experiment: Mapping[str, Any]) -> str:
    """An experiment's objective settings and learning rate, short: `temperature 4, lr 0.05`."""
    whose = ("name", "file", "sha256")
    objective = {key: value for key, value in experiment["objective"].items() if key not in whose}
    parts = [f"{key} {_short(value)}" for key, value in objective.items()]
    return ", ".join([*parts, f"lr {_short(experiment['recipe']['learning_rate'])}"])


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(
            _short(v) if k == "kind" else f"{k} {_short(v)}" for k, v in value.items()
        )
        return f"({inner})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


HEADINGS = (
    "#", "student", "settings", "test %", "std", "n",
    "vs kd (published)", "95 % interval", "best epoch %", "student-epochs",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of the headings."""
    interval = f"{row.low:+.2f} to {row.high:+.2f}" if row.low is not None else ""
    failed = f" ({row.failed} failed)" if row.failed else ""
    return (
        str(row.rank),
        row.name,
        row.settings,
        f"{row.mean:.2f}",
        f"{row.std:.2f}",
        f"{row.n}{failed}",
        "" if row.difference is None else f"{row.difference:+.2f}",
        interval,
        f"{row.best_epoch:.2f}",
        str(row.student_epochs),
    )


PAPER_HEADINGS = ("method", "test %", "std", "n", "epochs", "published in", "to be said of it")


def paper_cells(record: Record) -> list[tuple[str, ...]]:
    """The published rows of the same dataset, teacher and student, best first, with their marks."""
    best_first = sorted(record.papers, key=lambda event: -float(event["row"]["top1"]))
    return [
        (
            row["method"],
            f"{row['top1']:.2f}",
            "" if row["std"] is None else f"{row['std']:.2f}",
            str(row["n"] or ""),
            str(row["epochs"] or ""),
            row["source"],
            "; ".join(event["marks"]),
        )
        for event in best_first
        for row in [event["row"]]
    ]


def as_csv(rows: list[Row]) -> str:
    """The rows as CSV with the fields of `Row` as columns, unrounded."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def as_json(rows: list[Row]) -> str:
    """The rows as a JSON list of objects with the fields of `Row`, unrounded."""
    return json.dumps([asdict(row) for row in rows], indent=2) + "\n"


def as_markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table, with their protocol below it."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(cells(row) for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{table}\n{rows[0].protocol}.\n"
