"""The report: one HTML file without network access that says what was asked and found."""

import re
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from kdsearch.reporting import published
from kdsearch.reporting.account import Account, account
from kdsearch.reporting.figures import Drawn, as_html, figures, plotlyjs
from kdsearch.reporting.knowledge import Knowledge
from kdsearch.reporting.leaderboard import (
    HEADINGS,
    REFERENCE,
    Row,
    cells,
    leaderboard,
    protocol,
    settings_of,
)
from kdsearch.reporting.rungs import REPLAY_HEADINGS, REPLAY_NOTE, RUNG_HEADINGS, Curves
from kdsearch.reporting.selection import selection
from kdsearch.tracking import Record, TrialRecord

_PAGE = Path(__file__).parent / "page"
_FOLDED = 30  # rows, above which a table opens on a click


def report(record: Record, price: float = 0.0, known: Knowledge | None = None) -> str:
    """The page of a record as text: its figures, and all that they need, are in it.

    `price` is of a device-hour; `known` is of the row that leads.
    """
    study, drawn = record.header["study"], figures(record, known)
    shown = {each.name: _figure(each) for each in drawn}
    rows = leaderboard(record)
    board = _table(HEADINGS, [cells(row) for row in rows], "ours")
    sections = {
        "Leaderboard": _noted(board, f"{_PROTOCOL} {protocol(record)}."),
        **{each.title: shown[each.name] for each in drawn if each.name in ("standings", "gains")},
        "Published": _published(record),
        **{
            each.title: shown[each.name]
            for each in drawn
            if each.name not in ("standings", "gains")
        },
        "Account": _account(account(record, price)),
        "Were the rungs fair?": _rungs(record),
        "What other rungs would have done": _replays(record),
        "Students of the search": _trials(record),
        "How to reproduce": _reproduce(record, rows),
    }
    sections = {title: content for title, content in sections.items() if content}
    numbered = list(enumerate(sections.items()))
    links = "".join(f"<a href='#s{n}'>{escape(title)}</a>" for n, (title, _) in numbered)
    body = "".join(
        f"<section><h2 id='s{n}'>{escape(title)}</h2>{content}</section>"
        for n, (title, content) in numbered
    )
    head = (
        f"<h1>{escape(study['question'] or study['name'])}</h1>"
        f"<p class='soft'>{escape(record.header['name'])}</p>"
        f"<p class='answer'>{escape(answer(record))}</p>"
        + "".join(f"<p class='soft'>{escape(line)}</p>" for line in selection(record))
    )
    library = f"<script>{plotlyjs()}</script>" if drawn else ""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(study['name'])} - kdsearch</title>"
        f"<style>{(_PAGE / 'style.css').read_text()}</style>{library}</head>\n"
        f"<body>{head}<nav>{links}</nav>{body}"
        f"<script>{(_PAGE / 'page.js').read_text()}</script></body></html>\n"
    )


def _figure(drawn: Drawn) -> str:
    panels = "".join(
        f"<div>{f'<h3>{escape(title)}</h3>' if title else ''}"
        f"{as_html(plot, f'{drawn.name}-{number}')}</div>"
        for number, (title, plot) in enumerate(drawn.panels, start=1)
    )
    small = " small" if len(drawn.panels) > 2 else ""
    return (
        f"<figure><div class='panels{small}'>{panels}</div>"
        f"<figcaption class='soft'>{escape(drawn.caption)}</figcaption></figure>"
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
    second = next((row for row in rows if row.high is not None), None)
    if best.name == REFERENCE and second is not None:
        return (
            f"{said}, and nothing that was tried is better: the next, {second.name}, stands"
            f" {second.difference:+.2f} points from it (95 % interval {second.low:+.2f} to"
            f" {second.high:+.2f}){beside}."
        )
    gaps = filter(None, (
        _gap(best.difference, best.low, best.high, best.p, "kd at its published settings"),
        _gap(best.tuned_difference, best.tuned_low, best.tuned_high, best.tuned_p,
             "the best kd found"),
    ))  # fmt: skip
    against = " and ".join(gaps)
    return f"{said}, {against}{beside}." if against else f"{said}{beside}."


def _gap(
    difference: float | None, low: float | None, high: float | None, p: float | None, other: str
) -> str:
    """A difference and how sure it is, in words; empty where it has no interval."""
    if difference is None or low is None or high is None or p is None:
        return ""
    zero = ", which includes zero" if low <= 0 <= high else ""
    return (
        f"{difference:+.2f} points from {other} (95 % interval {low:+.2f} to {high:+.2f}{zero};"
        f" corrected p {p:.3f})"
    )


def _noted(content: str, note: str) -> str:
    return f"{content}<p class='soft'>{escape(note)}</p>"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], kind: str = "") -> str:
    """A table that sorts, without the columns that tell nothing; a long one is folded."""
    told = [n for n, column in enumerate(zip(*rows, strict=True)) if any(column)]
    headings, rows = tuple(headings[n] for n in told), [tuple(r[n] for n in told) for r in rows]
    marks = [" class='number'" if _numeric(column) else "" for column in zip(*rows, strict=True)]
    head = "".join(
        f"<th{mark}><button>{escape(heading)}</button></th>"
        for mark, heading in zip(marks, headings, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{m}>{escape(c)}</td>' for m, c in zip(marks, row, strict=True))}</tr>"
        for row in rows
    )
    table = (
        f"<div class='scroll'><table class='sortable {kind}'><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
    if len(rows) <= _FOLDED:
        return table
    return f"<details><summary>{len(rows)} rows</summary>{table}</details>"


def _numeric(column: Sequence[str]) -> bool:
    """Whether a column's cells are numbers or intervals, as far as they are known."""
    known = [cell.lstrip("<") for cell in column if cell]
    return bool(known) and all(_NUMBER.fullmatch(cell) for cell in known)


_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?( to [+-]?\d+(\.\d+)?)?")


def _account(found: Account) -> str:
    said = "".join(f"<p>{escape(line)}</p>" for line in [*found.lines(), *found.savings()])
    return _table(found.headings, found.cells()) + said


def _published(record: Record) -> str:
    if not record.papers:
        return ""
    rows = [each.cells() for each in published.judged(record)]
    return _noted(_table(published.HEADINGS, rows), _PAPERS)


def _rungs(record: Record) -> str:
    curves = Curves(record)
    if not (rungs := curves.rungs()):
        return ""
    table = _table(RUNG_HEADINGS, [rung.cells() for rung in rungs])
    return _noted(table, " ".join(curves.sentences()))


def _replays(record: Record) -> str:
    curves = Curves(record)
    if not curves.rungs():
        return ""
    return _noted(
        _table(REPLAY_HEADINGS, [replay.cells() for replay in curves.replays()]), REPLAY_NOTE
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
    rows = [_trial(trial) for trial in record.searched]
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


def _reproduce(record: Record, rows: Sequence[Row]) -> str:
    header = record.header
    facts = {
        "study digest": header["digest"],
        "data digest": header["data"],
        "seed": header["study"]["search"]["seed"],
        **header["environment"],
    }
    again = [(row.name, _again(row.name, header["name"])) for row in rows]
    return _noted(
        (_table(("row", "train its finals once more"), again) if again else "")
        + _table(("what", "value"), [(key, str(value)) for key, value in facts.items()]),
        "The same seeds on the same data; where the machine or the versions differ, a row should"
        " still come out within its interval.",
    )


def _again(row: str, search: str) -> str:
    return shlex.join(["kdsearch", "reproduce", row, search])
