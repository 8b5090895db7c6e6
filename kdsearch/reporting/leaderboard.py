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

from kdsearch.reporting.compare import Difference, adjusted, interval, paired, spread
from kdsearch.tracking import Record, TrialRecord

REFERENCE = "kd (published)"
TUNED = "kd (found)"
PLAIN = "ce (published)"

FORMATS = ("table", "csv", "json", "markdown")


@dataclass(frozen=True)
class Row:
    """One setting; accuracies in percent.

    objective: the name of its family.
    mean_low, mean_high: the 95 % confidence interval of the mean; None without spread.
    difference: to `kd` at its published settings over the same seeds, with its 95 % interval and
    the p of its being zero, corrected for all rows of the board. tuned_...: the same to the best kd
    that the search found. plain_...: to labels alone, `ce` at its published settings.
    student_epochs: epochs spent on its finals, and on its family's search if it was found there.
    failed: seeds whose training failed and that the figures leave out.
    protocol: how all rows of this board were made; rows of two boards compare where it agrees.
    """

    rank: int
    name: str
    objective: str
    settings: str
    mean: float
    std: float
    n: int
    mean_low: float | None
    mean_high: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    tuned_difference: float | None
    tuned_low: float | None
    tuned_high: float | None
    tuned_p: float | None
    plain_difference: float | None
    plain_low: float | None
    plain_high: float | None
    plain_p: float | None
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
    against = [_against(accuracies, scored, name) for name in (REFERENCE, TUNED, PLAIN)]
    return [
        _row(rank, groups[name], accuracies[name], [each[name] for each in against], record)
        for rank, name in enumerate(scored, start=1)
    ]


def _against(
    accuracies: Mapping[str, Mapping[int, float]], names: list[str], reference: str
) -> dict[str, Difference | None]:
    """The paired difference of every row to one of them, p corrected for how many there are."""
    theirs = accuracies.get(reference, {})
    found: dict[str, Difference | None] = {}
    for name in names:
        ours = accuracies[name]
        seeds = [seed for seed in ours if seed in theirs] if name != reference else []
        both = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
        found[name] = paired(*both) if seeds else None
    ps = adjusted([each.p if each else None for each in found.values()])
    return {
        name: each and each._replace(p=p) for (name, each), p in zip(found.items(), ps, strict=True)
    }


def _row(
    rank: int,
    group: list[TrialRecord],
    accuracy: Mapping[int, float],
    against: list[Difference | None],
    record: Record,
) -> Row:
    first = group[0]
    low, high = interval(list(accuracy.values())) or (None, None)
    spent = sum(len(trial.epochs) for trial in group)
    if first.origin == "found":
        spent += sum(len(t.epochs) for t in record.searched if t.family == first.family)
    finished = [trial for trial in group if trial.status == "finished"]
    return Row(
        rank=rank,
        name=first.row,
        objective=first.family,
        settings=settings_of(first.experiment),
        mean=mean(accuracy.values()),
        std=spread(list(accuracy.values())),
        n=len(accuracy),
        mean_low=low,
        mean_high=high,
        **_fields("", against[0]),
        **_fields("tuned_", against[1]),
        **_fields("plain_", against[2]),
        best_epoch=mean(100 * trial.best_accuracy for trial in finished),
        student_epochs=spent,
        failed=sum(trial.status == "failed" for trial in group),
        protocol=protocol(record),
    )


def _fields(prefix: str, difference: Difference | None) -> dict[str, float | None]:
    values = difference or (None, None, None, None)
    return {
        f"{prefix}{n}": v for n, v in zip(("difference", "low", "high", "p"), values, strict=True)
    }


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
    "vs kd (published)", "95 % interval", "p", "vs kd (found)", "p", "best epoch %",
    "student-epochs",
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
        _shown_p(row.p),
        "" if row.tuned_difference is None else f"{row.tuned_difference:+.2f}",
        _shown_p(row.tuned_p),
        f"{row.best_epoch:.2f}",
        str(row.student_epochs),
    )


def _shown_p(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


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
