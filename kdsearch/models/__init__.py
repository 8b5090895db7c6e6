"""Models by name: `build("cnn", classes=10, channels=1, width=8)`; each file is a family.

A family may name its well-known points: `build("resnet8x4", classes=100)` is `build("resnet",
classes=100, depth=8, width=4)`. What a name fixes, no size changes.
"""

import inspect
from typing import Any

from torch import Tensor, nn

from kdsearch import catalogue
from kdsearch.errors import SettingError

MODELS = "models"


def build(
    name: str, classes: int, channels: int = 3, file: str = "", sha256: str = "", **size: Any
) -> nn.Module:
    """A freshly initialised network that maps (N, channels, H, W) to logits (N, classes).

    With `file`, the function `name` of a user's own file builds it, under the same contract;
    `sha256` is what the file must be.

    Raises:
        NameNotFound: no model has this name.
        SettingError: the model has no such size, the value is impossible, or pretrained weights
            were asked for and cannot be downloaded.
    """
    if file:
        given = {"classes": classes, "channels": channels, **size}
        task, kind = "build a network", nn.Module
        return catalogue.call_own(file, name, sha256, given, task, kind, "torch.nn.Module")
    function = catalogue.load(MODELS, name).build
    point = catalogue.point(MODELS, name)
    parameters = inspect.signature(function).parameters.values()
    valid = [p.name for p in parameters if p.name not in (*_GIVEN, *point.fixed)]
    unknown = [key for key in size if key not in valid]
    if unknown and all(p.kind is not p.VAR_KEYWORD for p in parameters):
        hint = f" It is {point}: name {point.file!r} to choose those." if point.fixed else ""
        raise SettingError(
            f"model {name!r} has the sizes {', '.join(valid) or '(none)'},"
            f" but got {', '.join(map(repr, unknown))}.{hint}"
        )
    try:
        model: nn.Module = function(classes=classes, channels=channels, **point.fixed, **size)
    except OSError as error:
        raise SettingError(
            f"the weights that model {name!r} with {size!r} asks for cannot be downloaded"
            f" ({error}): connect this machine to the network once, or ask for none."
        ) from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingError(f"model {name!r} cannot be built with {size!r}: {error}.") from None
    return model


def last_layer(model: nn.Module, classes: int) -> Tensor | None:
    """The weights (classes, D) of a network's last linear layer; None where it ends otherwise."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return layers[-1].weight if layers and layers[-1].out_features == classes else None


_GIVEN = ("classes", "channels")
