"""NKD: the true class weighed by the teacher's confidence, the others among themselves.

Yang et al., ICCV 2023 (arXiv 2303.13005). Defaults: the authors' own and their ImageNet settings
(gamma 1.5, temperature 1); their CIFAR-100 file has gamma 3.5 and temperature 3. The temperature,
lambda in the paper, is that of the other classes alone, and its square multiplies their term.

Evidence: loss and settings from the authors' code (github.com/yzd-v/cls_KD).
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import Normalised
from kdsearch.objectives.objective import Objective


def objective(gamma: float = 1.5, temperature: float = 1.0) -> Objective:
    return Objective(
        divergence=Normalised(others=gamma * temperature**2, temperature=temperature),
        balance=Balance(hard=1, soft=1),
    )
