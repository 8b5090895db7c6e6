"""Models by name: `build("cnn", classes=10, channels=1, width=8)`; each file is a family."""

import inspect
from typing import Any

from torch import Tensor, nn

from kdsearch import catalogue
from kdsearch.errors import SettingError

MODELS = "models"


def build(name: str, classes: int, channels: int = 3, **size: Any) -> nn.Module:
    """A freshly initialised network that maps (N, channels, H, W) to logits (N, classes).

    Raises:
        NameNotFound: no model has this name.
        SettingError: the model has no such size, or the value is impossible.
    """
    function = catalogue.load(MODELS, name).build
    valid = [size for size in inspect.signature(function).parameters if size not in _GIVEN]
    if unknown := [key for key in size if key not in valid]:
        raise SettingError(
            f"model {name!r} has the sizes {', '.join(valid) or '(none)'},"
            f" but got {', '.join(map(repr, unknown))}."
        )
    try:
        model: nn.Module = function(classes=classes, channels=channels, **size)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingError(f"model {name!r} cannot be built with {size!r}: {error}.") from None
    return model


def last_layer(model: nn.Module, classes: int) -> Tensor | None:
    """The weights (classes, D) of a network's last linear layer; None where it ends otherwise."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return layers[-1].weight if layers and layers[-1].out_features == classes else None


_GIVEN = ("classes", "channels")
