"""Reverse KL: KL with teacher and student exchanged, which seeks the teacher's modes.

The divergence of MiniLLM, Gu et al., ICLR 2024 (arXiv 2306.08543), and one of GKD, Agarwal et al.,
ICLR 2024 (arXiv 2306.13649). Defaults: temperature 1 and no label term, as there; temperature (its
square scales the loss, as in kd) and lam < 1 are kdsearch's extensions.

Evidence: the divergence is the definition; both papers apply it to sequences that the student
generates, token by token or by policy gradient, which is not reproduced: one output, no sampling.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import ReverseKL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature


def objective(temperature: float = 1.0, lam: float = 1.0) -> Objective:
    tempered = Temperature(temperature=temperature)
    return Objective(
        teacher=tempered,
        student=tempered,
        divergence=ReverseKL(),
        balance=Balance.convex(lam, scale=temperature**2),
    )
