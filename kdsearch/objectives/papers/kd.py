"""Hinton's distillation: KL between both softmaxes at one temperature, scaled by its square.

Hinton, Vinyals, Dean 2015 (arXiv 1503.02531). Defaults: the field's standard since CRD
(arXiv 1910.10699), temperature 4 and lambda 0.9. An infinite temperature is the limit of KL versus
MSE (arXiv 2105.08919), Theorem 1: squared differences of centred logits.

Evidence: the definition; value and gradient against an independent implementation.
"""

import math

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL, MSE
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Centred, Temperature


def objective(temperature: float = 4.0, lam: float = 0.9) -> Objective:
    if temperature == math.inf:
        return Objective(
            teacher=Centred(),
            student=Centred(),
            divergence=MSE(),
            balance=Balance.convex(lam, scale=0.5),
        )
    tempered = Temperature(temperature=temperature)
    return Objective(
        teacher=tempered,
        student=tempered,
        divergence=KL(),
        balance=Balance.convex(lam, scale=temperature**2),
    )
