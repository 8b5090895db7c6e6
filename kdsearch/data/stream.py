"""Stream: pictures that stay in their files, read and decoded anew for every batch that asks.

It takes the place of a dataset's tensor and travels to workers as the names of its files, which
every node of a cluster must see at the same paths.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdsearch.data import pictures
from kdsearch.data.pictures import Box, Pictures, Rows, Source, Tensor
from kdsearch.errors import SettingError

SAMPLE = 2048
"""Images of the train part from which mean and standard deviation are taken."""

_RUN = 32  # so many of them in a row, because some sources read whole blocks


@dataclass(frozen=True, eq=False)
class Stream:
    """The kept rows of pictures as if they were uint8 (N, channels, size, size).

    margin: as of `Views`. grey: where the first picture is, if it is grey and so all must be.
    """

    source: Source
    identity: str
    kept: Rows
    size: int
    channels: Literal[1, 3]
    margin: float
    grey: str = ""

    ndim = 4
    dtype = np.dtype(np.uint8)

    @classmethod
    def of(cls, found: Pictures, kept: Rows, margin: float) -> "Stream":
        """The stream of some rows of pictures, of which only the first is decoded.

        Raises:
            SettingError: no `size` is given.
            DataError: the first picture is missing or damaged.
        """
        must_have_size(True, found.size)
        assert found.stream
        assert found.size
        first = found.stream(int(kept[0]))
        channels = found.channels or pictures.channels_of(first)
        grey = first[0] if channels == 1 and found.channels is None else ""
        law = [found.identity, found.size, channels, margin]
        identity = hashlib.sha256(repr(law).encode() + kept.tobytes()).hexdigest()
        return cls(found.stream, identity, kept, found.size, channels, margin, grey)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the tensor whose place it takes."""
        return len(self.kept), self.channels, self.size, self.size

    def decode(self, row: int, window: Callable[[int, int], Box] | None = None) -> Tensor:
        """One image (channels, size, size): a window of its picture, or its centre.

        Raises:
            DataError: the picture is missing or damaged, or is in colour where all must be grey.
        """
        picture = self.source(int(self.kept[row]))
        if self.grey:
            pictures.refuse_colour(picture, self.grey)
        if window:
            return pictures.cropped(picture, self.channels, self.size, window)
        return pictures.centred(picture, self.channels, self.size, self.margin)

    def arranged(self, rows: Rows) -> Rows:
        """The order (n,) in which a training should visit rows (n,), see `Source`."""
        return self.source.arranged(self.kept[rows])

    def sample(self, rows: Rows) -> Tensor:
        """About `SAMPLE` of the rows, evenly spread, or all where there are fewer."""
        runs = np.array_split(rows, min(SAMPLE // _RUN, len(rows)))
        chosen = np.concatenate([run[:_RUN] for run in runs])
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(self.decode, chosen)))


def must_have_size(stream: bool, size: int | None) -> None:
    """Raise SettingError where pictures are to be streamed at no size."""
    if stream and size is None:
        raise SettingError(
            "pictures that are streamed must have a size, because nothing has seen them all, but"
            " got none. Say `size: 224`, or what the networks take."
        )
