"""Cross entropy with the labels alone: what the student reaches without a teacher.

Evidence: the definition.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.objective import Objective


def objective() -> Objective:
    return Objective(balance=Balance(hard=1, soft=0))
