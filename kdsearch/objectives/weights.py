"""Sample weights: how much each example's divergence counts.

    Uniform()                              1 for every example
    PowerSum(gamma=0.1, power=1.0)         large where the teacher is unsure

A weight maps the raw teacher logits (N, C) and labels (N,) to (N,). It carries no student gradient.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from kdsearch.values import Value


class Uniform(Value):
    """Every example counts the same."""

    kind: Literal["uniform"] = "uniform"
    formula: ClassVar[str] = ""
    reads_teacher: ClassVar[bool] = False

    def __call__(self, teacher: Tensor, labels: Tensor) -> Tensor:
        return teacher.new_ones(len(teacher))


class PowerSum(Value):
    """WTTM's weight U_gamma(p)^power of the raw teacher: U_gamma(p) = sum_c p_c^gamma, gamma > 0.

    For 0 < gamma <= 1 it lies between 1 (one-hot teacher) and C^(1 - gamma) (uniform teacher).
    power 0 is TTM, power 1 is the paper's WTTM. `normalise` divides by the mean over the batch, so
    that beta means the same at any gamma; the paper does not.
    TTM/WTTM (arXiv 2402.11148), section 4.
    """

    kind: Literal["power_sum"] = "power_sum"
    formula: ClassVar[str] = "U_{gamma:g}({x})^{power:g} * "
    reads_teacher: ClassVar[bool] = True
    gamma: float = Field(gt=0)
    power: float = 1.0
    normalise: bool = False

    def __call__(self, teacher: Tensor, labels: Tensor) -> Tensor:
        # In log space: raising a softmax to a power underflows for a confident teacher.
        log_p = teacher.log_softmax(dim=1)
        weight = torch.exp(self.power * (self.gamma * log_p).logsumexp(dim=1))
        return weight / weight.mean() if self.normalise else weight


Weight = Annotated[Uniform | PowerSum, Field(discriminator="kind")]
