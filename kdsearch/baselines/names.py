"""One spelling for networks, datasets and methods, whichever way a paper prints them.

    normalise("ResNet32x4") == "resnet32x4"      normalise("WRN-40-2") == "wrn_40_2"
    normalise("ShuffleNet-V1") == "shufflenet_v1"    normalise("CIFAR-100") == "cifar100"

The spelling is that of `kdsearch.models`. Where a name leaves room for two readings it is only
lower-cased, with spaces and hyphens as underscores:

- `RN-20-4` of kim2020when (RN is ResNet there) is read as its `WRN-16-4` is, depth 20 at four
  times the width, and becomes `resnet20_w4`. `RN-20-1` becomes `resnet20_w1`, not `resnet20`:
  nothing says that it is the network which CRD and those after it call resnet20.
- `MobileNet` of the ImageNet tables is version 1: mdistiller and DIST say so of the same figures.
- A chain of teachers keeps its arrow, `wrn_28_4 -> wrn_16_4`, and the k-th student of repeated
  self-distillation its generation, `wrn_16_2_(generation_1)`: neither is the plain network.
"""

import re
from functools import cache

_SPELLINGS = (
    (r"(?:wrn|wideresnet)_?(\d+)_(\d+)", r"wrn_\1_\2"),
    (r"rn_(\d+)_(\d+)", r"resnet\1_w\2"),
    (r"(resnet|vgg|cifar)_?(\d+(?:x\d+)?)", r"\1\2"),
    (r"(mobilenet|shufflenet)_?v_?(\d)", r"\1_v\2"),
    (r"mobilenet", "mobilenet_v1"),
    (r"imagenet(?:_?1k)?", "imagenet1k"),
)


@cache
def normalise(name: str) -> str:
    """The spelling under which a name is stored; normalising twice changes nothing."""
    if " -> " in name:
        return " -> ".join(map(normalise, name.split(" -> ")))
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower())
    base, bracket, rest = plain.partition("_(")
    for pattern, spelling in _SPELLINGS:
        if match := re.fullmatch(pattern, base):
            return match.expand(spelling) + bracket + rest
    return plain
