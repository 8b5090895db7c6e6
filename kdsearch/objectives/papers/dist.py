"""DIST: the student's predictions must correlate with the teacher's, within examples and classes.

Huang et al., NeurIPS 2022 (arXiv 2205.10536). Defaults: the authors' CIFAR-100 settings
(beta 2 between classes, gamma 2 within a class, temperature 4).

Evidence: the authors' code; settings as used for CIFAR-100 by re-implementations.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import Relational
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature


def objective(beta: float = 2.0, gamma: float = 2.0, temperature: float = 4.0) -> Objective:
    tempered = Temperature(temperature=temperature)
    return Objective(
        teacher=tempered,
        student=tempered,
        divergence=Relational(inter=beta, intra=gamma),
        balance=Balance(hard=1, soft=temperature**2),
    )
