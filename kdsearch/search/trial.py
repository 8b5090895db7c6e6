"""One student as a Ray Tune trainable: one step is one epoch, one actor serves many students."""

import io
import tempfile
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray import tune
from ray.tune.result import DONE, SHOULD_CHECKPOINT

from kdsearch.data import Splits
from kdsearch.data.part import Part, shared
from kdsearch.search.gpu import device, out_of_memory
from kdsearch.teachers import Teacher, teacher
from kdsearch.training import EpochResult, Experiment, Training, part
from kdsearch.training.signals import Online, Rows, Signals, Stored, Whole

CHECKPOINT_EVERY = 30.0
"""Seconds between checkpoints of a running student; a shorter training writes none."""


class Lesson(NamedTuple):
    """What every student of a study is given: small, for what is large lies in the object store.

    data: reference to the splits. plain: to the teacher's logits of `splits.fitted`, as it is; None
    where nobody needs them, because it runs online. similarity: of its classes, (classes, classes),
    where its last layer tells it. views: references to its logits of each view, by number. teacher,
    weights: of one that runs online; else the weights are empty.
    """

    data: Any
    plain: Any
    similarity: torch.Tensor | None
    views: tuple[Any, ...]
    teacher: Teacher
    weights: bytes

    @property
    def splits(self) -> Splits:
        """The data, whose arrays are the object store's own memory."""
        splits: Splits = ray.get(self.data)
        return splits

    def logits(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> torch.Tensor:
        """The teacher's logits of some of the fitted rows, as they are, on a device."""
        return self._of(self.plain, rows, device)[:]

    def signals(self, rows: npt.NDArray[np.int64], epochs: int, device: str) -> Signals:
        """What a training on these rows listens to; on a CPU, no table is copied."""
        splits = self.splits
        if self.weights:
            network = teacher.unpack(self.weights, self.teacher, splits).to(device)
            return Online(network, self.teacher.recipe)
        if splits.views.identity:
            return Whole(self._of(self.plain, rows, device))
        return Stored(lambda view: self._of(self.views[view], rows, device), splits.views, epochs)

    def _of(self, table: Any, rows: npt.NDArray[np.int64], device: str) -> Rows:
        places = torch.from_numpy(self.splits.fitted.searchsorted(rows))
        return Rows(shared(ray.get(table)).to(device), places.to(device))


class StudentTrial(tune.Trainable):  # type: ignore[misc]
    """Trains the experiment of its configuration on data that the actor loads once.

    Parts of the data and the teacher's logits come from the object store, read-only and shared by
    all trials of a node. A search's students learn from train and are judged on validation; finals
    learn from both and are judged on test.
    """

    def setup(
        self,
        config: dict[str, Any],
        lesson: Lesson,
        threads: int = 1,
        share: float = 0,
        checkpoints: str = "",
        every: float = CHECKPOINT_EVERY,
    ) -> None:
        """Begin the first student.

        `share` is the worker's of a GPU, `checkpoints` the folder or URI of its stage's, `every`
        the seconds between them.
        """
        torch.set_num_threads(threads)
        self._every = every
        # On a node that does not see it, Tune would take a checkpoint for an error.
        self._reachable = "://" in checkpoints or Path(checkpoints).is_dir()
        self._device = device(share)
        self._lesson, self._splits = lesson, lesson.splits
        self._whole: Part | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another student in the same process.

        That there is too little memory for it is the result of its first step.
        """
        self._training: Training | None = None  # or two students would lie on the device
        self._epochs = new_config["experiment"]["recipe"]["epochs"]
        self._past: deque[dict[str, Any]] = deque()
        self._unsaved = ""
        self._refused: RuntimeError | None = None
        try:
            self._begin(new_config)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._refused = error.with_traceback(None)  # which holds what was allocated
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        splits = self._splits
        if self._whole is None:  # moved to the device once per actor
            self._whole = part(splits, np.arange(len(splits.labels)), self._device)
        self._final = config["kind"] == "final"
        rows = splits.fitted if self._final else splits.train
        judged = splits.test if self._final else splits.validation
        learn, judge = self._whole.take(rows), self._whole.take(judged)
        experiment = Experiment.model_validate(config["experiment"])
        self._training = Training(
            experiment,
            learn,
            judge,
            splits.classes,
            self._lesson.signals(rows, experiment.recipe.epochs, self._device)
            if experiment.loss.needs_teacher
            else None,
            self._lesson.similarity,
        )
        self._saved = time.monotonic()
        if goes_on := config.get("goes_on"):
            self._go_on(goes_on["checkpoint"], goes_on["past"])

    def _go_on(self, checkpoint: str, past: list[dict[str, Any]]) -> None:
        """Load a journaled checkpoint; where it is gone, as with its node, train all epochs again.

        The journal takes each epoch once, so that only the time is lost.
        """
        try:
            with tune.Checkpoint(checkpoint).as_directory() as folder:
                self.load_checkpoint(folder)
        except OSError:
            return
        self._past.extend(past)

    def step(self) -> dict[str, Any]:
        """One epoch; a student that goes on first repeats what its journal holds, untrained.

        An error of the training itself is a result: Tune would retry it in vain.
        """
        failure, starved = "", False
        try:
            if self._refused:
                raise self._refused
            result = _repeated(self._past.popleft()) if self._past else next(self.training)
        except Exception as error:  # noqa: BLE001 - whatever it is, this student alone has failed
            failure = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            starved = out_of_memory(error)
            nan = float("nan")
            epoch = self._training.epoch if self._training else 0
            result = EpochResult(epoch, nan, 0.0, nan, False, 0.0)
        report = result._asdict() | {"epochs": self._epochs}
        report |= {"failure": failure, "out_of_memory": starved}
        report["unsaved"], self._unsaved = self._unsaved, ""
        report[DONE] = result.epoch >= self._epochs or not result.finite
        if not result.finite:
            # Schedulers compare metrics, and nothing compares with NaN.
            report["accuracy"] = 0.0
        elif report[DONE] and self._final:
            report["outcome"] = self._outcome()
        if not report[DONE] and not self._past and self._reachable and self._due():
            report[SHOULD_CHECKPOINT] = True
        return report

    @property
    def training(self) -> Training:
        """The student under way."""
        assert self._training
        return self._training

    def _outcome(self) -> bytes:
        """The weights of the network that was judged, and what it said, as one file."""
        training, packed = self.training, io.BytesIO()
        kept = {"predicted": training.predicted, "confidence": training.confidence}
        weights = {name: value.cpu() for name, value in training.evaluated.state_dict().items()}
        torch.save({"weights": weights} | {k: v.cpu() for k, v in kept.items()}, packed)
        return packed.getvalue()

    def _due(self) -> bool:
        due = time.monotonic() - self._saved > self._every
        if due:
            self._saved = time.monotonic()
        return due

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """A checkpoint where it can be written; without one, as on a full disk, training goes on.

        Tune would take it for an error of the training, and fail the student after two more.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:  # Tune leaves its own where this fails
                return super().save(checkpoint_dir or folder)
        except (OSError, RuntimeError) as error:  # the latter is torch's for a file
            self._unsaved = str(error).partition("\n")[0] or type(error).__name__
            return SimpleNamespace(checkpoint=None)  # Tune then takes note of none

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write network, optimiser and epoch."""
        torch.save(self.training.state_dict(), Path(checkpoint_dir) / "student.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from a written state; weights only, no code is run."""
        path = Path(checkpoint_dir) / "student.pt"
        state = torch.load(path, weights_only=True, map_location=self._device)
        self.training.load_state_dict(state)
        self._past.clear()


def _repeated(event: dict[str, Any]) -> EpochResult:
    """The result of an epoch that a journal holds."""
    loss = float("nan") if event["loss"] is None else event["loss"]
    return EpochResult(
        event["epoch"], event["train_loss"], event["accuracy"], loss, True, event["seconds"]
    )
