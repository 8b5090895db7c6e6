"""Residual networks for small images: three stages of basic blocks, depth 6n + 2.

He et al., arXiv 1512.03385, section 4.2, with the projection shortcuts (option B) and the names
of the CIFAR-100 distillation benchmark (CRD, arXiv 1910.10699). `width` multiplies the stages' 16,
32 and 64 channels; the stem grows to 32 channels at most, as in resnet8x4 and resnet32x4.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from kdsearch.models._initial import he

VARIANTS = {
    "resnet8": {"depth": 8, "width": 1},
    "resnet14": {"depth": 14, "width": 1},
    "resnet20": {"depth": 20, "width": 1},
    "resnet32": {"depth": 32, "width": 1},
    "resnet44": {"depth": 44, "width": 1},
    "resnet56": {"depth": 56, "width": 1},
    "resnet110": {"depth": 110, "width": 1},
    "resnet8x4": {"depth": 8, "width": 4},
    "resnet32x4": {"depth": 32, "width": 4},
}


def build(classes: int, channels: int, depth: int = 20, width: int = 1) -> nn.Module:
    if depth < 8 or depth % 6 != 2 or width < 1:
        law = "depth must be 6n + 2 (8, 14, 20, ...) and width >= 1"
        raise ValueError(f"{law}, but got depth {depth} and width {width}")
    stem = 16 * min(width, 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, stem, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(stem),
        relu=nn.ReLU(),
    )
    before = stem
    for stage, after in enumerate((16 * width, 32 * width, 64 * width), start=1):
        first = _Block(before, after, stride=1 if stage == 1 else 2)
        others = [_Block(after, after) for _ in range(depth // 6 - 1)]
        layers[f"layer{stage}"] = nn.Sequential(first, *others)
        before = after
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["fc"] = nn.Linear(before, classes)
    return he(nn.Sequential(layers))


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            projection = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(after))

    def forward(self, images: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(inner)) + self.downsample(images))
