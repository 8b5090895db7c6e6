"""Label smoothing: the label mixed with the uniform distribution; no teacher.

The universe level of Tang et al. 2020 (arXiv 2002.03532). Default: delta 0.1, the value of
Szegedy et al. 2016 (arXiv 1512.00567), where label smoothing was introduced.

Evidence: the definition.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Smoothed


def objective(delta: float = 0.1) -> Objective:
    return Objective(
        teacher=Smoothed(delta=delta), divergence=KL(), balance=Balance(hard=0, soft=1)
    )
