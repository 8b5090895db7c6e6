"""A part: the rows of a dataset that a training may see, on its device.

    learn = part(splits, splits.train, "cuda")
    learn.images(at, view=3)        normalised images of some positions, in one of their views

The pixels stay one uint8 tensor, on a CPU the very memory that all trials of a node share; a batch
is cut, augmented and normalised when it is asked for.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdsearch.data.splits import Splits
from kdsearch.data.views import PLAIN, Views


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a dataset on a device.

    pixels: uint8 (M, channels, H, W), the whole dataset. rows: int64 (N,), those of this part.
    labels: int64 (N,). mean, std: float32 (channels, 1, 1), of the raw values.
    """

    pixels: Tensor
    rows: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    views: Views = PLAIN

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.labels.device

    @property
    def channels(self) -> int:
        """Of its images."""
        return self.pixels.shape[1]

    def images(self, at: Tensor, view: int | None = None) -> Tensor:
        """Normalised float32 images (n, channels, H, W) at positions (n,); None is no view."""
        rows = self.rows[at]
        pixels = self.pixels[rows]
        if view is not None:
            pixels = self.views(pixels, rows, view)
        return pixels.float().sub_(self.mean).div_(self.std)

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """Some rows of the dataset, where this part holds all of them; the pixels stay shared."""
        chosen = torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)
        return replace(self, rows=chosen, labels=self.labels[chosen])

    def with_views(self, views: Views) -> Self:
        """The same rows under other views."""
        return replace(self, views=views)


def part(splits: Splits, rows: npt.NDArray[np.int64], device: torch.device | str = "cpu") -> Part:
    """The given rows, to be normalised with the statistics of the train part, on a device."""
    mean, std = (torch.from_numpy(value)[:, None, None] for value in splits.normalisation)
    with warnings.catch_warnings():
        # Arrays in shared memory are read-only, and nothing here writes to them.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        pixels = torch.from_numpy(splits.images)
    return Part(
        pixels=pixels.to(device),
        rows=torch.from_numpy(np.ascontiguousarray(rows)).to(device),
        labels=torch.from_numpy(splits.labels[rows]).to(device),
        mean=mean.to(device),
        std=std.to(device),
        views=splits.views,
    )
