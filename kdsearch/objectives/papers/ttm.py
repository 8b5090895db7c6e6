"""Transformed teacher matching: temperature on the teacher alone, no squared temperature.

Zheng and Yang, ICLR 2024 (arXiv 2402.11148), Eq. 2; gamma = 1/temperature. Defaults: Table 8,
resnet32x4 -> resnet8x4 (gamma 0.1, beta 100). With beta = lam * T / (1 - lam) it is KD plus a
Renyi-entropy regulariser (Eqs. 15-19).

Evidence: the paper and the authors' code (github.com/zkxufo/TTM) agree; Eqs. 15 and 19-21 hold
in tests.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature


def objective(temperature: float = 10.0, beta: float = 100.0) -> Objective:
    return Objective(
        teacher=Temperature(temperature=temperature),
        divergence=KL(),
        balance=Balance(hard=1, soft=beta),
    )
