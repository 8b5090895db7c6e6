"""Networks of other libraries: torchvision's by name, and timm's where it is installed."""

import sys
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision import models as theirs
from torchvision.models import _api

from kdsearch.errors import SettingError
from kdsearch.models import build

SMALL = "squeezenet1_1"


def test_a_network_of_torchvision_is_that_of_torchvision() -> None:
    ours, original = build("torchvision", 7, model=SMALL), theirs.get_model(SMALL, num_classes=7)
    ours.load_state_dict(original.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.eval()(images), original.eval()(images))


@pytest.mark.parametrize(
    ("model", "settings"), [("vit_b_16", {"image_size": 32}), ("googlenet", {}), ("swin_t", {})]
)
def test_any_kind_learns_from_one_channel(model: str, settings: dict[str, Any]) -> None:
    with torch.device("meta"):  # shapes alone
        network = build("torchvision", 7, 1, model=model, **settings).train()
        assert network(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_a_regnet_can_be_checked_without_its_weights() -> None:
    with torch.device("meta"):
        build("torchvision", 7, 1, model="regnet_y_400mf")


@pytest.mark.parametrize("model", [SMALL, "shufflenet_v2_x0_5"])
def test_pretrained_weights_are_kept_but_for_the_last_layer(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = theirs.get_model(model).state_dict()
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda *_, **__: state)
    whole = build("torchvision", 1000, model=model, weights="DEFAULT").state_dict()
    assert all(torch.equal(whole[key], entry) for key, entry in state.items())
    network = build("torchvision", 7, model=model, weights="IMAGENET1K_V1")
    assert network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    kept = [key for key, entry in network.state_dict().items() if torch.equal(entry, state[key])]
    assert len(kept) == len(state) - 2


def test_weights_that_cannot_be_downloaded_cost_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(_api, "load_state_dict_from_url", offline)
    build("torchvision", 7, model=SMALL)  # does not ask
    with torch.device("meta"):  # a check needs none
        build("torchvision", 7, model=SMALL, weights="DEFAULT")
    message = "'weights': 'DEFAULT'} asks for cannot be downloaded .*no route.*: connect this mach"
    with pytest.raises(SettingError, match=message):
        build("torchvision", 7, model=SMALL, weights="DEFAULT")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "resnet19"}, r"torchvision has, but got 'resnet19' \(near: resnet18, "),
        ({"weights": "DEFALT"}, r"weights of resnet18 .* but got 'DEFALT' \(near: DEFAULT\)"),
        ({"weights": "DEFAULT", "channels": 1}, "weights for 3 channels alone, but got 1"),
        ({"wide": 2}, "unexpected keyword argument 'wide'"),
    ],
)
def test_a_mistake_in_torchvisions_terms_costs_a_sentence(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        build("torchvision", 7, **settings)


def test_timm_is_asked_in_its_own_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def create_model(name: str, **settings: Any) -> nn.Module:
        asked.append({"name": name, **settings})
        return nn.Identity()

    timm = SimpleNamespace(
        create_model=create_model, list_models=lambda: ["vit"], list_pretrained=lambda: ["vit.in1k"]
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    build("timm", 7, 1, model="vit", img_size=32)
    build("timm", 7, model="vit.in1k", pretrained=True)
    with torch.device("meta"):
        build("timm", 7, model="vit.in1k", pretrained=True)
    size = {"num_classes": 7, "in_chans": 3}
    assert asked == [
        {"name": "vit", "pretrained": False, **size, "in_chans": 1, "img_size": 32},
        {"name": "vit.in1k", "pretrained": True, **size},
        {"name": "vit.in1k", "pretrained": False, **size},
    ]
    with pytest.raises(SettingError, match=r"timm has, but got 'vitt' \(near: vit"):
        build("timm", 7, model="vitt")


def test_timm_that_is_not_installed_costs_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SettingError, match="timm is not installed: `pip install timm`"):
        build("timm", 7)
