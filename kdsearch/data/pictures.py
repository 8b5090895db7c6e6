"""Pictures: encoded images, decoded once to one tensor when it is known which are kept.

The first picture sets the law for all. Its size is every picture's, unless `size` resizes: the
shorter side to `size`, then the centre is kept. Without `channels`, a first picture in colour
makes all of them RGB, and a grey one asks that all be grey. Transparency is dropped.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from kdsearch.data import cache
from kdsearch.errors import DataError

Rows = npt.NDArray[np.int64]
Tensor = npt.NDArray[np.uint8]
Picture = tuple[str, bytes]
"""Where a picture is, for messages, and its encoded bytes."""

_BATCH = 1024
"""Encoded pictures held in memory at a time."""

_GREY = ("1", "L", "LA")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a dataset file returns as images that are still encoded.

    identity: JSON-like, changes whenever the content of the files may have changed;
    read: yields the pictures of the given rows, in that order.
    """

    identity: Any
    read: Callable[[Rows], Iterator[Picture]]
    size: int | None = None
    channels: Literal[1, 3] | None = None

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
        channels = self.channels or _channels(first)
        model = _tensor(first, channels, self.size)
        _refuse_if_too_large(len(rows), model.shape)
        images = np.empty((len(rows), *model.shape), dtype=np.uint8)

        def decode(number: int, picture: Picture) -> None:
            if channels == 1 and self.channels is None and _channels(picture) == 3:
                raise DataError(
                    f"pictures must be all grey or all in colour, but {first[0]} is grey and"
                    f" {picture[0]} is not. Say `channels: 3` or `channels: 1`."
                )
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


def _channels(picture: Picture) -> Literal[1, 3]:
    with _opened(picture) as image:
        return 1 if image.mode in _GREY else 3


def _tensor(picture: Picture, channels: Literal[1, 3], size: int | None) -> Tensor:
    place, _ = picture
    with _opened(picture) as image:
        if image.mode in _DEEP:
            raise DataError(
                f"pictures must have 8 bits per channel, but {place} has the mode {image.mode}."
                " Convert it first."
            )
        try:
            converted = image.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # noqa: BLE001 - each of Pillow's formats fails in its own way
            raise _undecodable(place, str(error)) from None
    if size is not None:
        converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(converted)
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
            " available. Make them smaller with `size`, or keep fewer with `per_class`."
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
