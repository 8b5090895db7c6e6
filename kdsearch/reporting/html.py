"""The report: one HTML file without network access that says what was asked and found."""

from collections.abc import Sequence
from html import escape

from kdsearch.reporting import published
from kdsearch.reporting.account import account
from kdsearch.reporting.leaderboard import (
    HEADINGS,
    cells,
    leaderboard,
    protocol,
    settings_of,
)
from kdsearch.reporting.rungs import REPLAY_HEADINGS, REPLAY_NOTE, RUNG_HEADINGS, Curves
from kdsearch.reporting.selection import selection
from kdsearch.tracking import Record, TrialRecord

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --paper: #fff; --line: #d7dce4; --soft: #5b6576; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf1; --paper: #14181f; --line: #333b48; --soft: #9aa5b6; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.soft { color: var(--soft); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; }
"""


def report(record: Record) -> str:
    """The page of a record as text."""
    study = record.header["study"]
    rows = leaderboard(record)
    sections = [
        f"<h1>{escape(study['question'] or study['name'])}</h1>",
        f"<p class='soft'>{escape(record.header['name'])}</p>",
        f"<p>{escape(answer(record))}</p>",
        *(f"<p class='soft'>{escape(line)}</p>" for line in selection(record)),
        _section(
            "Leaderboard",
            _table(HEADINGS, [cells(row) for row in rows]),
            f"{_PROTOCOL} {protocol(record)}.",
        ),
        _published(record),
        _section("Account", "".join(f"<p>{escape(line)}</p>" for line in account(record).lines())),
        _rungs(record),
        _section("Trials of the search", _trials(record)),
        _section("How to reproduce", _reproduce(record)),
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(study['name'])} - kdsearch</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(sections)}</body></html>\n"
    )


_PAPERS = (
    "Figures of papers, under their own protocols: beside ours, not ranked with them. Above and"
    " below are said at 5 %, corrected for all that are compared, with the spread and count that"
    " the paper gives; else its figure is taken for one run, or for as many as it says, with our"
    " own spread."
)

_PROTOCOL = (
    "Test accuracy after the last epoch, trained on train and validation, mean over paired seeds."
    " The interval is Student's t at 95 % on the paired differences, not corrected for comparing"
    " many rows; p is, for all rows of a column (Benjamini and Hochberg). The best epoch is chosen"
    " by test accuracy: it is shown, never ranked."
)


def answer(record: Record) -> str:
    """The outcome in a sentence."""
    rows = leaderboard(record)
    if not rows:
        return "The finals have not been run yet."
    best = rows[0]
    said = f"{best.name} made the best student: {best.mean:.2f} % test accuracy (n = {best.n})"
    teacher = record.facts.get("teacher_test_accuracy")
    beside = f"; the teacher has {100 * teacher:.2f} %" if teacher is not None else ""
    if best.low is None or best.high is None:
        return f"{said}{beside}."
    sure = "" if best.low > 0 else ", which includes zero"
    return (
        f"{said}, {best.difference:+.2f} points from kd at its published settings"
        f" (95 % interval {best.low:+.2f} to {best.high:+.2f}{sure}){beside}."
    )


def _section(title: str, content: str, note: str = "") -> str:
    soft = f"<p class='soft'>{escape(note)}</p>" if note else ""
    return f"<h2>{escape(title)}</h2>{content}{soft}"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='scroll'>{table}</div>"


def _published(record: Record) -> str:
    if not record.papers:
        return ""
    rows = [each.cells() for each in published.judged(record)]
    return _section("Published", _table(published.HEADINGS, rows), _PAPERS)


def _rungs(record: Record) -> str:
    curves = Curves(record)
    if not (rungs := curves.rungs()):
        return ""
    met = _table(RUNG_HEADINGS, [rung.cells() for rung in rungs])
    others = _table(REPLAY_HEADINGS, [replay.cells() for replay in curves.replays()])
    return _section("Were the rungs fair?", met, " ".join(curves.sentences())) + _section(
        "What other rungs would have done", others, REPLAY_NOTE
    )


def _trial(trial: TrialRecord) -> tuple[str, ...]:
    return (
        trial.id,
        trial.family,
        trial.origin,
        settings_of(trial.experiment),
        trial.status,
        str(len(trial.epochs)),
        f"{100 * trial.accuracy:.2f}",
        trial.reason,
    )


def _trials(record: Record) -> str:
    rows = [_trial(trial) for trial in record.of_kind("trial")]
    headings = (
        "id",
        "objective",
        "origin",
        "settings",
        "status",
        "epochs",
        "validation %",
        "reason",
    )
    return _table(headings, rows)


def _reproduce(record: Record) -> str:
    header = record.header
    facts = {
        "study digest": header["digest"],
        "data digest": header["data"],
        "seed": header["study"]["search"]["seed"],
        **header["environment"],
    }
    return _table(("what", "value"), [(key, str(value)) for key, value in facts.items()])
