"""Images per second of every network of the papers, and the share of the device's peak in that.

Forward, backward and update in batches of 64 through kdsearch's own loop, views and stored signals
included. The peak is that of a large matrix product in the same precision in the same run, so the
share is a ratio of two measurements. On a GPU the float32 product may use TF32, as PyTorch's
convolutions do by default.
"""

from collections.abc import Iterator
from statistics import median

import torch
from material import BATCH, CLASSES, seconds, splits, training
from torch.utils.flop_counter import FlopCounterMode

from kdsearch import models

NETWORKS = (
    *(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)),
    *("resnet8x4", "resnet32x4", "resnet50"),
    *("wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
    *("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"),
    *("mobilenet_v2", "shufflenet_v1", "shufflenet_v2"),
)
WAYS: dict[str, dict[str, object]] = {
    "float32": {},
    "float32, channels_last": {"channels_last": True},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, channels_last": {"precision": "bfloat16", "channels_last": True},
}


def table(networks: tuple[str, ...], device: str, steps: int, rounds: int) -> Iterator[str]:
    """A Markdown table, line by line as it is measured."""
    side = 8192 if device == "cuda" else 512
    peaks = {way: peak(way.partition(",")[0], device, side, rounds) for way in WAYS}
    shown = {way.partition(",")[0]: f"{peaks[way] / 1e12:.3g}" for way in WAYS}
    yield f"Peak of a {side} x {side} matrix product in TFLOP/s: " + ", ".join(
        f"{name} {value}" for name, value in shown.items()
    )
    yield f"\n{steps} steps of {BATCH} images a round, median (range) of n = {rounds} rounds.\n"
    yield "| network | MFLOP an image | way | images/s | share of peak |"
    yield "|---|---|---|---|---|"
    data = splits(steps * BATCH)
    for network in networks:
        flops = flops_per_image(network)
        for way, recipe in WAYS.items():
            student = training(network, data, device, **recipe)
            next(student)  # warm
            times = [seconds(lambda s=student: next(s), device) for _ in range(rounds)]
            rates = [len(data.train) / each for each in times]
            yield (
                f"| {network} | {flops / 1e6:.0f} | {way} | {median(rates):,.0f}"
                f" ({min(rates):,.0f} to {max(rates):,.0f})"
                f" | {median(rates) * flops / peaks[way]:.1%} |"
            )


def flops_per_image(network: str) -> float:
    """Floating-point operations of forward and backward; a multiply-add counts as two."""
    model = models.build(network, CLASSES).train()
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(2, 3, 32, 32)).sum().backward()
    return counter.get_total_flops() / 2


def peak(precision: str, device: str, side: int, rounds: int) -> float:
    """FLOP/s of the fastest of some matrix products."""
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    a = torch.randn(side, side, device=device, dtype=getattr(torch, precision))
    times = [seconds(lambda: a @ a, device) for _ in range(rounds + 3)]
    torch.set_float32_matmul_precision("highest")
    return 2 * side**3 / min(times)
