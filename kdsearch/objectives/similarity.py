"""How alike a teacher finds two classes: the cosine of what it holds of each.

    cosine(last_layer.weight)                       (C, C), from the rows of its last layer
    cosine(class_means(logits, labels, classes))    (C, C), where only its logits are at hand

Understanding and Improving KD (arXiv 2002.03532) takes the last layer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine(rows: Tensor) -> Tensor:
    """The cosine similarity (C, C) in [-1, 1], float64, of the rows (C, D) of any layer."""
    directions = F.normalize(rows.detach().double(), dim=1)
    return (directions @ directions.T).clamp(-1, 1)


def class_means(logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean centred logits of each class: (classes, C) from logits (N, C) and labels (N,).

    Centred, since a shift of all logits of an example means nothing. A class without examples has
    a row of zeros, which is like no other.
    """
    centred = (logits - logits.mean(dim=1, keepdim=True)).double()
    sums = centred.new_zeros(classes, logits.shape[1]).index_add_(0, labels, centred)
    return sums / torch.bincount(labels, minlength=classes).clamp_min(1)[:, None]
