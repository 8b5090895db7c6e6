"""Wide residual networks: three stages of pre-activated blocks, depth 6n + 4.

Zagoruyko and Komodakis, arXiv 1605.07146: WRN-40-2 is depth 40 at width 2. `dropout` is between
the two convolutions of a block, as in section 2.4 there; the distillation benchmark uses none.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from kdsearch.models._initial import he

VARIANTS = {
    "wrn_16_1": {"depth": 16, "width": 1},
    "wrn_16_2": {"depth": 16, "width": 2},
    "wrn_16_4": {"depth": 16, "width": 4},
    "wrn_28_2": {"depth": 28, "width": 2},
    "wrn_28_4": {"depth": 28, "width": 4},
    "wrn_40_1": {"depth": 40, "width": 1},
    "wrn_40_2": {"depth": 40, "width": 2},
}


def build(
    classes: int, channels: int, depth: int = 16, width: int = 2, dropout: float = 0.0
) -> nn.Module:
    if depth < 10 or depth % 6 != 4 or width < 1:
        law = "depth must be 6n + 4 (10, 16, 22, 28, ...) and width >= 1"
        raise ValueError(f"{law}, but got depth {depth} and width {width}")
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, 16, 3, padding=1, bias=False)
    )
    before = 16
    for stage, after in enumerate((16 * width, 32 * width, 64 * width), start=1):
        first = _Block(before, after, 1 if stage == 1 else 2, dropout)
        others = [_Block(after, after, 1, dropout) for _ in range(depth // 6 - 1)]
        blocks = nn.Sequential(first, *others)
        layers[f"block{stage}"] = nn.Sequential(OrderedDict(layer=blocks))
        before = after
    layers |= {"bn1": nn.BatchNorm2d(before), "relu": nn.ReLU()}
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["fc"] = last = nn.Linear(before, classes)
    nn.init.zeros_(last.bias)
    return he(nn.Sequential(layers))


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        projection = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None
        self.convShortcut = projection

    def forward(self, images: Tensor) -> Tensor:
        active = F.relu(self.bn1(images))
        # Where the width changes, the shortcut too begins with the normalised, rectified images.
        shortcut = images if self.convShortcut is None else self.convShortcut(active)
        inner: Tensor = self.conv2(self.dropout(F.relu(self.bn2(self.conv1(active)))))
        return inner + shortcut
