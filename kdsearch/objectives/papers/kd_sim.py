"""KD-sim: keeps which classes the teacher finds alike, the same for every example of a class.

Tang et al. 2020 (arXiv 2002.03532): isolates the teacher's class relationships from its
re-weighting of examples. The target is the softmax of a rescaled power of the cosine similarities
between the true class and every other. The paper's two scalars, temperature and lambda are not at
hand: power 1 and similarity_temperature 0.3 are this project's choice, the rest are kd's.
`similarity` is taken from the teacher when a training begins.

Evidence: the construction is this project's reading of descriptions, not a quotation.
"""

from collections.abc import Sequence

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import ClassSimilarity, Temperature


def objective(
    power: float = 1.0,
    similarity_temperature: float = 0.3,
    temperature: float = 4.0,
    lam: float = 0.9,
    similarity: Sequence[Sequence[float]] | None = None,
) -> Objective:
    return Objective(
        teacher=ClassSimilarity(
            power=power, temperature=similarity_temperature, similarity=similarity
        ),
        student=Temperature(temperature=temperature),
        divergence=KL(),
        balance=Balance.convex(lam, scale=temperature**2),
    )
