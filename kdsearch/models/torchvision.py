"""Any classification network of torchvision, by its name there; further keys are its settings.

    {name: torchvision, model: vit_b_16, image_size: 32}

Its weights are random, unless `weights` names some of torchvision's (DEFAULT, IMAGENET1K_V1), which
are downloaded once. Most of these networks halve the resolution five times: images of 32x32 leave
them little to see.
"""

import contextlib
from typing import Any

import torch
from torch import nn

from kdsearch.models._libraries import must_have


def build(
    classes: int,
    channels: int,
    model: str = "resnet18",
    weights: str | None = None,
    **settings: Any,
) -> nn.Module:
    from torchvision import models

    must_have("torchvision", "model", model, models.list_models(module=models))
    if weights is not None:
        known = models.get_model_weights(model).__members__
        must_have("torchvision", f"the weights of {model}", weights, known)
        if channels != 3:
            raise ValueError(f"{model} has weights for 3 channels alone, but got {channels}")
    on_meta = torch.get_default_device().type == "meta"
    if weights is None or on_meta:  # on meta nothing is kept, so nothing need be downloaded
        network = _random(model, classes, settings, on_meta)
    else:
        network = _pretrained(model, weights, classes, settings)
    if channels != 3:
        path, first = _layers(network)[0]
        network.set_submodule(path, _like(first, in_channels=channels))
    return network


def _random(model: str, classes: int, settings: dict[str, Any], on_meta: bool) -> nn.Module:
    from torchvision import models

    if model in ("googlenet", "inception_v3"):
        # In training their auxiliary classifiers would make the output a tuple.
        settings = {"aux_logits": False, "init_weights": True, **settings}
    # Regnets compute their sizes with tensors, which have no values on meta.
    real = on_meta and model.startswith("regnet")
    with torch.device("cpu") if real else contextlib.nullcontext():
        network: nn.Module = models.get_model(model, num_classes=classes, **settings)
    return network


def _pretrained(model: str, weights: str, classes: int, settings: dict[str, Any]) -> nn.Module:
    from torchvision import models

    network: nn.Module = models.get_model(model, weights=weights, progress=False, **settings)
    if model == "inception_v3":
        network.aux_logits, network.AuxLogits = False, None  # type: ignore[assignment]
    path, last = _layers(network)[-1]
    key = "out_features" if isinstance(last, nn.Linear) else "out_channels"
    if getattr(last, key) != classes:
        network.set_submodule(path, _like(last, **{key: classes}))
    return network


def _layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Convolutions and linear layers; in torchvision's networks the first sees the images."""
    modules = network.named_modules()
    return [(path, layer) for path, layer in modules if isinstance(layer, nn.Conv2d | nn.Linear)]


def _like(layer: nn.Module, **changed: int) -> nn.Module:
    """A new layer of the same kind, but for what is changed."""
    keys: tuple[str, ...] = ("in_features", "out_features")
    if isinstance(layer, nn.Conv2d):
        keys = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    same = {key: getattr(layer, key) for key in keys}
    return type(layer)(**{**same, "bias": layer.bias is not None, **changed})
