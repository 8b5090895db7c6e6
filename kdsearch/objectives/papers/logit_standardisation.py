"""Logit standardisation: KD on z-scored logits, so that only their relations must match.

Sun et al., CVPR 2024 (arXiv 2403.01427). Defaults: the authors' command for KD on CIFAR-100
(base temperature 2, soft weight 9 times the squared temperature, label weight 0.1).

Evidence: the authors' code and README (github.com/sunshangquan/logit-standardization-KD).
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Standardise


def objective(temperature: float = 2.0, beta: float = 9.0, hard: float = 0.1) -> Objective:
    standardised = Standardise(temperature=temperature)
    return Objective(
        teacher=standardised,
        student=standardised,
        divergence=KL(),
        balance=Balance(hard=hard, soft=beta * temperature**2),
    )
