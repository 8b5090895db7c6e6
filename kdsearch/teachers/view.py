"""A teacher seen through its logits: how right, how sure and how calibrated it is.

view(logits, labels).calibration_error      0 where 80 % sure means right 80 % of the time
"""

import math

import torch
from torch import Tensor

from kdsearch.values import Value

BINS = 15
_CHUNK = 10_000  # examples at once, so that ImageNet's logits are never copied whole


class Bin(Value):
    """Examples of one range of confidence: their number, mean confidence and accuracy."""

    count: int
    confidence: float
    accuracy: float


class View(Value):
    """What the logits of N examples tell; probabilities at temperature 1.

    accuracy, confidence: in [0, 1]; confidence is the mean of the largest probability.
    calibration_error: expected calibration error over 15 equal bins of confidence, in [0, 1]
    (Guo et al. 2017, arXiv 1706.04599). entropy: mean, in nats, at most log C.
    evenness: mean entropy among the wrong classes over log(C - 1): 1 where they are all alike, 0
    where there is only one.
    spread: standard deviation over examples of the tempered probability of the label, which is
    what `kd` at `temperature` can tell examples apart by.
    bins: the reliability diagram. entropies: shares of examples in 20 equal bins of [0, log C].
    """

    examples: int
    classes: int
    temperature: float
    accuracy: float
    confidence: float
    calibration_error: float
    entropy: float
    evenness: float
    spread: float
    bins: tuple[Bin, ...]
    entropies: tuple[float, ...]


@torch.no_grad()
def view(logits: Tensor, labels: Tensor, temperature: float = 4.0) -> View:
    """The view of logits (N, C) beside their labels (N,)."""
    parts = [
        _columns(some, at, temperature)
        for some, at in zip(logits.split(_CHUNK), labels.split(_CHUNK), strict=True)
    ]
    confidence, right, entropy, evenness, tempered = (
        torch.cat(column) for column in zip(*parts, strict=True)
    )
    place = (confidence * BINS).long().clamp_max(BINS - 1)
    bins = [
        Bin(
            count=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for inside in (place == number for number in range(BINS))
        if inside.any()
    ]
    gap = sum(each.count * abs(each.confidence - each.accuracy) for each in bins)
    most = math.log(logits.shape[1])
    return View(
        examples=len(labels),
        classes=logits.shape[1],
        temperature=temperature,
        accuracy=float(right.mean()),
        confidence=float(confidence.mean()),
        calibration_error=gap / len(labels),
        entropy=float(entropy.mean()),
        evenness=float(evenness.mean()),
        spread=float(tempered.std(correction=0)),
        bins=tuple(bins),
        entropies=tuple((torch.histc(entropy, 20, 0, most) / len(labels)).tolist()),
    )


def _columns(logits: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, ...]:
    """Per example: confidence, right or not, entropy, evenness of the others, tempered truth."""
    at = labels[:, None]
    log_p = logits.double().log_softmax(dim=1)
    confidence, said = log_p.exp().max(dim=1)
    others = log_p.scatter(1, at, -torch.inf).log_softmax(dim=1)
    tempered = (logits.double() / temperature).softmax(dim=1)
    return (
        confidence,
        (said == labels).double(),
        _entropy(log_p),
        _entropy(others) / (math.log(logits.shape[1] - 1) or 1.0),
        tempered.gather(1, at)[:, 0],
    )


def _entropy(log_p: Tensor) -> Tensor:
    entropy: Tensor = -torch.special.xlogy(log_p.exp(), log_p.exp()).sum(dim=1)
    return entropy
