"""Cutout and mixup: what a recipe may do to a batch after its view was chosen.

Both draw from (seed, epoch, number of the batch), so that students of one seed meet the same ones.
"""

import numpy as np
import torch
from torch import Tensor


def chance(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """The generator of one batch."""
    return np.random.default_rng((seed, epoch, batch))


def cutout(images: Tensor, side: int, random: np.random.Generator) -> Tensor:
    """Images (N, channels, H, W) with a hole each, `side` wide, centred anywhere in the image.

    A hole is 0, the mean of normalised images; at the border it is cut off. Cutout
    (arXiv 1708.04552), section 3.
    """
    count, _, height, width = images.shape
    centres = torch.from_numpy(random.integers((height, width), size=(count, 2))).to(images.device)
    first = centres - side // 2
    rows, columns = (
        (at := torch.arange(size, device=images.device)[None]).ge(first[:, axis, None])
        & at.lt(first[:, axis, None] + side)
        for axis, size in enumerate((height, width))
    )
    hole = rows[:, :, None] & columns[:, None, :]
    return images.masked_fill(hole[:, None], 0.0)


def mixup_share(alpha: float, random: np.random.Generator) -> float:
    """The share in [0, 1] of the first of two mixed images: Beta(alpha, alpha)."""
    return float(random.beta(alpha, alpha))
