"""ShuffleNetV2 for small images: half of the channels pass, half are convolved, then shuffled.

Ma et al., arXiv 1807.11164, table 5, with a 1x1 stem that keeps the resolution, as the CIFAR-100
distillation benchmark has it (there ShuffleNetV2, width 1).
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_BLOCKS = (4, 8, 4)


def build(classes: int, channels: int, width: float = 1.0) -> nn.Module:
    if width not in _CHANNELS:
        law = f"width must be one of {', '.join(map(str, _CHANNELS))}"
        raise ValueError(f"{law}, but got {width}")
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, 24, 1, bias=False), bn1=nn.BatchNorm2d(24), relu1=nn.ReLU()
    )
    *stages, last = _CHANNELS[width]
    before = 24
    for stage, (after, count) in enumerate(zip(stages, _BLOCKS, strict=True), start=1):
        others = [_Block(after) for _ in range(count - 1)]
        layers[f"layer{stage}"] = nn.Sequential(_Down(before, after), *others)
        before = after
    layers |= {"conv2": nn.Conv2d(before, last, 1, bias=False), "bn2": nn.BatchNorm2d(last)}
    layers |= {"relu2": nn.ReLU(), "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["linear"] = nn.Linear(last, classes)
    return nn.Sequential(layers)


def _pointwise(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 1, bias=False)


def _depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


def _shuffled(left: Tensor, right: Tensor) -> Tensor:
    """The channels of both, in turns."""
    return torch.stack([left, right], dim=2).flatten(1, 2)


class _Block(nn.Module):
    """The first half of the channels passes, the second is convolved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = _pointwise(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = _depthwise(half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = _pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, images: Tensor) -> Tensor:
        passed, inner = images.chunk(2, dim=1)
        inner = F.relu(self.bn1(self.conv1(inner)))
        inner = self.bn2(self.conv2(inner))
        inner = F.relu(self.bn3(self.conv3(inner)))
        return _shuffled(passed, inner)


class _Down(nn.Module):
    """All channels go through two branches, each at half the resolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        half = after // 2
        self.conv1, self.bn1 = _depthwise(before, stride=2), nn.BatchNorm2d(before)
        self.conv2, self.bn2 = _pointwise(before, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = _pointwise(before, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = _depthwise(half, stride=2), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = _pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, images: Tensor) -> Tensor:
        left = self.bn1(self.conv1(images))
        left = F.relu(self.bn2(self.conv2(left)))
        right = F.relu(self.bn3(self.conv3(images)))
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)))
        return _shuffled(left, right)
