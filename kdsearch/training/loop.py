"""The training loop: an iterator of epochs. It knows no Ray, no MLflow and no paper.

    for result in Training(experiment, learn, judge, classes, teacher_logits):
        print(result.epoch, result.accuracy)

Data that fit live on the device as one tensor, and a batch is an index; a stream's batches are
decoded ahead while one trains. All randomness comes from the
experiment's seed and the data's views: initial weights from the seed, the order of an epoch from
(seed, epoch), so students of one seed see the same batches in the same order whatever they
minimise.
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdsearch import models
from kdsearch.data.part import Part
from kdsearch.objectives.similarity import class_means, cosine
from kdsearch.training import mixing
from kdsearch.training.experiment import Experiment
from kdsearch.training.recipe import Recipe
from kdsearch.training.signals import Signals, Whole

_EVALUATION_BATCH = 512


class EpochResult(NamedTuple):
    """What one epoch gave.

    epoch: counted from 1. train_loss: mean over batches. accuracy in [0, 1] and loss (cross
    entropy): of the judging part. finite: False where the training loss was NaN or infinite.
    seconds: wall time of the epoch, judging included.
    """

    epoch: int
    train_loss: float
    accuracy: float
    loss: float
    finite: bool
    seconds: float


class Training(Iterator[EpochResult]):
    """One experiment under way: iterate for epochs, save and load its state between them."""

    def __init__(
        self,
        experiment: Experiment,
        learn: Part,
        judge: Part,
        classes: int,
        teacher: Tensor | Signals | None = None,
        similarity: Tensor | None = None,
    ) -> None:
        """Build the network, optimiser and objective; nothing is trained yet.

        Args:
            experiment: what to train and how.
            learn: the part to learn from, in its views.
            judge: the part on which each epoch is evaluated, as it is.
            classes: number of classes.
            teacher: logits (N, classes) aligned with `learn`, or signals that follow its views;
                None for objectives without teacher.
            similarity: (classes, classes), of the teacher's last layer, for objectives that need
                it; where None, it is that of the mean logits per class.
        """
        self.experiment, self.learn, self.judge = experiment, learn, judge
        self.signals = Whole(teacher) if isinstance(teacher, Tensor) else teacher
        self.objective = experiment.loss
        if self.objective.needs_similarity:
            if similarity is None and isinstance(self.signals, Whole):
                logits = self.signals.logits[:]
                similarity = cosine(class_means(logits, learn.labels, classes))
            if similarity is not None:
                self.objective = self.objective.informed(similarity)
        recipe, network, device = experiment.recipe, experiment.model, learn.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(experiment.seed)
            model = models.build(network.name, classes, learn.channels, **network.size)
        if recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.model: nn.Module = model.to(device)
        self.average = (
            AveragedModel(
                self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
            )
            if recipe.ema
            else None
        )
        self._forward = torch.compile(self.model) if recipe.compile else self.model
        self.optimiser = recipe.optimiser_for(self.model)
        self.epoch = 0

    @property
    def evaluated(self) -> nn.Module:
        """The network that is judged: the trained one, or the average of its weights."""
        return self.average.module if self.average else self.model

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EpochResult:
        recipe = self.experiment.recipe
        if self.epoch >= recipe.epochs:
            raise StopIteration
        started = time.perf_counter()
        self.epoch += 1
        train_loss = self._train_one_epoch()
        logits = predict(self.evaluated, self.judge, recipe=recipe)
        self.confidence, self.predicted = logits.softmax(dim=1).max(dim=1)
        loss = F.cross_entropy(logits, self.judge.labels).item()
        accuracy = (self.predicted == self.judge.labels).float().mean().item()
        finite = bool(np.isfinite(train_loss))
        seconds = time.perf_counter() - started
        return EpochResult(self.epoch, train_loss, accuracy, loss, finite, seconds)

    def _train_one_epoch(self) -> float:
        recipe = self.experiment.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(self.epoch)
        self.model.train()
        order = epoch_order(len(self.learn), self.experiment.seed, self.epoch)
        view = self.learn.views.of_epoch(self.epoch)
        # Summed on the device and read once: a check per batch would stall a GPU.
        total, number = torch.zeros((), device=self.learn.device), 0
        for at, images in self.learn.batches(order, recipe.batch_size, view):
            loss = self._loss(number, at, images)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            if self.average:
                self.average.update_parameters(self.model)
            total += loss.detach()
            number += 1
        return total.item() / number

    def _loss(self, number: int, at: Tensor, images: Tensor) -> Tensor:
        """The loss of one batch: its number, positions (n,) and images."""
        recipe, seed, epoch = self.experiment.recipe, self.experiment.seed, self.epoch
        teacher = self.signals(epoch, at, images) if self.signals else None
        labels = self.learn.labels[at]
        random = mixing.chance(seed, epoch, number) if recipe.cutout or recipe.mixup else None
        if random and recipe.cutout:
            images = mixing.cutout(images, recipe.cutout, random)
        if not (random and recipe.mixup):
            return self.objective(recipe.forward(self._forward, images), teacher, labels, epoch)
        share = mixing.mixup_share(recipe.mixup, random)
        mixed = share * images + (1 - share) * images.flip(0)
        student = recipe.forward(self._forward, mixed)
        other = None if teacher is None else teacher.flip(0)
        return share * self.objective(student, teacher, labels, epoch) + (
            1 - share
        ) * self.objective(student, other, labels.flip(0), epoch)

    def state_dict(self) -> dict[str, Any]:
        """All that a later `load_state_dict` needs to go on as if nothing had happened."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state of the same experiment."""
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order (count,) in which an epoch visits its examples, named by (seed, epoch)."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)


@torch.no_grad()
def predict(
    model: nn.Module, of: Part, view: int | None = None, recipe: Recipe | None = None
) -> Tensor:
    """Logits (N, classes), float32, of a model in evaluation mode; a view, or the images as is.

    The recipe says in which precision and memory format the network runs.
    """
    model.eval()
    recipe = recipe or Recipe()
    batches = of.batches(torch.arange(len(of)), _EVALUATION_BATCH, view)
    return torch.cat([recipe.forward(model, images).float() for _, images in batches])
