"""Your own pictures: a folder `train` and a folder `test` (or `val`), each with one per class.

The layout of torchvision's ImageFolder: classes are numbered in the alphabetical order of their
folders' names, and pictures may lie in folders below. `size` and `channels` as in `data/pictures`.
`stream: true` reads them anew for every batch, as ImageNet needs.
"""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from kdsearch import values
from kdsearch.data.files import Files
from kdsearch.data.pictures import Pictures
from kdsearch.data.splits import Dataset
from kdsearch.data.stream import must_have_size
from kdsearch.errors import DataError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def load(
    root: str = "./data",
    size: Annotated[int, Field(ge=1)] | None = None,
    channels: Literal[1, 3] | None = None,
    stream: bool = False,
) -> Dataset:
    place = Path(root).expanduser().absolute()
    train, test = _part(place, "train"), _part(place, "test", "val")
    classes = [folder.name for folder in train]
    if strange := sorted(folder.name for folder in test if folder.name not in classes):
        raise DataError(
            f"every class must have a folder in {place / 'train'}, but {strange[0]!r} of the test"
            " part has none."
        )
    files: list[Path] = []
    labels: list[int] = []
    learned = 0
    for part in (train, test):
        for folder in part:
            found = _pictures(folder)
            files += found
            labels += [classes.index(folder.name)] * len(found)
        learned = learned or len(files)

    states = [(str(file), (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    encoded = Files.of(place, files)
    read = partial(map, encoded)
    return Dataset(
        images=Pictures(values.digest(states), read, size, channels, encoded if stream else None),
        labels=np.array(labels, dtype=np.int64),
        classes=len(classes),
        test=np.arange(len(files)) >= learned,
    )


def find(root: str = "./data", size: int | None = None, stream: bool = False, **_: object) -> None:
    must_have_size(stream, size)
    place = Path(root).expanduser().absolute()
    _part(place, "train")
    _part(place, "test", "val")


def _part(place: Path, *names: str) -> list[Path]:
    """The class folders of the first part that is there, in the order of their names."""
    for name in names:
        if (place / name).is_dir():
            if folders := sorted(entry for entry in (place / name).iterdir() if entry.is_dir()):
                return folders
            raise DataError(f"{place / name} must hold one folder per class, but holds none.")
    raise DataError(
        f"{place} must hold the folder {' or '.join(map(repr, names))}, with one folder of pictures"
        " per class, but does not. Say `root: FOLDER` for where it is."
    )


def _pictures(folder: Path) -> list[Path]:
    walk = os.walk(folder, followlinks=True)
    files = [Path(place, name) for place, _, names in walk for name in names]
    found = sorted(file for file in files if file.suffix.lower() in _SUFFIXES)
    if not found:
        raise DataError(
            f"{folder} must hold pictures of its class, but holds none ({', '.join(_SUFFIXES)})."
        )
    return found
