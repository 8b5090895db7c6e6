"""Files that matter are written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kdsearch.errors import StoreError


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, flush, then rename: a reader sees the old file or the new.

    Raises:
        StoreError: it cannot be written, as on a full disk; nothing of it stays.
    """
    try:
        with atomically(path) as file:
            file.write(content)
    except OSError as error:
        raise StoreError(
            f"a file must be written whole, but {path} cannot be: {error.strerror}. Make room and"
            " run the same command again: what is done is kept."
        ) from None


@contextmanager
def atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the target's place if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
