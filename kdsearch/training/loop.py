"""The training loop: an iterator of epochs. It knows no Ray, no MLflow and no paper.

    for result in Training(experiment, learn, judge, teacher_logits):
        print(result.epoch, result.accuracy)

Data lives on the device as one tensor per part; a batch is an index. All randomness comes from
the experiment's seed: initial weights from the seed, the order of an epoch from (seed, epoch), so
students of one seed see the same batches in the same order whatever they minimise.
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsearch import models
from kdsearch.data import Splits
from kdsearch.objectives.similarity import class_means, cosine
from kdsearch.training.experiment import Experiment

_EVALUATION_BATCH = 2048


class Part(NamedTuple):
    """Rows of a dataset on a device: normalised images (N, channels, H, W) and labels (N,)."""

    images: Tensor
    labels: Tensor


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


def part(splits: Splits, rows: npt.NDArray[np.int64], device: torch.device | str = "cpu") -> Part:
    """The given rows, normalised with the statistics of the train part, on a device."""
    mean, std = (torch.from_numpy(value)[:, None, None] for value in splits.normalisation)
    images = torch.from_numpy(splits.images[rows]).float().sub_(mean).div_(std)
    return Part(images.to(device), torch.from_numpy(splits.labels[rows]).to(device))


class Training(Iterator[EpochResult]):
    """One experiment under way: iterate for epochs, save and load its state between them."""

    def __init__(
        self,
        experiment: Experiment,
        learn: Part,
        judge: Part,
        classes: int,
        teacher_logits: Tensor | None = None,
        similarity: Tensor | None = None,
    ) -> None:
        """Build the network, optimiser and objective; nothing is trained yet.

        Args:
            experiment: what to train and how.
            learn: the part to learn from.
            judge: the part on which each epoch is evaluated.
            classes: number of classes.
            teacher_logits: (N, classes) aligned with `learn`; None for objectives without teacher.
            similarity: (classes, classes), of the teacher's last layer, for objectives that need
                it; where None, it is that of the teacher's mean logits per class.
        """
        self.experiment, self.learn, self.judge = experiment, learn, judge
        self.teacher_logits = teacher_logits
        self.objective = experiment.loss
        if self.objective.needs_similarity and teacher_logits is not None:
            if similarity is None:
                similarity = cosine(class_means(teacher_logits, learn.labels, classes))
            self.objective = self.objective.informed(similarity)
        device = learn.images.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(experiment.seed)
            channels = learn.images.shape[1]
            network = experiment.model
            self.model = models.build(network.name, classes, channels, **network.size).to(device)
        self.optimiser = experiment.recipe.optimiser_for(self.model)
        self.epoch = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EpochResult:
        if self.epoch >= self.experiment.recipe.epochs:
            raise StopIteration
        started = time.perf_counter()
        self.epoch += 1
        train_loss = self._train_one_epoch()
        logits = predict(self.model, self.judge.images)
        loss = F.cross_entropy(logits, self.judge.labels).item()
        accuracy = (logits.argmax(dim=1) == self.judge.labels).float().mean().item()
        finite = bool(np.isfinite(train_loss))
        seconds = time.perf_counter() - started
        return EpochResult(self.epoch, train_loss, accuracy, loss, finite, seconds)

    def _train_one_epoch(self) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.experiment.recipe.rate(self.epoch)
        self.model.train()
        images, labels = self.learn
        order = epoch_order(len(labels), self.experiment.seed, self.epoch).to(labels.device)
        batches = order.split(self.experiment.recipe.batch_size)
        # Summed on the device and read once: a check per batch would stall a GPU.
        total = torch.zeros((), device=labels.device)
        for rows in batches:
            teacher = None if self.teacher_logits is None else self.teacher_logits[rows]
            loss = self.objective(self.model(images[rows]), teacher, labels[rows], self.epoch)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            total += loss.detach()
        return total.item() / len(batches)

    def state_dict(self) -> dict[str, Any]:
        """All that a later `load_state_dict` needs to go on as if nothing had happened."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state of the same experiment."""
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order (count,) in which an epoch visits its examples, named by (seed, epoch)."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (N, classes) of a model in evaluation mode."""
    model.eval()
    return torch.cat([model(batch) for batch in images.split(_EVALUATION_BATCH)])
