"""Models: every family keeps the contract; sizes are what their documents say."""

import pytest
import torch

from kdsearch import catalogue
from kdsearch.errors import NameNotFound, SettingError
from kdsearch.models import MODELS, build

# Name, sizes, and the number of parameters for 10 classes of images with one channel.
PARAMETERS = [
    ("cnn", {"width": 8, "depth": 2}, 1442),
    ("cnn", {"width": 32, "depth": 3}, 94186),
    ("mlp", {"width": 16, "depth": 1}, 32 + 32 + 170),
]


@pytest.mark.parametrize("name", catalogue.names(MODELS))
@pytest.mark.parametrize(("classes", "channels", "side"), [(10, 1, 8), (7, 3, 32)])
def test_every_family_maps_images_to_logits(
    name: str, classes: int, channels: int, side: int
) -> None:
    if name == "timm":
        pytest.importorskip("timm")
    model = build(name, classes, channels)
    assert model(torch.randn(2, channels, side, side)).shape == (2, classes)


@pytest.mark.parametrize(("name", "size", "count"), PARAMETERS)
def test_parameter_counts(name: str, size: dict[str, int], count: int) -> None:
    model = build(name, classes=10, channels=1, **size)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "size", "error", "message"),
    [
        ("cn", {}, NameNotFound, "Did you mean 'cnn'"),
        ("resnet8x", {}, NameNotFound, "Did you mean 'resnet8x4'.* Valid: cnn, .*, wrn_40_2"),
        ("cnn", {"wide": 3}, SettingError, "has the sizes width, depth, but got 'wide'"),
        ("cnn", {"width": 0}, SettingError, "width >= 1 and depth >= 1 must hold, but got 0 and 2"),
        ("cnn", {"width": "x"}, SettingError, "cannot be built with {'width': 'x'}"),
    ],
)
def test_a_mistake_costs_a_sentence(
    name: str, size: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(name, classes=10, channels=1, **size)
