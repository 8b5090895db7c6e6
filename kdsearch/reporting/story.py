"""The full story of one row of the leaderboard, or of one training, from its journal."""

from collections.abc import Iterator
from typing import Any

import yaml

from kdsearch.errors import SearchError
from kdsearch.reporting.leaderboard import Row, leaderboard, settings_of
from kdsearch.reporting.published import judged
from kdsearch.tracking import Record, TrialRecord

SHOWN = 12  # epochs of a curve, evenly spread, with the last


def story(record: Record, run: str) -> list[str]:
    """In lines; `run` is a row's name (`ttm (found)`) or a training's (`t0012`, `f003-1`).

    Raises:
        SearchError: the search has neither.
    """
    rows = {row.name: row for row in leaderboard(record)}
    if run in rows:
        return list(_row(record, rows[run]))
    if run in record.trials:
        return list(_training(record, record.trials[run]))
    raise SearchError(
        f"a run must be a row or a training of {record.header.get('name', 'the search')}, but got"
        f" {run!r}. Rows: {', '.join(rows) or 'none yet'}. Trainings:"
        f" {', '.join(list(record.trials)[:5])} and others, as in the report."
    )


def _row(record: Record, row: Row) -> Iterator[str]:
    finals = [t for t in record.of_kind("final") if t.row == row.name]
    interval = f" (95 % interval {row.mean_low:.2f} to {row.mean_high:.2f})" if row.mean_low else ""
    yield f"{row.name}, row {row.rank} of {record.header['name']}"
    yield f"{row.mean:.2f} % test accuracy over {row.n} seeds{interval}, std {row.std:.2f}"
    yield f"settings: {row.settings}"
    yield f"protocol: {row.protocol}"
    yield f"cost: {row.student_epochs} student-epochs"
    for prefix, words in (("", "published kd"), ("tuned_", "tuned kd"), ("plain_", "labels alone")):
        difference = getattr(row, f"{prefix}difference")
        if difference is not None:
            p = getattr(row, f"{prefix}p")
            sure = f", corrected p {p:.3f}" if p is not None else ""
            yield f"against {words}: {difference:+.2f} points{sure}"
    for each in judged(record):
        if each.ours == row.name:
            published = f"{each.row['method']} of {each.row['paper']}, {each.row['top1']:.2f} %"
            reason = f" ({each.reason})" if each.reason else ""
            yield f"against {published}: {each.word}{reason}"
    settings = _settings(finals[0])
    for trial in record.searched:
        if _settings(trial) == settings:
            yield f"in the search: {_short(trial)}"
    for final in finals:
        yield f"final: {_short(final)}"
    yield ""
    yield from yaml.safe_dump(settings, sort_keys=False).splitlines()
    yield ""
    name = record.header["name"]
    yield f'its student as files:  kdsearch export {name} --row "{row.name}"'
    yield f'the same once more:    kdsearch reproduce "{row.name}" {name}'
    yield f'the same once more:    kdsearch reproduce {name} --row "{row.name}"'


def _training(record: Record, trial: TrialRecord) -> Iterator[str]:
    yield f"{_short(trial)}"
    yield f"kind {trial.kind}, origin {trial.origin}, of {record.header['name']}"
    if trial.proxy_distance is not None:
        yield f"distance of its proxy teacher: {trial.proxy_distance:.4g} (proxy: PTLoss)"
    if trial.epochs:
        yield f"{trial.seconds:.1f} s in {len(trial.epochs)} epochs"
        yield "epoch  accuracy %  loss  training loss"
        step = max(1, len(trial.epochs) // SHOWN)
        for epoch in [*trial.epochs[:-1:step], trial.epochs[-1]]:
            figures = (f"{_number(epoch[key]):>7}" for key in ("loss", "train_loss"))
            yield f"{epoch['epoch']:>5}  {100 * epoch['accuracy']:>9.2f}  {'  '.join(figures)}"
    yield ""
    yield from yaml.safe_dump(trial.experiment, sort_keys=False).splitlines()


def _short(trial: TrialRecord) -> str:
    reason = f" ({trial.reason})" if trial.reason else ""
    judged_on = "test" if trial.kind == "final" else "validation"
    settings = settings_of(trial.experiment) if "objective" in trial.experiment else ""
    seed = trial.experiment.get("seed")
    return (
        f"{trial.id} {trial.family}, {settings}, seed {seed}: {trial.status}{reason},"
        f" {100 * trial.accuracy:.2f} % {judged_on} after {len(trial.epochs)} epochs"
    )


def _settings(trial: TrialRecord) -> dict[str, Any]:
    return {key: value for key, value in trial.experiment.items() if key != "seed"}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
