"""KD-topk: keeps the teacher's k largest probabilities, spreads the rest evenly.

Tang et al. 2020 (arXiv 2002.03532). Default: a quarter of the classes, best on CIFAR-100 (half
of them on ImageNet). The paper's temperature and lambda are not at hand: the defaults are kd's.

Evidence: the construction is this project's reading of descriptions, not a quotation.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature, TopK


def objective(k: float = 0.25, temperature: float = 4.0, lam: float = 0.9) -> Objective:
    return Objective(
        teacher=TopK(k=k, temperature=temperature),
        student=Temperature(temperature=temperature),
        divergence=KL(),
        balance=Balance.convex(lam, scale=temperature**2),
    )
