"""Pictures: encoded images, decoded once to one tensor, or again and again by a stream.

The first picture sets the law for all. Its size is every picture's, unless `size` resizes: the
shorter side to `size`, then the centre is kept. Without `channels`, a first picture in colour
makes all of them RGB, and a grey one asks that all be grey. Transparency is dropped.
"""

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from kdsearch.data import cache
from kdsearch.errors import DataError

Rows = npt.NDArray[np.int64]
Tensor = npt.NDArray[np.uint8]
Picture = tuple[str, bytes]
"""Where a picture is, for messages, and its encoded bytes."""
Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a window, in pixels."""

_BATCH = 1024
"""Encoded pictures held in memory at a time."""

_GREY = ("1", "L", "LA")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class Source(Protocol):
    """Where a stream finds its pictures one by one; it is pickled to every worker."""

    def __call__(self, row: int) -> Picture:
        """The picture of a row; called from many threads."""

    def arranged(self, rows: Rows) -> Rows:
        """The order (n,) in which to visit rows (n,) that come in any: as they come, unless files
        are read in blocks. Rows that ascend are left as they are.
        """


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a dataset file returns as images that are still encoded.

    identity: JSON-like, changes whenever the content of the files may have changed;
    read: yields the pictures of the given rows, in that order;
    stream: where they are found anew at every use, if they are not to be held.
    """

    identity: Any
    read: Callable[[Rows], Iterator[Picture]]
    size: int | None = None
    channels: Literal[1, 3] | None = None
    stream: Source | None = None

    def decoded(self, rows: Rows) -> Tensor:
        """The pictures of the rows as uint8 (len(rows), channels, height, width), from the cache.

        Raises:
            DataError: a picture cannot be decoded or does not fit the others, or memory does not
                hold all of them.
        """
        chosen = hashlib.sha256(rows.tobytes()).hexdigest()
        identity = [self.identity, chosen, self.size, self.channels]
        return cache.kept(identity, lambda: {"images": self._decode(rows)})["images"]

    def _decode(self, rows: Rows) -> Tensor:
        pictures = self.read(rows)
        first = next(pictures)
        channels = self.channels or channels_of(first)
        model = _tensor(first, channels, self.size)
        _refuse_if_too_large(len(rows), model.shape)
        images = np.empty((len(rows), *model.shape), dtype=np.uint8)

        def decode(number: int, picture: Picture) -> None:
            if channels == 1 and self.channels is None:
                refuse_colour(picture, first[0])
            tensor = _tensor(picture, channels, self.size)
            if tensor.shape != model.shape:
                raise DataError(
                    f"pictures must be of one size, but {first[0]} is {_size(model)} and"
                    f" {picture[0]} is {_size(tensor)}. Say `size: {min(model.shape[1:])}`, which"
                    " resizes the shorter side and keeps the centre."
                )
            images[number] = tensor

        numbered = enumerate(chain([first], pictures))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the GIL
            while batch := list(islice(numbered, _BATCH)):
                list(pool.map(decode, *zip(*batch, strict=True)))
        return images


def channels_of(picture: Picture) -> Literal[1, 3]:
    """How many channels a picture has itself."""
    with _opened(picture) as image:
        return 1 if image.mode in _GREY else 3


def refuse_colour(picture: Picture, grey: str) -> None:
    """Raise DataError if the picture is in colour, where the one at `grey` says that none is."""
    if channels_of(picture) == 3:
        raise DataError(
            f"pictures must be all grey or all in colour, but {grey} is grey and {picture[0]} is"
            " not. Say `channels: 3` or `channels: 1`."
        )


def cropped(
    picture: Picture, channels: Literal[1, 3], size: int, window: Callable[[int, int], Box]
) -> Tensor:
    """A window of a picture, chosen by its width and height, resized to `size` on both sides."""
    with _opened(picture) as image:
        box = window(*image.size)
        scale = _draft(image, size / (box[2] - box[0]), size / (box[3] - box[1]))
        pixels = _converted(image, picture[0], channels)
    left, top, right, bottom = (side / scale for side in box)
    # Nothing beyond the window is seen, as where it is cut out before it is resized.
    x, y = math.floor(left), math.floor(top)
    around = pixels.crop((x, y, math.ceil(right), math.ceil(bottom)))
    inside = (left - x, top - y, right - x, bottom - y)
    seen = around.resize((size, size), Image.Resampling.BILINEAR, box=inside)
    return _array(seen, channels)


def centred(picture: Picture, channels: Literal[1, 3], size: int, margin: float) -> Tensor:
    """A picture with its shorter side resized to `size * margin`, of which the centre is kept."""
    if margin == 1:
        return _tensor(picture, channels, size)
    shorter = round(size * margin)
    with _opened(picture) as image:
        width, height = image.size
        scale = _draft(image, shorter / min(width, height), shorter / min(width, height))
        pixels = _converted(image, picture[0], channels)
    longer = int(shorter * max(width, height) / min(width, height))
    whole = (longer, shorter) if width > height else (shorter, longer)
    left, top = (round((side - size) / 2) for side in whole)
    extent = (0, 0, width / scale, height / scale)
    resized = pixels.resize(whole, Image.Resampling.BILINEAR, box=extent)
    return _array(resized.crop((left, top, left + size, top + size)), channels)


def _draft(image: Image.Image, across: float, down: float) -> float:
    """Let a JPEG be decoded at 1/2, 1/4 or 1/8, where it will be resized to less than that.

    Returns 2, 4 or 8, by which places in it are divided; 1 of all else.
    """
    width = image.width
    drafted = image.draft(None, (math.ceil(width * across), math.ceil(image.height * down)))
    return width / drafted[1][2] if drafted else 1.0


def _tensor(picture: Picture, channels: Literal[1, 3], size: int | None) -> Tensor:
    with _opened(picture) as image:
        pixels = _converted(image, picture[0], channels)
    if size is not None:
        pixels = ImageOps.fit(pixels, (size, size), Image.Resampling.BILINEAR)
    return _array(pixels, channels)


def _converted(image: Image.Image, place: str, channels: Literal[1, 3]) -> Image.Image:
    if image.mode in _DEEP:
        raise DataError(
            f"pictures must have 8 bits per channel, but {place} has the mode {image.mode}."
            " Convert it first."
        )
    try:
        return image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # noqa: BLE001 - each of Pillow's formats fails in its own way
        raise _undecodable(place, str(error)) from None


def _array(pixels: Image.Image, channels: Literal[1, 3]) -> Tensor:
    array = np.asarray(pixels)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _opened(picture: Picture) -> Image.Image:
    place, content = picture
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise _undecodable(place, "it is of no format that Pillow knows") from None
    except Exception as error:  # noqa: BLE001 - each of Pillow's formats fails in its own way
        raise _undecodable(place, str(error)) from None


def _undecodable(place: str, reason: str) -> DataError:
    return DataError(
        f"every picture must be decodable, but {place} is not: {reason}. Restore it or leave it"
        " out."
    )


def _refuse_if_too_large(count: int, shape: tuple[int, ...]) -> None:
    needed, available = count * int(np.prod(shape)), available_memory()
    if needed > available:
        channels, height, width = shape
        raise DataError(
            f"the decoded images must fit into memory, but {count:,} x {channels} x {height} x"
            f" {width} bytes are {needed / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are"
            " available. Make them smaller with `size`, keep fewer with `per_class`, or hold none"
            " with `stream: true`."
        )


def available_memory() -> int:
    """Bytes that can be taken without swapping, as far as the system tells."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail")]
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))  # of a container
    except (OSError, ValueError):  # not Linux, or no limit
        pass
    return min(limits)


def _size(tensor: Tensor) -> str:
    return f"{tensor.shape[2]}x{tensor.shape[1]}"
