"""ResNet-50 for small images: four stages of bottlenecks after a 3x3 stem without pooling.

He et al., arXiv 1512.03385, table 1, as the CIFAR-100 distillation benchmark has it. For the
network of ImageNet, with its 7x7 stem and max pooling: `{name: torchvision, model: resnet50}`.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from kdsearch.models._initial import he


def build(classes: int, channels: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, 64, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
    )
    before = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        inner = 32 * 2**stage
        first = _Bottleneck(before, inner, stride=1 if stage == 1 else 2)
        others = [_Bottleneck(4 * inner, inner) for _ in range(blocks - 1)]
        layers[f"layer{stage}"] = nn.Sequential(first, *others)
        before = 4 * inner
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["linear"] = nn.Linear(before, classes)
    return he(nn.Sequential(layers))


class _Bottleneck(nn.Module):
    def __init__(self, before: int, inner: int, stride: int = 1) -> None:
        super().__init__()
        after = 4 * inner
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            projection = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(after))

    def forward(self, images: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(images)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        return F.relu(self.bn3(self.conv3(inner)) + self.shortcut(images))
