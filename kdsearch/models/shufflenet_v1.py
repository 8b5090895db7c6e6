"""ShuffleNet for small images: grouped 1x1 convolutions with shuffled channels.

Zhang et al., arXiv 1707.01083, table 1 at scale 1 with three groups, as the CIFAR-100 distillation
benchmark has it (there ShuffleNetV1): a 1x1 stem keeps the resolution, and a bottleneck has a
quarter of the channels that its block adds.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 3
_STAGES = ((240, 4), (480, 8), (960, 4))


def build(classes: int, channels: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, 24, 1, bias=False), bn1=nn.BatchNorm2d(24), relu=nn.ReLU()
    )
    before = 24
    for stage, (after, count) in enumerate(_STAGES, start=1):
        # The first 1x1 convolution has too few channels to be grouped.
        first = _Block(before, after, groups=1 if stage == 1 else _GROUPS, stride=2)
        others = [_Block(after, after) for _ in range(count - 1)]
        layers[f"layer{stage}"] = nn.Sequential(first, *others)
        before = after
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["linear"] = nn.Linear(before, classes)
    return nn.Sequential(layers)


class _Block(nn.Module):
    """Added to its input; with a stride, put beside its averaged input."""

    def __init__(self, before: int, after: int, groups: int = _GROUPS, stride: int = 1) -> None:
        super().__init__()
        new = after if stride == 1 else after - before
        inner = new // 4
        self.conv1 = nn.Conv2d(before, inner, 1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.shuffle = nn.ChannelShuffle(groups)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, new, 1, groups=_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(new)
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        inner = self.shuffle(F.relu(self.bn1(self.conv1(images))))
        inner = F.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        if self.stride == 1:
            return F.relu(images + inner)
        averaged = F.avg_pool2d(images, 3, self.stride, padding=1)
        return F.relu(torch.cat([inner, averaged], dim=1))
