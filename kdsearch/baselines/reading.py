"""Reading the tables: `tables/<paper>.csv` and `settings/<paper>.csv`, each line held to its law.

A new paper is one new file with the fields of `Row` (or `Setting`) as columns; nothing lists it.
Empty cells stand for what the source does not say.
"""

import csv
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from kdsearch.baselines.row import Row, Setting
from kdsearch.errors import StoreError
from kdsearch.values import Value, problems_of

_HERE = Path(__file__).parent

V = TypeVar("V", bound=Value)


def tables(folder: Path = _HERE / "tables") -> tuple[Row, ...]:
    """Every row of every table, papers in alphabetical order."""
    return tuple(row for file in sorted(folder.glob("*.csv")) for row in table(file))


def table(file: Path) -> list[Row]:
    """The rows of one paper's file.

    Raises:
        StoreError: a line breaks a law; the message names file, line and law.
    """
    found = _lines(file, Row)
    for line, row in found:
        if row.paper != file.stem:
            raise StoreError(
                f"{file} line {line}: paper must be the file's name {file.stem!r},"
                f" but got {row.paper!r}."
            )
    return [row for _, row in found]


def settings(folder: Path = _HERE / "settings") -> tuple[Setting, ...]:
    """Every published setting."""
    files = sorted(folder.glob("*.csv"))
    return tuple(setting for file in files for _, setting in _lines(file, Setting))


def _lines(file: Path, model: type[V]) -> list[tuple[int, V]]:
    """The lines of a file as values, each with its number in the file."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{file} must be a readable table, but: {error}.") from None
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise StoreError(f"{file} line {reader.line_num}: CSV is needed, but {error}.") from None
    fields, header = tuple(model.model_fields), lines[0][1] if lines else []
    if sorted(header) != sorted(fields):
        raise StoreError(
            f"{file} line 1: the columns must be {', '.join(fields)},"
            f" but got {', '.join(header) or 'none'}."
        )
    return [
        (line, _value(f"{file} line {line}", header, cells, model)) for line, cells in lines[1:]
    ]


def _value(place: str, header: list[str], cells: list[str], model: type[V]) -> V:
    if len(cells) != len(header):
        raise StoreError(f"{place}: {len(header)} cells are needed, but got {len(cells)}.")
    try:
        return model.model_validate(dict(zip(header, cells, strict=True)))
    except ValidationError as error:
        laws = " ".join(f"{str(problem).rstrip('.')}." for problem in problems_of(error, model))
        raise StoreError(f"{place}: {laws}") from None
