"""VGG with batch normalisation for small images: five blocks and one linear layer.

Simonyan and Zisserman, arXiv 1409.1556, configurations A, B, D and E, and the benchmark's vgg8
with one convolution in each block. Three max poolings, then the average of what is left, in place
of five poolings and three linear layers.
"""

from collections import OrderedDict

from torch import nn

from kdsearch.models._initial import he, small_linear

VARIANTS = {
    "vgg8": {"depth": 8},
    "vgg11": {"depth": 11},
    "vgg13": {"depth": 13},
    "vgg16": {"depth": 16},
    "vgg19": {"depth": 19},
}

_WIDTHS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def build(classes: int, channels: int, depth: int = 8) -> nn.Module:
    if depth not in _CONVOLUTIONS:
        law = f"depth must be one of {', '.join(map(str, _CONVOLUTIONS))}"
        raise ValueError(f"{law}, but got {depth}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before = channels
    for block, (after, count) in enumerate(zip(_WIDTHS, _CONVOLUTIONS[depth], strict=True)):
        steps: list[nn.Module] = []
        for _ in range(count):
            steps += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        layers[f"block{block}"] = nn.Sequential(*steps)
        if block < 3:
            layers[f"pool{block}"] = nn.MaxPool2d(2)
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["classifier"] = small_linear(before, classes)
    return he(nn.Sequential(layers))
