"""The leaderboard and the published rows as standings: what a tracker shows, row by row."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from kdsearch.reporting.compare import interval_of
from kdsearch.reporting.leaderboard import Row, leaderboard
from kdsearch.reporting.published import Judged, judged
from kdsearch.tracking import Record, Standing, TrialRecord
from kdsearch.tracking.standing import published


def standings(record: Record) -> Iterator[Standing]:
    """Every row of a record's leaderboard, then every published row with its interval."""
    finals: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in record.of_kind("final"):
        finals[trial.row].append(trial)
    verdicts = judged(record)
    for row in leaderboard(record):
        against = [each for each in verdicts if each.ours == row.name]
        yield _ours(row, finals[row.name], against, record)
    for event in record.papers:
        said = published(event)
        row = event["row"]
        low, high = interval_of(row["top1"], row["std"], row["n"]) or (None, None)
        bounds = {"test_accuracy_low": _share(low), "test_accuracy_high": _share(high)}
        yield replace(said, metrics={**said.metrics, **bounds})


def _ours(row: Row, group: list[TrialRecord], against: list[Judged], record: Record) -> Standing:
    settings = {key: value for key, value in group[0].experiment.items() if key != "seed"}
    study = record.header["study"]
    epochs = study["recipe"]["epochs"]
    # Named as a published row's, so that two that are compared show theirs side by side.
    protocol = {"dataset": study["data"]["name"], "split": "test", "epochs": epochs,
                "epoch": "last", "selection": "mean"}  # fmt: skip
    return Standing(
        kind="row",
        name=row.name,
        title=row.name,
        metrics=_figures(row),
        params=protocol | settings,
        tags={
            "objective": row.objective,
            "origin": group[0].origin,
            "settings": row.settings,
            "protocol": row.protocol,
            "verdict": _verdict(against),
        },
        epochs=epochs,
        started=min(trial.started for trial in group),
        ended=max(trial.ended or trial.started for trial in group),
    )


def _figures(row: Row) -> dict[str, float | None]:
    """Accuracies and differences as fractions, like those of every single training."""
    figures: dict[str, float | None] = {
        "test_accuracy": _share(row.mean),
        "test_accuracy_low": _share(row.mean_low),
        "test_accuracy_high": _share(row.mean_high),
        "test_accuracy_std": _share(row.std),
        "n": row.n,
        "failed": row.failed,
        "student_epochs": row.student_epochs,
    }
    for name, field in (("published_kd", ""), ("tuned_kd", "tuned_"), ("labels", "plain_")):
        for end in ("", "_low", "_high"):
            value = getattr(row, f"{field}{end[1:] or 'difference'}")
            figures[f"over_{name}{end}"] = _share(value)
        figures[f"over_{name}_p"] = getattr(row, f"{field}p")
    return figures


def _verdict(against: list[Judged]) -> str:
    """How a row of ours stands to the published ones of its objective, in words.

    `above KD 73.33 (tian2020crd); not comparable with KD 73.60 (chen2021review)`
    """
    words: dict[str, list[str]] = defaultdict(list)
    for each in against:
        row = each.row
        words[each.word].append(f"{row['method']} {row['top1']:.2f} ({row['paper']})")
    joined = {"consistent": "consistent with", "not comparable": "not comparable with"}
    return "; ".join(f"{joined.get(word, word)} {', '.join(w)}" for word, w in words.items())


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100
