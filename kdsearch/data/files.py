"""Files of pictures, one each, by names that a million of are few megabytes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from kdsearch.data.pictures import Picture, Rows
from kdsearch.errors import DataError


@dataclass(frozen=True, eq=False)
class Files:
    """The pictures below a folder; names: bytes (N,), relative to it.

    An array of names lies once in the memory of a node, where a list would be copied by every
    worker.
    """

    folder: str
    names: npt.NDArray[np.bytes_]

    @classmethod
    def of(cls, folder: Path, files: list[Path]) -> Self:
        """Those files, which lie in the folder."""
        start = len(os.fsencode(folder)) + 1
        return cls(str(folder), np.array([os.fsencode(file)[start:] for file in files]))

    def __call__(self, row: int) -> Picture:
        """Errors as `DataError`, which says that every node must see the same files."""
        file = Path(self.folder, os.fsdecode(self.names[row]))
        try:
            return str(file), file.read_bytes()
        except OSError as error:
            raise DataError(
                f"{file} cannot be read: {error.strerror}. Every node of a cluster must see the"
                " pictures at the same paths, as they were when the search began."
            ) from None

    def arranged(self, rows: Rows) -> Rows:
        """As they come."""
        return np.arange(len(rows))
