"""Label noise: wrong labels at a known rate, for studies of how objectives bear them."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kdsearch.values import Value

Labels = npt.NDArray[np.int64]


class Noise(Value):
    """Each label is wrong with probability `rate` in [0, 1].

    symmetric: replaced by one of the other classes, all equally likely; pair_flip: by the next
    class, the last by the first. The seed decides which; test labels are never touched.
    """

    kind: Literal["symmetric", "pair_flip"] = "symmetric"
    rate: float = Field(ge=0, le=1)
    seed: int = Field(0, ge=0)

    def on(self, labels: Labels, classes: int) -> Labels:
        """The labels (N,) with noise; the given ones are left as they are."""
        random = np.random.default_rng(self.seed)
        wrong = random.random(len(labels)) < self.rate
        # Drawn for every label, so that a higher rate keeps what a lower one has changed.
        steps = random.integers(1, classes, len(labels)) if self.kind == "symmetric" else 1
        return np.where(wrong, (labels + steps) % classes, labels)
