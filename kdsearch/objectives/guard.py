"""The guard: combinations of parts that can be computed and still mean nothing.

    refusal(objective("kd"))                                   -> ""
    refusal(from_spec({"balance": {"hard": 0, "soft": 0}}))    -> "it weighs neither labels nor ..."

The algebra is total, so that tests and mathematics need no exceptions. A search over free parts
asks here before it spends a student on a point.
"""

from kdsearch.objectives.divergences import (
    MSE,
    Decoupled,
    JensenShannon,
    Normalised,
    Relational,
    ReverseKL,
)
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import ClassSimilarity, Smoothed, Standardise, TopK, TrueClass
from kdsearch.objectives.weights import PowerSum

_TARGETS = (Smoothed, TrueClass, TopK, ClassSimilarity)  # they have no logits to compare


def refusal(objective: Objective) -> str:
    """Why an objective should not be tried, as a clause; empty where it may be."""
    teacher, student, divergence = objective.teacher, objective.student, objective.divergence
    if objective.balance.hard == 0 and objective.balance.soft == 0:
        return "it weighs neither labels nor teacher, so nothing is learned"
    if objective.balance.soft == 0:
        return ""
    if isinstance(divergence, MSE) and isinstance(teacher, _TARGETS):
        return "it compares logits with log-probabilities, which have another scale and shift"
    if isinstance(divergence, MSE) and isinstance(teacher, Standardise) != isinstance(
        student, Standardise
    ):
        return "it compares standardised logits with raw ones"
    if isinstance(divergence, ReverseKL | JensenShannon | Relational) and isinstance(
        teacher, Smoothed
    ):
        return "a target without teacher is matched by cross entropy, which is KL"
    if isinstance(divergence, Decoupled | Normalised) and isinstance(teacher, Smoothed):
        return "it compares wrong classes by a target in which they are all alike"
    if isinstance(objective.weight, PowerSum) and isinstance(teacher, Smoothed):
        return "it weighs examples by a teacher that its target does not contain"
    return ""
