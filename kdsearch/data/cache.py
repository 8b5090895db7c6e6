"""The cache: what was read or decoded once, in Arrow IPC files that are mapped into memory.

    file:     <cache>/datasets/<key>.arrow
    columns:  the arrays by name; those of more than one axis are fixed-shape tensors
    metadata: checksum

The key is a digest of what decided the content, so a file is never out of date; one that cannot
be read or does not match its checksum is made again. Deleting the folder costs nothing but time.
"""

import os
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kdsearch import values
from kdsearch.files import atomically

_VERSION = 1
"""Part of every key: raise it when the same identity would be read or decoded differently."""

Arrays = Mapping[str, npt.NDArray[Any]]


def folder() -> Path:
    """KDSEARCH_CACHE, or `kdsearch` in the user's cache folder."""
    if own := os.environ.get("KDSEARCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kdsearch"


def kept(identity: Any, build: Callable[[], Arrays]) -> Arrays:
    """The arrays that `build` makes, built once for each identity (JSON-like); read-only.

    Two that build at once write the same file, one after the other.
    """
    path = folder() / "datasets" / f"{values.digest([_VERSION, identity])}.arrow"
    if found := _read(path):
        return found
    arrays = build()
    try:
        _write(path, arrays)
    except OSError as error:
        warnings.warn(
            f"{path.parent} must be writable, but: {error.strerror}. The data will be read anew at"
            " every start; set KDSEARCH_CACHE to another folder.",
            stacklevel=2,
        )
    return _read(path) or arrays  # mapped, so that the built copy can be freed


def _write(path: Path, arrays: Arrays) -> None:
    columns = {
        name: pa.array(array)
        if array.ndim == 1
        else pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))
        for name, array in arrays.items()
    }
    table = pa.table(columns).replace_schema_metadata({"checksum": _checksum(arrays)})
    with atomically(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> Arrays | None:
    """The arrays of a file; None where there is none, or none that is whole."""
    try:
        with pa.memory_map(str(path), "r") as source:
            table = pa.ipc.open_file(source).read_all()
        arrays = {name: _array(table.column(name).chunk(0)) for name in table.column_names}
        whole = (table.schema.metadata or {}).get(b"checksum") == _checksum(arrays).encode()
    except (pa.ArrowException, OSError, ValueError, IndexError):
        return None
    return arrays if whole else None


def _array(column: Any) -> npt.NDArray[Any]:
    tensor = isinstance(column, pa.FixedShapeTensorArray)
    array: npt.NDArray[Any] = column.to_numpy_ndarray() if tensor else column.to_numpy()
    return array


def _checksum(arrays: Arrays) -> str:
    # Against damage, not malice, and several times as fast as a cryptographic hash.
    checksum = 0
    for name, array in arrays.items():
        checksum = zlib.crc32(repr((name, array.shape, array.dtype.str)).encode(), checksum)
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return f"{checksum:08x}"
