"""A small convolutional network for small images: `depth` stages, each halving the resolution.

Width 8 and depth 2 make a student of 1,442 parameters on the digits; width 32 and depth 3 a
teacher of 0.1 million.
"""

from torch import nn


def build(classes: int, channels: int, width: int = 8, depth: int = 2) -> nn.Module:
    if width < 1 or depth < 1:
        raise ValueError(f"width >= 1 and depth >= 1 must hold, but got {width} and {depth}")
    layers: list[nn.Module] = []
    before = channels
    for stage in range(depth):
        after = width * 2**stage
        layers += [
            nn.Conv2d(before, after, 3, stride=1 if stage == 0 else 2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
