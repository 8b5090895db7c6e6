"""A part: the rows of a dataset that a training may see, on its device.

    learn = part(splits, splits.train, "cuda")
    learn.images(at, view=3)        normalised images of some positions, in one of their views

The pixels stay one uint8 tensor, on a CPU the very memory that all trials of a node share; a batch
is cut, augmented and normalised when it is asked for.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdsearch.data.splits import Splits
from kdsearch.data.views import PLAIN, Views


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a dataset on a device.

    pixels: the whole dataset, uint8 (M, channels, H, W), float32 (M, D) or int64 (M, L).
    rows: int64 (N,), those of this part. labels: int64 (N,). mean, std: float32 of the raw values,
    (channels, 1, 1) or (D,).
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
        """Of its images; features, or tokens, of what is none."""
        return self.pixels.shape[1]

    def images(self, at: Tensor, view: int | None = None) -> Tensor:
        """Normalised float32 images (n, channels, H, W) at positions (n,); None is no view.

        Features (n, D) are normalised alike; token ids (n, L) are given as they are.
        """
        rows = self.rows[at]
        pixels = self.pixels[rows]
        if view is not None and not self.views.identity:
            pixels = self.views(pixels, rows, view)
        if pixels.dtype == torch.int64:
            return pixels
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
    mean, std = (torch.from_numpy(value) for value in splits.normalisation)
    if splits.images.ndim == 4:
        mean, std = mean[:, None, None], std[:, None, None]
    return Part(
        pixels=shared(splits.images).to(device),
        rows=torch.from_numpy(np.ascontiguousarray(rows)).to(device),
        labels=torch.from_numpy(splits.labels[rows]).to(device),
        mean=mean.to(device),
        std=std.to(device),
        views=splits.views,
    )


def shared(array: npt.NDArray[Any]) -> Tensor:
    """A tensor on an array's own memory, which may be read-only: nobody may write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)
