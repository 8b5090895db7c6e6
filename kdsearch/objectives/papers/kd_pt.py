"""KD-pt: keeps the teacher's confidence in the true class, spreads the rest evenly.

Tang et al. 2020 (arXiv 2002.03532): isolates the teacher's re-weighting of examples from its
class relationships. The paper's temperature and lambda are not at hand: the defaults are kd's.

Evidence: the construction is this project's reading of descriptions, not a quotation.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature, TrueClass


def objective(temperature: float = 4.0, lam: float = 0.9) -> Objective:
    return Objective(
        teacher=TrueClass(temperature=temperature),
        student=Temperature(temperature=temperature),
        divergence=KL(),
        balance=Balance.convex(lam, scale=temperature**2),
    )
