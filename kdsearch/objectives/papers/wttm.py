"""Weighted TTM: each example weighted by the power sum of the teacher's probabilities.

Zheng and Yang, ICLR 2024 (arXiv 2402.11148), section 4; gamma = 1/temperature. Defaults: Table 8,
resnet32x4 -> resnet8x4 (gamma 0.1, beta 3). weighting_power is the exponent on the weight:
0 is TTM, 1 is the paper's WTTM. normalise divides the weights by their mean over the batch.

Evidence: the paper and the authors' code (github.com/zkxufo/TTM) agree; bounds of U hold in tests.
"""

from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL
from kdsearch.objectives.objective import Objective
from kdsearch.objectives.transforms import Temperature
from kdsearch.objectives.weights import PowerSum


def objective(
    temperature: float = 10.0,
    beta: float = 3.0,
    weighting_power: float = 1.0,
    normalise: bool = False,
) -> Objective:
    tempered = Temperature(temperature=temperature)
    return Objective(
        teacher=tempered,
        divergence=KL(),
        weight=PowerSum(gamma=1 / tempered.temperature, power=weighting_power, normalise=normalise),
        balance=Balance(hard=1, soft=beta),
    )
