"""What papers published, as data with its source: rows to compare with, and settings to start from.

    for row in query(teacher="ResNet32x4", student="resnet8x4", method="dkd"):
        print(row.top1, row.paper, *row.marks())     # 76.32 zheng2024ttm quoted from DKD ...
    published_settings("wttm", "resnet32x4", "resnet8x4")    # {"temperature": 10.0, "beta": 3.0}

Published figures follow mixed protocols: last epoch or best test epoch, a mean or the best of
three runs, measured or copied. Rows carry that beside the figure; nothing here averages them.
"""

import difflib
from collections.abc import Iterable
from functools import cache

from kdsearch import catalogue
from kdsearch.baselines import reading
from kdsearch.baselines.names import normalise
from kdsearch.baselines.row import Row, Setting
from kdsearch.errors import NameNotFound

__all__ = ["Row", "Setting", "normalise", "published_settings", "query", "rows", "teacher_top1"]


@cache
def rows() -> tuple[Row, ...]:
    """Every published row, read once; papers in alphabetical order, each in its own order.

    Raises:
        StoreError: a table is malformed; the message names file, line and law.
    """
    return reading.tables()


def query(
    teacher: str | None = None,
    student: str | None = None,
    dataset: str | None = None,
    method: str | None = None,
    full_data: bool = True,
) -> list[Row]:
    """The rows that match everything given, in the order of `rows`.

    Args:
        teacher: a network in any spelling; "" for students trained on the labels alone.
        student: a network in any spelling.
        dataset: in any spelling.
        method: kdsearch's objective (`kd` finds every setting of it) or the method as printed.
        full_data: leave out the rows on a part of the training data.

    Raises:
        NameNotFound: no row knows the name and kdsearch has nothing of that name either; a name
            that kdsearch has and nobody published finds nothing.
    """
    asked = {
        "teacher": _known("network", teacher) if teacher else teacher,
        "student": None if student is None else _known("network", student),
        "dataset": None if dataset is None else _known("dataset", dataset),
    }
    way = None if method is None else _known("method", method)
    return [
        row
        for row in rows()
        if all(name is None or getattr(row, field) == name for field, name in asked.items())
        and (way is None or way in (row.objective, normalise(row.method)))
        and not (full_data and row.subset)
    ]


def teacher_top1(row: Row) -> float | None:
    """The top-1 accuracy of a row's teacher, percent, from the row's paper.

    None where the row has no teacher, or its paper gives none or several; a figure of the same
    table comes first.
    """
    alone = [
        each
        for each in rows()
        if (each.paper, each.dataset, each.student) == (row.paper, row.dataset, row.teacher)
        and not each.teacher
        and not each.subset
    ]
    tables = set(row.table.split(", "))
    near = [each for each in alone if not tables.isdisjoint(each.table.split(", "))]
    figures = {each.top1 for each in near or alone}
    return figures.pop() if len(figures) == 1 else None


def published_settings(objective: str, teacher: str, student: str) -> dict[str, float] | None:
    """The temperature and beta that a paper used for this pair; None where none is published."""
    found = _settings().get((normalise(objective), normalise(teacher), normalise(student)))
    return dict(found) if found else None


@cache
def _settings() -> dict[tuple[str, str, str], dict[str, float]]:
    return {
        (one.objective, one.teacher, one.student): {
            "temperature": one.temperature,
            "beta": one.beta,
        }
        for one in reading.settings()
    }


@cache
def _names(kind: str) -> frozenset[str]:
    """The names of a kind: those of the rows, and those that kdsearch itself has."""
    names: Iterable[str]
    match kind:
        case "network":
            names = (name for row in rows() for name in (row.teacher, row.student))
            folder = "models"
        case "dataset":
            names = (row.dataset for row in rows())
            folder = "datasets"
        case _:
            names = (name for row in rows() for name in (row.objective, normalise(row.method)))
            folder = "objectives"
    return (frozenset(names) | frozenset(catalogue.names(catalogue.FOLDERS[folder][0]))) - {""}


def _known(kind: str, name: str) -> str:
    """The stored spelling of a name."""
    spelt, names = normalise(name), _names(kind)
    if spelt in names:
        return spelt
    near = difflib.get_close_matches(spelt, sorted(names), n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise NameNotFound(
        f"a {kind} must be one with a published row or one of kdsearch's own,"
        f" but got {name!r}.{hint}"
    )
