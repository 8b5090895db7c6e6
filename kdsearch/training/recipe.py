"""Recipe: how a network is trained, apart from what it minimises."""

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from kdsearch.values import Value


class Recipe(Value):
    """Optimiser, schedule and batch size; defaults are the CIFAR-100 recipe of CRD (1910.10699).

    The learning rate is the peak. `step` multiplies it by 0.1 after 62.5 %, 75 % and 87.5 % of the
    epochs, which is 150, 180 and 210 of 240; `cosine` falls to zero by half a cosine.
    """

    epochs: int = Field(240, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.05, gt=0)
    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "step"

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.optimiser == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0, but got 0.")
        return self

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        done = (epoch - 1) / self.epochs
        match self.schedule:
            case "step":
                return self.learning_rate * 0.1 ** sum(done >= at for at in (0.625, 0.75, 0.875))
            case "cosine":
                return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
            case "constant":
                return self.learning_rate

    def optimiser_for(self, model: nn.Module) -> torch.optim.Optimizer:
        """A fresh optimiser over all parameters of a model."""
        if self.optimiser == "adamw":
            return torch.optim.AdamW(
                model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
            )
        return torch.optim.SGD(
            model.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
