"""Views: augmented images that can be replayed, because chance is a function of their name.

    views = Views(crop=4, flip=True)
    views(pixels, rows, views.of_epoch(8))     the same on any device, in any batch, on any day

A view is named by (seed, number, row of the dataset), and every draw is a hash of that name. So the
student sees the very crop that the teacher saw, and the teacher's logits of a view can be stored.
"""

from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdsearch.values import Value

GENERATOR = "splitmix64-1"
"""Names the hash below: stored signals of another generator are not those of these views."""


class Views(Value):
    """The field's augmentation of small images; each draw is uniform.

    crop: pixels of black padding on every side, of which a window of the old size is cut.
    flip: mirror left and right with probability 1/2.
    count: how many views there are; epoch count + 1 sees the first again. None: one per epoch.
    """

    crop: int = Field(0, ge=0)
    flip: bool = False
    seed: int = Field(0, ge=0)
    count: int | None = Field(None, ge=1)

    @property
    def identity(self) -> bool:
        """Whether all views are the images themselves."""
        return not (self.crop or self.flip)

    def of_epoch(self, epoch: int) -> int:
        """The number, from 0, of the view that an epoch, from 1, sees."""
        return (epoch - 1) % self.count if self.count else epoch - 1

    def needed(self, epochs: int) -> int:
        """How many views a training of so many epochs sees; 0 where they are the images."""
        return 0 if self.identity else min(epochs, self.count or epochs)

    @property
    def unlimited(self) -> Self:
        """The same with a new view in every epoch."""
        return self.model_copy(update={"count": None})

    def __call__(self, pixels: Tensor, rows: Tensor, view: int) -> Tensor:
        """The view of the images (N, channels, H, W), whose rows in the dataset are (N,)."""
        if self.identity:
            return pixels
        count, _, height, width = pixels.shape
        bits = draws(self.seed, view, rows)
        down = torch.arange(height, device=rows.device).expand(count, -1)
        across = torch.arange(width, device=rows.device).expand(count, -1)
        if self.flip:
            mirrored = (bits & 1).bool()[:, None]
            across = torch.where(mirrored, width - 1 - across, across)
        if self.crop:
            pixels = F.pad(pixels, (self.crop,) * 4)
            places = 2 * self.crop + 1
            down = down + (bits >> 1)[:, None] % places
            across = across + (bits >> 24)[:, None] % places
        seen: Tensor = pixels[
            torch.arange(count, device=rows.device)[:, None, None, None],
            torch.arange(pixels.shape[1], device=rows.device)[:, None, None],
            down[:, None, :, None],
            across[:, None, None, :],
        ]
        return seen


PLAIN = Views()
"""The images themselves."""


def draws(seed: int, view: int, rows: Tensor) -> Tensor:
    """62 random bits (N,) for each of the rows (N,): SplitMix64 of the name, in int64.

    Integer arithmetic wraps alike on every device, which floating-point generators do not promise.
    """
    state = _mixed(torch.tensor(seed * 1_000_003 + view, device=rows.device))
    bits: Tensor = _mixed(state + rows) & (2**62 - 1)
    return bits


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), with logical shifts."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    shifted: Tensor = (x >> by) & (2 ** (64 - by) - 1)
    return shifted


def _signed(constant: int) -> int:
    return constant - 2**64 if constant >= 2**63 else constant
