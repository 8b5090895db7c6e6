"""Normalisation: a mean and a deviation that a study gives, as trained networks expect theirs."""

from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from kdsearch.values import Value

Share = Annotated[float, Field(ge=0, le=1)]


class Normalisation(Value):
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Networks of torchvision are trained with (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).
    """

    mean: tuple[Share, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must be as many, but got {len(self.mean)} and {len(self.std)}."
            )
        return self

    @property
    def raw(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Both of pixels in 0 to 255."""
        return 255 * np.array(self.mean, np.float32), 255 * np.array(self.std, np.float32)
