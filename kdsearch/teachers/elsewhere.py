"""Teachers that were trained elsewhere: their checkpoint, or their logits alone.

    weights("resnet32x4.pth")        a state dictionary in any of the forms that the field shares
    logits("t5.parquet", rows, 2)    a column `logits`, one list per training example

Files are read as data: no code of theirs is run.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from torch import Tensor, nn

from kdsearch.errors import StoreError
from kdsearch.teachers.logits import Logits, Rows

_WRAPPINGS = ("model", "state_dict", "model_state_dict", "net")
_PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")  # of torch's DataParallel and torch.compile


@cache
def sha256(path: str) -> str:
    """The content of a file as 16 hexadecimal digits; read once per process.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from None


def weights(path: str) -> dict[str, Tensor]:
    """A checkpoint's state dictionary, out of the usual wrappings.

    `{"model": ...}` as the CRD teachers, `{"state_dict": ...}`, `{"model_state_dict": ...}` as
    torch's tutorials, `{"net": ...}`, keys that begin with `module.` or `_orig_mod.`, or the
    dictionary itself.

    Raises:
        StoreError: it is no checkpoint, or it holds more than weights.
    """
    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from None
    except Exception as error:  # noqa: BLE001 - a damaged archive raises whatever it likes
        reason = str(error).partition("\n")[0].partition(". ")[0][:160]  # not what torch advises
        raise StoreError(
            f"{path} must be a checkpoint of weights alone, written by torch.save, but: {reason}."
            " Load it where it was made and save its `state_dict()`."
        ) from None
    for wrapping in _WRAPPINGS:
        if isinstance(found, dict) and isinstance(found.get(wrapping), dict):
            found = found[wrapping]
    if not isinstance(found, dict) or not any(isinstance(each, Tensor) for each in found.values()):
        raise StoreError(
            f"{path} must hold a state dictionary, itself or under one of"
            f" {', '.join(_WRAPPINGS)}, but it holds {type(found).__name__}."
        )
    return {_PREFIX.sub("", key): value for key, value in found.items()}


def fit(model: nn.Module, state: dict[str, Tensor], path: str, name: str) -> nn.Module:
    """The model with a checkpoint's weights, in evaluation mode.

    Raises:
        StoreError: keys or shapes differ; the message says which, and whether it is the classes.
    """
    own = model.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}  # older torch had none
    missing = [key for key in own if key not in state and key not in counters]
    foreign = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or foreign or shapes:
        told = [
            f"{len(keys)} {what} ({', '.join(keys[:2])}{', ...' if len(keys) > 2 else ''})"
            for what, keys in (
                ("keys missing", missing),
                ("keys of another network", foreign),
                ("other shapes", shapes),
            )
            if keys
        ]
        last_only = not missing and not foreign and len(shapes) <= 2
        hint = (
            " It seems to be of another number of classes than the data."
            if last_only
            else " Name the network that it was saved from."
        )
        raise StoreError(f"{path} must hold the weights of {name}, but: {'; '.join(told)}.{hint}")
    model.load_state_dict(state, strict=False)
    return model.eval()


def logits(path: str, rows: Rows, classes: int) -> Logits:
    """Logits (len(rows), classes) from a parquet or Arrow IPC file.

    It has a column `logits` of one list of `classes` numbers per example, and may have a column
    `row`, the number of the example in the dataset; without it, examples are the training images
    in the dataset's order.

    Raises:
        StoreError: the file is no such table, or does not cover the rows.
    """
    try:
        if path.endswith(".parquet"):
            table = pa.parquet.read_table(path)
        else:
            with pa.memory_map(path, "r") as source:
                table = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0][:160]
        raise StoreError(f"{path} must be a parquet or Arrow IPC file, but: {reason}.") from None
    if "logits" not in table.column_names:
        raise StoreError(
            f"{path} must have a column 'logits', but has {', '.join(table.column_names)}."
        )
    column = table.column("logits").combine_chunks()
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not (lists or pa.types.is_fixed_size_list(column.type)) or column.null_count:
        raise StoreError(
            f"{path}: 'logits' must be one list of numbers per example, but is {column.type}"
            f" with {column.null_count} nulls."
        )
    flat = column.flatten().to_numpy(zero_copy_only=False)
    if len(flat) != len(column) * classes:
        raise StoreError(
            f"{path}: 'logits' must hold {classes} numbers per example, as the data has classes,"
            f" but holds {len(flat)} in {len(column)} lists."
        )
    found = flat.reshape(len(column), classes)
    if "row" in table.column_names:
        stored = table.column("row").to_numpy()
        order = np.argsort(stored, kind="stable")
        places = np.searchsorted(stored[order], rows)
        there = places < len(stored)
        there[there] = stored[order][places[there]] == rows[there]
        if not there.all():
            raise StoreError(
                f"{path} must hold the logits of all {len(rows)} training images, but"
                f" {(~there).sum()} are missing, the first of row {rows[~there][0]}."
            )
        found = found[order[places]]
    elif len(found) != len(rows):
        raise StoreError(
            f"{path} must hold the logits of all {len(rows)} training images, but holds"
            f" {len(found)}. A column `row` may say which they are."
        )
    half: Logits = found.astype(np.float16)
    return half
