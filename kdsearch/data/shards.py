"""Parquet shards of labelled pictures: where they are, which columns count, and what is in them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from kdsearch.data.pictures import Picture, Rows
from kdsearch.errors import DataError, SettingError

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """One Parquet file; `place` is its path or URI, as messages say it."""

    system: Any
    path: str
    place: str
    size: int
    changed: int

    @property
    def identity(self) -> list[Any]:
        """What changes whenever the file may have changed."""
        return [self.place, self.size, self.changed]

    def columns(self, image: str | None, label: str | None) -> tuple[str, str]:
        """The columns of pictures and labels: those named, or the only ones that fit.

        Raises:
            SettingError: more than one fits, or the named one does not.
        """
        schema = self._open().schema_arrow
        return (
            self._column(schema, "image", image, _holds_pictures, "encoded pictures (bytes)"),
            self._column(schema, "label", label, pa.types.is_integer, "integers"),
        )

    def labels(self, column: str) -> Labels:
        """The labels of all rows.

        Raises:
            DataError: one is missing or negative, or the file is damaged or empty.
        """
        file = self._open()
        self._column(file.schema_arrow, "label", column, pa.types.is_integer, "integers")
        with self._damage_told():
            values = file.read(columns=[column]).column(0)
        if not len(values):
            raise DataError(f"{self.place} must hold pictures, but has no rows.")
        wrong = np.flatnonzero(values.is_null().to_numpy())
        if not len(wrong):
            wrong = np.flatnonzero(values.to_numpy() < 0)
        if len(wrong):
            raise DataError(
                f"labels must be integers from 0 on, but {self.place} has"
                f" {values[int(wrong[0])].as_py()} in row {wrong[0]} of column {column!r}"
                f" ({len(wrong)} such rows). Leave out the rows that have no label."
            )
        return np.asarray(values.to_numpy(), dtype=np.int64)

    def column(self, name: str) -> Any:
        """All rows of one column, as pyarrow's chunked array.

        Raises:
            DataError: there is no such column, or the file is damaged.
        """
        file = self._open()
        if name not in file.schema_arrow.names:
            every = ", ".join(file.schema_arrow.names)
            raise DataError(f"{self.place} must have a column {name!r}, but has {every}.")
        with self._damage_told():
            return file.read(columns=[name]).column(0)

    def pictures(self, column: str, rows: Rows) -> Iterator[Picture]:
        """The encoded pictures of some rows (sorted), one row group in memory at a time."""
        file = self._open()
        self._column(file.schema_arrow, "image", column, _holds_pictures, "encoded pictures")
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            wanted = rows[(rows >= start) & (rows < end)]
            if len(wanted):
                with self._damage_told():
                    values = file.read_row_group(group, columns=[column]).column(0)
                for row in wanted.tolist():
                    yield self.picture(values[row - start], column, row)
            start = end

    def groups(self) -> list[int]:
        """How many rows each of its row groups has."""
        metadata = self._open().metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def group(self, number: int, column: str) -> Any:
        """One row group of a column, as pyarrow's chunked array."""
        file = self._open()
        self._column(file.schema_arrow, "image", column, _holds_pictures, "encoded pictures")
        with self._damage_told():
            return file.read_row_group(number, columns=[column]).column(0)

    def picture(self, value: Any, column: str, row: int) -> Picture:
        """The encoded picture that is in a row, given what the column has there.

        Raises:
            DataError: there is none.
        """
        value = value.as_py()
        content = value["bytes"] if isinstance(value, dict) else value
        if not content:
            raise DataError(
                f"pictures must lie in the file as bytes, but {self.place} has none in row {row} of"
                f" column {column!r}. Write the set with its pictures embedded."
            )
        return f"row {row} of {self.place}", content

    def _column(
        self, schema: Any, key: str, name: str | None, fits: Callable[[Any], bool], what: str
    ) -> str:
        candidates = [column.name for column in schema if fits(column.type)]
        if name is None and len(candidates) == 1:
            return str(candidates[0])
        if name in candidates:
            return str(name)
        if name is None:
            came = f"{self.place} has {' and '.join(candidates) or 'none'}"
        elif name in schema.names:
            came = f"{name!r} of {self.place} holds {schema.field(name).type}"
        else:
            came = f"{self.place} has no column {name!r}"
        every = ", ".join(f"{column.name} ({column.type})" for column in schema)
        remedy = f"Say `{key}: {candidates[0]}`." if candidates else f"Its columns: {every}."
        raise SettingError(f"{key} must name one column of {what}, but {came}. {remedy}")

    def _open(self) -> Any:
        with self._damage_told():
            return pq.ParquetFile(self.path, filesystem=self.system)

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.place} must be a whole Parquet file, but cannot be read: {_short(error)}."
                " It may be truncated: fetch it again. Every node of a cluster must see it there."
            ) from None


def _holds_pictures(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_pictures(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def shards_of(key: str, places: str | list[str]) -> list[Shard]:
    """The shards that a setting names, in order.

    Raises:
        SettingError: it names none; `key` is the setting's name.
        DataError: the file system does not answer.
    """
    places = [places] if isinstance(places, str) else places
    law = f"{key} must name Parquet files (a file, a folder, a glob or a list of them)"
    if not any(places):
        raise SettingError(f"{law}, but is empty. Write `{key}: FOLDER/{key}-*.parquet`.")
    found = []
    for place in places:
        try:
            shards = _files(place)
        except pa.ArrowInvalid as error:
            raise SettingError(f"{law}, but got {place!r}: {_short(error)}.") from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{key}: {place} cannot be looked up: {_short(error)}.") from None
        if not shards:
            raise DataError(f"{law}, but there are none at {place!r}.")
        found += shards
    return found


def _files(place: str) -> list[Shard]:
    """The Parquet files at a path or URI, in the order of their names."""
    scheme, mark, _ = place.rpartition("://")
    uri, question, query = place.partition("?") if mark else (place, "", "")
    wild = re.search(r"[*?[]", uri)
    head, slash, _ = uri[: wild.start()].rpartition("/") if wild else (uri, "", "")
    if mark:
        system, path = fs.FileSystem.from_uri(head + question + query)
    else:
        system, path = fs.LocalFileSystem(), str(Path(head + slash).expanduser().absolute())
    (info,) = system.get_file_info([path])
    infos = [info] if info.is_file else []
    if info.type == fs.FileType.Directory:
        tail = uri[len(head + slash) :]
        pattern = str(PurePosixPath(path, tail)) if wild else "*.parquet"
        found = system.get_file_info(fs.FileSelector(path, recursive=True))
        infos = [one for one in found if one.is_file and PurePosixPath(one.path).match(pattern)]
    shards = (Shard(system, i.path, scheme + mark + i.path, i.size, i.mtime_ns) for i in infos)
    return sorted(shards, key=lambda shard: shard.path)


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")[:200]
