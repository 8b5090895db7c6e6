"""PTLoss: KL whose leading Maclaurin terms are perturbed by one coefficient per order.

Zhang et al., KDD 2024 (arXiv 2305.05010). Defaults: five orders (M = 5 in all main experiments)
and no label term, as published. The paper chooses its coefficients per dataset and prints none,
so the default is zero, which is KL. lam < 1 mixes in the labels: kdsearch's extension.

Evidence: the structure is confirmed by reviews of the paper, its typeset form is not at hand;
the KL, focal and label-smoothing cases that it claims hold in tests.
"""

from collections.abc import Sequence

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import PerturbedKL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature


def objective(
    epsilons: Sequence[float | Sequence[float]] = (0.0, 0.0, 0.0, 0.0, 0.0),
    temperature: float = 1.0,
    lam: float = 1.0,
) -> Objective:
    return Objective(
        teacher=Temperature(temperature=temperature),
        divergence=PerturbedKL(epsilons=epsilons),
        balance=Balance.convex(lam),
    )
