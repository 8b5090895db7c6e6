"""The networks of the CIFAR-100 distillation benchmark are those behind its shared checkpoints.

`recorded.json` holds for each network its number of parameters, the entries of its state
dictionary, a hash of their names and shapes, and what it answers for 100 classes, in evaluation
mode, to `images()` once `fill` has set its weights: six of the 200 logits, and the norm of all.
"""

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdsearch.errors import SettingError
from kdsearch.models import build

RECORDED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded.json").read_text()
)


def fill(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, each entry of its state set to a sine wave of its own.

    The phase is hashed from the entry's name; the wave is scaled to what the entry is for.
    """
    for name, entry in model.state_dict().items():  # the entries share memory with the model
        if name.endswith("num_batches_tracked"):
            continue
        phase = int(hashlib.sha256(name.encode()).hexdigest()[:6], 16) % 997
        steps = torch.arange(entry.numel(), dtype=torch.float64)
        wave = torch.sin(0.7368 * steps + phase).reshape(entry.shape)
        if entry.dim() > 1:
            inputs = entry.numel() / entry.shape[0]
            wave *= math.sqrt(3 / inputs)
        elif name.endswith(("weight", "running_var")):
            wave = 1 + 0.2 * wave
        else:
            wave *= 0.1
        entry.copy_(wave)
    return model.eval()


def images() -> Tensor:
    steps = torch.arange(2 * 3 * 32 * 32, dtype=torch.float64)
    return torch.sin(0.317 * steps).reshape(2, 3, 32, 32).float()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", RECORDED)
def test_a_network_is_the_one_behind_the_checkpoint(name: str) -> None:
    model, recorded = build(name, classes=100), RECORDED[name]
    layout = sorted((key, list(entry.shape)) for key, entry in model.state_dict().items())
    assert count(model) == recorded["parameters"]
    assert len(layout) == recorded["entries"]
    assert hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:16] == recorded["layout"]
    with torch.no_grad():
        logits = fill(model)(images())
    assert logits.shape == (2, 100)
    six = logits.flatten()[[0, 1, 50, 99, 100, 199]]
    assert six.tolist() == pytest.approx(recorded["out"], abs=2e-4)
    assert logits.norm().item() == pytest.approx(recorded["norm"], abs=1e-3)


@pytest.mark.parametrize(
    ("depth", "width"), [(16, 1), (16, 2), (16, 4), (28, 2), (28, 4), (40, 1), (40, 2)]
)
def test_a_wide_network_has_the_weights_that_its_paper_counts(depth: int, width: int) -> None:
    widths = [16, 16 * width, 32 * width, 64 * width]
    weights = 3 * 9 * 16 + 2 * widths[3] + (widths[3] + 1) * 100  # stem, last norm, classifier
    for before, after in itertools.pairwise(widths):
        weights += 9 * before * after + 9 * after * after + 2 * (before + after)
        weights += before * after if before != after else 0
        weights += ((depth - 4) // 6 - 1) * (18 * after * after + 4 * after)
    assert count(build(f"wrn_{depth}_{width}", classes=100)) == weights


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet20", "layer3.2.conv2"),
        ("resnet50", "layer2.1.conv2"),
        ("wrn_16_2", "block3.layer.1.conv2"),
        ("vgg8", "block2.0"),
        ("mobilenet_v2", "conv2.0"),
    ],
)
def test_convolutions_begin_as_he_et_al_say(name: str, layer: str) -> None:
    torch.manual_seed(0)
    convolution = build(name, classes=100).get_submodule(layer)
    assert isinstance(convolution, nn.Conv2d)
    fan_out = convolution.out_channels * math.prod(convolution.kernel_size)
    assert convolution.weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)


@pytest.mark.parametrize("name", ["vgg8", "mobilenet_v2"])
def test_the_last_layer_begins_small(name: str) -> None:
    torch.manual_seed(0)
    last = [layer for layer in build(name, classes=100).modules() if isinstance(layer, nn.Linear)]
    assert len(last) == 1
    assert last[0].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert last[0].bias.count_nonzero() == 0


def test_a_family_is_built_at_sizes_without_a_name() -> None:
    images = torch.randn(2, 3, 32, 32)
    for family, size in {
        "resnet": {"depth": 26, "width": 2},
        "wide_resnet": {"depth": 10, "width": 3, "dropout": 0.3},
        "mobilenet_v2": {"width": 1.0, "expansion": 2},
        "shufflenet_v2": {"width": 0.5},
    }.items():
        assert build(family, classes=5, **size)(images).shape == (2, 5)
    same = build("resnet", classes=100, depth=32, width=4)
    assert count(same) == RECORDED["resnet32x4"]["parameters"]


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet", {"depth": 18}, r"depth must be 6n \+ 2 \(8, 14, .* but got depth 18"),
        ("resnet", {"width": 0}, "width >= 1, but got depth 20 and width 0"),
        ("wide_resnet", {"depth": 18}, r"depth must be 6n \+ 4 \(10, 16, .* but got depth 18"),
        ("vgg", {"depth": 12}, "depth must be one of 8, 11, 13, 16, 19, but got 12"),
        ("mobilenet_v2", {"width": 0}, "width > 0 and expansion >= 1 must hold, but got 0 and 6"),
        ("shufflenet_v2", {"width": 3}, "width must be one of 0.5, 1.0, 1.5, 2.0, but got 3"),
        (
            "resnet8x4",
            {"depth": 20},
            r"has the sizes \(none\), but got 'depth'\. It is resnet with depth=8, width=4:"
            " name 'resnet' to choose those",
        ),
        ("wrn_16_2", {"width": 4}, "has the sizes dropout, but got 'width'. It is wide_resnet"),
    ],
)
def test_an_impossible_size_costs_a_sentence(
    name: str, size: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        build(name, classes=10, **size)
