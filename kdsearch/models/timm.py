"""Any network of timm, by its name there, where timm is installed; further keys are its settings.

    {name: timm, model: vit_tiny_patch16_224, img_size: 32, patch_size: 4}

`pip install timm` (or `kdsearch[timm]`). Its weights are random, unless `pretrained` asks for
those of the name, which are downloaded once.
"""

from typing import Any

import torch
from torch import nn

from kdsearch.models._libraries import must_have


def build(
    classes: int,
    channels: int,
    model: str = "resnet18",
    pretrained: bool = False,
    **settings: Any,
) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise ValueError("timm is not installed: `pip install timm`") from None
    # A name may end in the tag of its weights: resnet18.a1_in1k.
    must_have("timm", "model", model, [*timm.list_models(), *timm.list_pretrained()])
    # On meta nothing is kept, so nothing need be downloaded.
    pretrained = pretrained and torch.get_default_device().type != "meta"
    network: nn.Module = timm.create_model(
        model, pretrained=pretrained, num_classes=classes, in_chans=channels, **settings
    )
    return network
