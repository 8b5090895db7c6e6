"""Gradient rescaling: how much more or less each example pulls under an objective than under ce.

    w_k = (d loss / d z_k) / (d CE / d z_k),  k the true class

Understanding and Improving KD (arXiv 2002.03532): where targets sum to 1, the sum over all other
logits is rescaled by the same w_k, so it is the weight of the example. For `kd` at temperature T it
is (1 - lam) + lam T (p_T,k - q_T,k) / (1 - q_k), p the teacher's and q the student's probabilities.
"""

import torch
from torch import Tensor

from kdsearch.objectives.objective import Objective


def rescaling(
    objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor
) -> Tensor:
    """The weight w_k (N,) of every example, in float64; arguments as `Objective.terms`.

    Where the student is certain of the label, w_k is the quotient of two roundings.
    """
    logits = student.detach().double().requires_grad_()
    known = None if teacher is None else teacher.double()
    loss = torch.stack(objective.terms(logits, known, labels)).sum()
    (slope,) = torch.autograd.grad(loss, logits)
    at = labels[:, None]
    hit = logits.detach().softmax(dim=1).gather(1, at)[:, 0]
    return slope.gather(1, at)[:, 0] / (hit - 1)
