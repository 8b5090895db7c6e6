"""Teacher signals: the teacher's logits of the fitted images, one Arrow IPC file per view.

    folder:   signals/<key>/plain.arrow, view-00000.arrow, view-00001.arrow, ...
    columns:  row int64, logits fixed_size_list<float16>[classes]
    metadata: key, checksum

The key covers all that decided the content: teacher, data, views and their random numbers. Each
file is written atomically and mapped into memory, so the teacher runs once and not once per trial,
an interrupted build goes on at the next view, and two builders do no harm. A file whose key or
checksum does not fit is refused.
"""

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kdsearch import values
from kdsearch.data.views import GENERATOR, Views
from kdsearch.errors import ResourceError, StoreError
from kdsearch.files import write_atomically

Logits = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

_FORMAT = 2
LARGEST = 65504.0  # of float16


def key(teacher: str, data: str, views: Views, whole: bool = True) -> str:
    """The name of a store, of the digests of teacher and data and of the views.

    whole: it holds all fitted images, and not validation alone.
    """
    part = [] if whole else ["validation"]
    return values.digest([_FORMAT, GENERATOR, teacher, data, views.unlimited.model_dump(), *part])


def file(folder: Path, view: int | None) -> Path:
    """The file of a view; None is the images themselves."""
    return folder / ("plain.arrow" if view is None else f"view-{view:05d}.arrow")


def check_space(folder: Path, views: int, rows: int, classes: int) -> None:
    """Hold the size of a store against the disk before a teacher runs for hours.

    Raises:
        ResourceError: the views that are not there yet do not fit; the message has the arithmetic.
    """
    missing = [view for view in range(views) if not file(folder, view).exists()]
    needed = len(missing) * rows * classes * 2
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    if needed > free:
        raise ResourceError(
            f"teacher signals need {len(missing)} views x {rows} images x {classes} classes x"
            f" 2 bytes = {needed / 1e9:.1f} GB, but {nearest} has {free / 1e9:.1f} GB free. Set"
            " fewer with `data: {views: {count: ...}}`, put --storage on a larger disk, or run the"
            " teacher beside every student with `signals: online`."
        )


def save(path: Path, logits: npt.NDArray[np.floating], rows: Rows, key: str) -> None:
    """Write the logits (len(rows), classes) of the given dataset rows, atomically.

    Raises:
        StoreError: a logit is not finite or too large for float16.
    """
    largest = float(np.abs(logits).max()) if logits.size else 0.0
    if not largest <= LARGEST:
        raise StoreError(
            f"teacher logits must be finite and at most {LARGEST:g}, but the largest is"
            f" {largest:g}. Train the teacher with a smaller learning rate or more weight decay."
        )
    logits = np.ascontiguousarray(logits, dtype=np.float16)
    classes = logits.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), classes)
    table = pa.table({"row": pa.array(rows), "logits": column}).replace_schema_metadata(
        {"key": key, "checksum": _checksum(logits, rows)}
    )
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    write_atomically(path, buffer.getvalue())


def load(path: Path, rows: Rows, key: str) -> Logits:
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
    if metadata.get("key") != key:
        raise StoreError("it holds the signals of another teacher, dataset or view.")
    if not np.array_equal(stored_rows, rows):
        raise StoreError("it holds the signals of other rows of the dataset.")
    if metadata.get("checksum") != _checksum(logits, stored_rows):
        raise StoreError("it is damaged: its content does not match its checksum.")
    return logits


def _checksum(logits: Logits, rows: Rows) -> str:
    content = hashlib.sha256(np.ascontiguousarray(rows).data)
    content.update(np.ascontiguousarray(logits).data)
    return content.hexdigest()
