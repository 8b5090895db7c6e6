"""Jensen-Shannon: KL of both sides to their mixture, between KL (beta 0) and reverse KL (beta 1).

The generalised divergence of GKD, Agarwal et al., ICLR 2024 (arXiv 2306.13649), Eq. 1. Defaults:
beta 1/2, the symmetric one, temperature 1 and no label term. temperature (its square scales the
loss, as in kd) and lam < 1 are kdsearch's extensions.

Evidence: Eq. 1 as quoted in secondary sources, its limits hold in tests; GKD applies it to tokens
that the student generates, which is not reproduced: one output, no sampling.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import JensenShannon
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature


def objective(beta: float = 0.5, temperature: float = 1.0, lam: float = 1.0) -> Objective:
    tempered = Temperature(temperature=temperature)
    return Objective(
        teacher=tempered,
        student=tempered,
        divergence=JensenShannon(beta=beta),
        balance=Balance.convex(lam, scale=temperature**2),
    )
