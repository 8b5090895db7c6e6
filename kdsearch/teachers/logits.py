"""Teacher signals: the teacher's logits of the training images, in one Arrow IPC file.

    file:     signals/<teacher digest>.arrow
    columns:  row int64, logits fixed_size_list<float32>[classes]
    metadata: teacher (its digest covers the data's), data, checksum

The file is keyed by what decided it, written atomically and memory-mapped, so the teacher runs
once and not once per trial. A file whose digests or checksum do not fit is refused.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kdsearch.errors import StoreError
from kdsearch.files import write_atomically

Logits = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def save(path: Path, logits: Logits, rows: Rows, teacher: str, data: str) -> None:
    """Write the logits (len(rows), classes) of the given dataset rows, atomically."""
    logits = np.ascontiguousarray(logits, dtype=np.float32)
    classes = logits.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), classes)
    table = pa.table({"row": pa.array(rows), "logits": column}).replace_schema_metadata(
        {"teacher": teacher, "data": data, "checksum": _checksum(logits, rows)}
    )
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    write_atomically(path, buffer.getvalue())


def load(path: Path, rows: Rows, teacher: str, data: str) -> Logits:
    """A read-only view (len(rows), classes) of the file, mapped into memory.

    Raises:
        StoreError: the file is missing, damaged, or belongs to another teacher, dataset or split.
    """
    try:
        with pa.memory_map(str(path), "r") as source:
            table = pa.ipc.open_file(source).read_all()
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        column = table.column("logits").combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=True)
        logits: Logits = flat.reshape(len(column), -1)
        stored_rows = table.column("row").to_numpy()
    except FileNotFoundError:
        raise StoreError("it does not exist.") from None
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise StoreError(f"it cannot be read as teacher signals ({reason}).") from None
    if (metadata.get("teacher"), metadata.get("data")) != (teacher, data):
        raise StoreError("it holds the signals of another teacher or dataset.")
    if not np.array_equal(stored_rows, rows):
        raise StoreError("it holds the signals of other rows of the dataset.")
    if metadata.get("checksum") != _checksum(logits, stored_rows):
        raise StoreError("it is damaged: its content does not match its checksum.")
    return logits


def _checksum(logits: Logits, rows: Rows) -> str:
    content = hashlib.sha256(np.ascontiguousarray(rows).data)
    content.update(np.ascontiguousarray(logits).data)
    return content.hexdigest()
