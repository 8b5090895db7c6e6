"""Recipe: how a network is trained, apart from what it minimises."""

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kdsearch.values import Value


class Recipe(Value):
    """Optimiser, schedule and batch size; defaults are the CIFAR-100 recipe of CRD (1910.10699).

    The learning rate is the peak. `step` multiplies it by 0.1 after each of the shares `steps` of
    the epochs, by default after 150, 180 and 210 of 240; `cosine` falls to zero by half a cosine.
    `warmup` epochs rise to it linearly first.

    ema: decay per step of an average of the weights, which is then what is evaluated; 0 is none.
    cutout: side in pixels of a square hole in every training image (arXiv 1708.04552); 0 is none.
    mixup: alpha of the Beta distribution by which two images, their labels and their teacher's
    logits are mixed (arXiv 1710.09412); 0 is none. Label smoothing is an objective, not a recipe.
    precision: bfloat16 runs the network, not the loss, under autocast. channels_last: the memory
    format of the network. compile: torch.compile, minutes at the start of every trial.
    """

    epochs: int = Field(240, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.05, gt=0)
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "step"
    steps: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.625, 0.75, 0.875)
    warmup: int = Field(0, ge=0)
    ema: float = Field(0, ge=0, lt=1)
    cutout: int = Field(0, ge=0)
    mixup: float = Field(0, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.optimiser == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0, but got 0.")
        return self

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        if epoch <= self.warmup:
            return self.learning_rate * epoch / self.warmup
        done = (epoch - 1) / self.epochs
        match self.schedule:
            case "step":
                return self.learning_rate * 0.1 ** sum(done >= at for at in self.steps)
            case "cosine":
                return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
            case "constant":
                return self.learning_rate

    @property
    def first_drop(self) -> int | None:
        """The last epoch before `step` lowers the learning rate; None for other schedules."""
        if self.schedule != "step" or not self.steps:
            return None
        return sum(done / self.epochs < min(self.steps) for done in range(self.epochs))

    @property
    def settled(self) -> int | None:
        """The epoch after which students have settled at the first lower rate, 155 of 240.

        A 48th of all epochs after the drop. None where there is no drop.
        """
        return self.first_drop and self.first_drop + max(1, round(self.epochs / 48))

    def forward(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """The logits of a network, run in this precision and memory format."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        half = self.precision == "bfloat16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
            return model(images)

    def optimiser_for(self, model: nn.Module) -> torch.optim.Optimizer:
        """A fresh optimiser over all parameters of a model."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimiser == "adam":
            return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
        if self.optimiser == "adamw":
            return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
        return torch.optim.SGD(
            model.parameters(),
            lr=rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=decay,
        )
