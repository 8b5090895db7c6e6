"""Your own pictures: a folder `train` and a folder `test` (or `val`), each with one per class.

The layout of torchvision's ImageFolder: classes are numbered in the alphabetical order of their
folders' names, and pictures may lie in folders below. Where the classes' folders lie in `root`
itself, `test` is the stratified share of their pictures kept for the finals, always the same ones.
`size` and `channels` as in `data/pictures`. `stream: true` reads them anew for every batch, as
ImageNet needs.
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
from kdsearch.data.splits import Dataset, stratified
from kdsearch.data.stream import must_have_size
from kdsearch.errors import DataError, SettingError

Share = Annotated[float, Field(gt=0, lt=1)]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def load(
    root: str = "./data",
    size: Annotated[int, Field(ge=1)] | None = None,
    channels: Literal[1, 3] | None = None,
    stream: bool = False,
    test: Share | None = None,
) -> Dataset:
    place = Path(root).expanduser().absolute()
    learn, judge = _parts(place, test)
    classes = [folder.name for folder in learn]
    if strange := sorted(folder.name for folder in judge if folder.name not in classes):
        raise DataError(
            f"every class must have a folder in {place / 'train'}, but {strange[0]!r} of the test"
            " part has none."
        )
    files: list[Path] = []
    labels: list[int] = []
    learned = 0
    for part in (learn, judge):
        for folder in part:
            found = _pictures(folder)
            files += found
            labels += [classes.index(folder.name)] * len(found)
        learned = learned or len(files)

    states = [(str(file), (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    encoded = Files.of(place, files)
    read = partial(map, encoded)
    numbers = np.array(labels, dtype=np.int64)
    later = np.arange(len(files)) >= learned
    return Dataset(
        images=Pictures(values.digest(states), read, size, channels, encoded if stream else None),
        labels=numbers,
        classes=len(classes),
        test=stratified(numbers, test, seed=0) if test else later,
    )


def find(
    root: str = "./data",
    size: int | None = None,
    stream: bool = False,
    test: Share | None = None,
    **_: object,
) -> None:
    must_have_size(stream, size)
    _parts(Path(root).expanduser().absolute(), test)


def _parts(place: Path, test: float | None) -> tuple[list[Path], list[Path]]:
    """The class folders to learn from and those of the test part; of a share all are the former."""
    if test is None:
        return _part(place, "train"), _part(place, "test", "val")
    if not place.is_dir():
        raise DataError(
            f"{place} must be a folder with one of pictures per class, but is none. Say"
            " `root: FOLDER` for where it is."
        )
    folders = _classes(place)
    if {"train"} < {folder.name for folder in folders} & {"train", "test", "val"}:
        raise SettingError(
            f"a share for `test` must be of classes' folders, but {place} holds a folder 'train'"
            " and one for testing. Leave `test` out."
        )
    return folders, []


def _part(place: Path, *names: str) -> list[Path]:
    """The class folders of the first part that is there."""
    for name in names:
        if (place / name).is_dir():
            return _classes(place / name)
    raise DataError(
        f"{place} must hold the folder {' or '.join(map(repr, names))}, with one folder of pictures"
        " per class, but does not. Say `root: FOLDER` for where it is; or, if FOLDER holds the"
        " classes' folders themselves, `test: 0.2` for the share of their pictures that is kept for"
        " the finals."
    )


def _classes(place: Path) -> list[Path]:
    """The folders in a folder, in the order of their names."""
    if folders := sorted(entry for entry in place.iterdir() if entry.is_dir()):
        return folders
    raise DataError(f"{place} must hold one folder per class, but holds none.")


def _pictures(folder: Path) -> list[Path]:
    walk = os.walk(folder, followlinks=True)
    files = [Path(place, name) for place, _, names in walk for name in names]
    found = sorted(file for file in files if file.suffix.lower() in _SUFFIXES)
    if not found:
        raise DataError(
            f"{folder} must hold pictures of its class, but holds none ({', '.join(_SUFFIXES)})."
        )
    return found
