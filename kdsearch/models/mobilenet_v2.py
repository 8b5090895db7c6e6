"""MobileNetV2 for small images: inverted residuals, by default at half width.

Sandler et al., arXiv 1801.04381, table 2, as the CIFAR-100 distillation benchmark has it (there
MobileNetV2, T = 6, width 0.5): the second stage keeps its resolution, channels are not rounded
to multiples of 8, ReLU stands for ReLU6, and the last 1280 channels are never fewer.
"""

from collections import OrderedDict

from torch import Tensor, nn

from kdsearch.models._initial import he, small_linear

# Channels at width 1, blocks, and stride of the first block, for each stage.
_STAGES = (
    (16, 1, 1),
    (24, 2, 1),
    (32, 3, 2),
    (64, 4, 2),
    (96, 3, 1),
    (160, 3, 2),
    (320, 1, 1),
)


def build(classes: int, channels: int, width: float = 0.5, expansion: int = 6) -> nn.Module:
    if width <= 0 or expansion < 1:
        law = "width > 0 and expansion >= 1 must hold"
        raise ValueError(f"{law}, but got {width} and {expansion}")
    before, last = int(32 * width), int(1280 * max(width, 1.0))
    stages: list[nn.Module] = []
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=_unit(channels, before, 3, stride=2))
    for stage, (base, count, stride) in enumerate(_STAGES):
        blocks, after = [], int(base * width)
        for block in range(count):
            inner = before * (1 if stage == 0 else expansion)
            blocks.append(_Inverted(before, inner, after, stride if block == 0 else 1))
            before = after
        stages.append(nn.Sequential(*blocks))
    layers |= {"blocks": nn.Sequential(*stages), "conv2": _unit(before, last, 1)}
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["classifier"] = nn.Sequential(small_linear(last, classes))
    return he(nn.Sequential(layers))


def _unit(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(
        before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class _Inverted(nn.Module):
    def __init__(self, before: int, inner: int, after: int, stride: int) -> None:
        super().__init__()
        expand = _unit(before, inner, 1)
        depthwise = _unit(inner, inner, 3, stride, groups=inner)
        project = _unit(inner, after, 1)[:2]  # the bottleneck stays linear
        self.conv = nn.Sequential(*expand, *depthwise, *project)
        self.residual = stride == 1 and before == after

    def forward(self, images: Tensor) -> Tensor:
        inner: Tensor = self.conv(images)
        return images + inner if self.residual else inner
