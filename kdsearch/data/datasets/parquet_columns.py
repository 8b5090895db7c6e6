"""Features or token ids from Parquet columns: any modality, beside an integer label.

`train` and `test` are as of `image_parquet`. `features` names columns of numbers, or one column of
lists of equal length. Floating-point columns are features (N, D), standardised by the train part;
columns that are all integers are token ids (N, L), which the student gets as they are.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kdsearch.data.shards import Shard, shards_of
from kdsearch.data.splits import Dataset
from kdsearch.errors import DataError, SettingError


def load(
    train: str | list[str] = "",
    test: str | list[str] = "",
    features: str | list[str] = "",
    label: str | None = None,
) -> Dataset:
    names = [features] if isinstance(features, str) else features
    if not any(names):
        raise SettingError("features must name the columns that the student sees, but names none.")
    learned = shards_of("train", train)
    shards = [*learned, *shards_of("test", test)]
    label = label or "label"
    parts = [(_table(shard, names), shard.labels(label)) for shard in shards]
    rows, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    known = sum(len(part) for _, part in parts[: len(learned)])
    return Dataset(
        images=rows,
        labels=labels,
        classes=int(labels.max()) + 1,
        test=np.arange(len(labels)) >= known,
    )


def find(train: str | list[str] = "", test: str | list[str] = "", **_: object) -> None:
    shards_of("train", train)
    shards_of("test", test)


def _table(shard: Shard, names: list[str]) -> npt.NDArray[np.float32] | npt.NDArray[np.int64]:
    """The named columns side by side: (rows, D), float32, or int64 where all are integers."""
    columns = [_column(shard, name) for name in names]
    whole = np.concatenate(columns, axis=1)
    if whole.dtype.kind in "iu":
        return whole.astype(np.int64)
    if not np.isfinite(whole).all():
        row = int(np.flatnonzero(~np.isfinite(whole).all(axis=1))[0])
        raise DataError(
            f"features must be finite numbers, but row {row} of {shard.place} has one that is not."
            " Fill it in or leave the row out."
        )
    return whole.astype(np.float32)


def _column(shard: Shard, name: str) -> npt.NDArray[np.generic]:
    values = shard.column(name)
    kind = values.type
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    nested = nested or pa.types.is_fixed_size_list(kind)
    inner = kind.value_type if nested else kind
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner)) or values.null_count:
        raise DataError(
            f"features must be numbers or lists of them, but {name!r} of {shard.place} holds {kind}"
            f" with {values.null_count} nulls."
        )
    if not nested:
        return np.asarray(values.to_numpy())[:, None]
    values = values.combine_chunks()
    lengths = set(values.value_lengths().to_pylist())
    if len(lengths) > 1:
        raise DataError(
            f"lists of {name!r} in {shard.place} must all be of one length, but are from"
            f" {min(lengths)} to {max(lengths)} long. Pad them."
        )
    array: npt.NDArray[np.generic] = values.flatten().to_numpy(zero_copy_only=False)
    return array.reshape(len(values), -1)
