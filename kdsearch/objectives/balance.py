"""Balance: how much the labels count, and how much the teacher.

    Balance(hard=1.0, soft=36.0)
    Balance.convex(lam=0.9, scale=16.0)    hard 0.1, soft 0.9 * 16

The two weights are called hard and soft because "alpha" means one in some code bases and the
other in the rest. A squared temperature is part of soft, never hidden in a divergence.
"""

from typing import Self

from pydantic import Field

from kdsearch.errors import SettingError
from kdsearch.values import Value


class Balance(Value):
    """Weights of the two terms, both >= 0; soft grows linearly over the first `warmup` epochs."""

    hard: float = Field(1.0, ge=0)
    soft: float = Field(1.0, ge=0)
    warmup: int = Field(0, ge=0)

    @classmethod
    def convex(cls, lam: float, scale: float = 1.0) -> Self:
        """hard = 1 - lam, soft = lam * scale, for lam in [0, 1].

        Raises:
            SettingError: lam lies outside [0, 1].
        """
        if not 0 <= lam <= 1:
            raise SettingError(f"0 <= lam <= 1 must hold, but got {lam!r}. 0 is labels only.")
        return cls(hard=1 - lam, soft=lam * scale)

    def soft_at(self, epoch: int | None) -> float:
        """The soft weight in an epoch, counted from 1; None means after the warm-up."""
        if epoch is None or self.warmup == 0:
            return self.soft
        return self.soft * min(epoch / self.warmup, 1.0)
