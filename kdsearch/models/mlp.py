"""A multilayer perceptron for features, with batch norm; of images it sees each channel's mean.

Depth is the number of hidden layers, width their size.
"""

import torch
from torch import Tensor, nn


class _Features(nn.Module):
    """Features (N, D) as they are; images (N, channels, H, W) as the means of their channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.ndim == 2 else torch.mean(x, dim=(2, 3))


def build(classes: int, channels: int, width: int = 64, depth: int = 2) -> nn.Module:
    if width < 1 or depth < 0:
        raise ValueError(f"width >= 1 and depth >= 0 must hold, but got {width} and {depth}")
    layers: list[nn.Module] = [_Features()]
    before = channels
    for _ in range(depth):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, classes))
