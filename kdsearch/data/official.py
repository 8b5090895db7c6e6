"""Sets that torchvision reads in their authors' format, and downloads when asked to."""

from pathlib import Path
from typing import Any

import numpy as np

from kdsearch.data import cache
from kdsearch.data.splits import Dataset
from kdsearch.errors import DataError


def load(reader: str, root: str, folder: str, classes: int, download: bool) -> Dataset:
    """The set of torchvision's class `reader`, whose files lie in `root/folder`.

    Raises:
        DataError: the files are missing or damaged, or cannot be downloaded.
    """
    find(root, folder, download)
    place = Path(root).expanduser().absolute() / folder
    if not _files(place):
        _read(reader, place, root, download)
    identity = [reader, str(place), _files(place)]
    arrays = cache.kept(identity, lambda: _read(reader, place, root, download))
    return Dataset(arrays["images"], arrays["labels"], classes, arrays["test"].view(bool))


def find(root: str, folder: str, download: bool) -> None:
    """Raise DataError if there is nothing in `root/folder` and nothing is to be downloaded."""
    place = Path(root).expanduser().absolute() / folder
    if not download and not _files(place):
        raise DataError(
            f"{place} must hold the dataset's files, but there are none. Say `root: FOLDER` where"
            f" FOLDER/{folder} holds them, or `download: true`."
        )


def _files(place: Path) -> list[tuple[str, int, int]]:
    found = ((file.name, file.stat()) for file in sorted(place.glob("*")))
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def _read(reader: str, place: Path, root: str, download: bool) -> cache.Arrays:
    from torchvision import datasets  # takes seconds

    folder = Path(root).expanduser()
    try:
        parts = [getattr(datasets, reader)(folder, train=t, download=download) for t in (1, 0)]
    except Exception as error:  # noqa: BLE001 - each reader fails in its own ways
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise DataError(
            f"{place} must hold the whole files of {reader}, but they cannot be"
            f" {'fetched or ' if download else ''}read: {reason}. Put whole files there, or delete"
            " them and say `download: true`."
        ) from None
    labels = [np.asarray(part.targets, dtype=np.int64) for part in parts]
    return {
        "images": np.concatenate([_channels_first(part.data) for part in parts]),
        "labels": np.concatenate(labels),
        "test": np.repeat(np.array([0, 1], dtype=np.uint8), [len(part) for part in labels]),
    }


def _channels_first(images: Any) -> Any:
    array = np.asarray(images)
    return array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2)
