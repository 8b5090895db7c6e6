"""Decoupled distillation: the true class against the rest, and the rest among themselves.

Zhao et al., CVPR 2022 (arXiv 2203.08679). Defaults: the authors' CIFAR-100 settings
(alpha 1, beta 8, temperature 4, 20 epochs of warm-up).

Evidence: the paper's decomposition, which holds in tests; settings from the authors' code.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import Decoupled
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature


def objective(
    alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, warmup: int = 20
) -> Objective:
    tempered = Temperature(temperature=temperature)
    return Objective(
        teacher=tempered,
        student=tempered,
        divergence=Decoupled(alpha=alpha, beta=beta),
        balance=Balance(hard=1, soft=temperature**2, warmup=warmup),
    )
