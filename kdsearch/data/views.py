"""Views: augmented images that can be replayed, because chance is a function of their name.

    views = Views(crop=4, flip=True)
    views(pixels, rows, views.of_epoch(8))     the same on any device, in any batch, on any day

A view is named by (seed, number, row of the dataset), and every draw is a hash of that name. So the
student sees the very crop that the teacher saw, and the teacher's logits of a view can be stored.

A random resized crop is cut out of the picture in its file, which a stream does when it decodes it:
`window` says where.
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from kdsearch.values import Value

Chance = Sequence[Sequence[float]]

_RATIO = 4 / 3  # the widest window; the highest is as high as this one is wide
_TRIES = 10

GENERATOR = "splitmix64-1"
"""Names the hash below: stored signals of another generator are not those of these views."""


class Views(Value):
    """The field's augmentation of small images, or of pictures like ImageNet's; draws are uniform.

    crop: pixels of black padding on every side, of which a window of the old size is cut.
    area: the least share, in (0, 1], of a picture that a window may have which is then resized:
        ImageNet's is 0.08, its ratio of sides 3/4 to 4/3. Images as they are then have their
        shorter side resized to 256/224 of their size before the centre is kept. For streams.
    flip: mirror left and right with probability 1/2.
    count: how many views there are; epoch count + 1 sees the first again. None: one per epoch.
    """

    crop: int = Field(0, ge=0)
    area: float | None = Field(None, gt=0, le=1)
    flip: bool = False
    seed: int = Field(0, ge=0)
    count: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_crop(self) -> Self:
        if self.crop and self.area:
            raise ValueError(
                "views must be cut out of padded images with `crop` or out of pictures with"
                f" `area`, but got crop {self.crop} and area {self.area:g}. Leave one out."
            )
        return self

    @property
    def identity(self) -> bool:
        """Whether all views are the images themselves."""
        return not (self.crop or self.flip or self.area)

    @property
    def margin(self) -> float:
        """To how many times their size images are resized before their centre is kept."""
        return 256 / 224 if self.area else 1.0

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
        """The view of the images (N, channels, H, W), whose rows in the dataset are (N,).

        The windows of `area` have been cut before.
        """
        if not (self.crop or self.flip):
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

    def window(self, chance: Chance, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a random resized crop of a picture of this size.

        `chance` is the picture's of `chances`. A window that does not fit is drawn again, ten times
        at most; then the largest in the middle that is not too wide or too high is taken, as in
        torchvision.
        """
        assert self.area
        for share, ratio, across, down in chance:
            surface = width * height * (self.area + (1 - self.area) * share)
            sides = math.exp((2 * ratio - 1) * math.log(_RATIO))
            wide, high = round(math.sqrt(surface * sides)), round(math.sqrt(surface / sides))
            if 0 < wide <= width and 0 < high <= height:
                left, top = int(across * (width - wide + 1)), int(down * (height - high + 1))
                return left, top, left + wide, top + high
        wide, high = min(width, round(height * _RATIO)), min(height, round(width * _RATIO))
        left, top = (width - wide) // 2, (height - high) // 2
        return left, top, left + wide, top + high


PLAIN = Views()
"""The images themselves."""


def draws(seed: int, view: int, rows: Tensor) -> Tensor:
    """62 random bits (N,) for each of the rows (N,): SplitMix64 of the name, in int64.

    Integer arithmetic wraps alike on every device, which floating-point generators do not promise.
    """
    state = _mixed(torch.tensor(seed * 1_000_003 + view, device=rows.device))
    bits: Tensor = _mixed(state + rows) & (2**62 - 1)
    return bits


def chances(seed: int, view: int, rows: Tensor) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) for each of the rows (N,): four for each try, (N, 10, 4).

    The next hashes of a row's draw, of which 53 bits are taken.
    """
    names = draws(seed, view, rows)[:, None] + torch.arange(1, 1 + 4 * _TRIES)
    bits = _shifted(_mixed(names), 11)
    return (bits.double() * 2.0**-53).reshape(-1, _TRIES, 4).numpy()


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
