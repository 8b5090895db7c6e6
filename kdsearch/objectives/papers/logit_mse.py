"""Mean squared error between the logits themselves.

Kim et al., IJCAI 2021 (arXiv 2105.08919). Default: lambda 1, no label term, as in the paper from
its main experiments on. Averages over classes, as the authors' code does.

Evidence: the authors' code (github.com/jhoon-oh/kd_data); limits of Theorem 1 hold in tests.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import MSE
from kdsearch.objectives.objective import Objective


def objective(lam: float = 1.0) -> Objective:
    return Objective(divergence=MSE(), balance=Balance.convex(lam))
