"""The teacher's stage: train it once, run it once, and keep both results.

    storage/teachers/<digest>.pt       its weights
    storage/signals/<digest>.arrow     its logits of the training images

The digest covers the teacher and the data, so a later search with the same ones does neither. The
work is done by Ray tasks with a trial's resources; the driver writes the files, so that workers
need no shared disk.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch

from kdsearch.data import Splits
from kdsearch.errors import StoreError
from kdsearch.files import write_atomically
from kdsearch.models import last_layer
from kdsearch.objectives import family
from kdsearch.objectives.similarity import cosine
from kdsearch.search.study import Resources
from kdsearch.teachers import Teacher, logits, teacher
from kdsearch.tracking import Journal
from kdsearch.training import EpochResult, part, predict

Say = Callable[[str], None]
Rows = npt.NDArray[np.int64]


class Teaching:
    """One teacher on one dataset, with the folder that keeps what it gave."""

    def __init__(
        self,
        taught: Teacher,
        data: Splits,
        storage: Path,
        resources: Resources,
        journal: Journal,
        name: str = "teacher",
    ) -> None:
        """`name` is the teacher's in the journal; its own teacher's is `<name>'s teacher`."""
        self._teacher, self._data, self._journal, self._name = taught, data, journal, name
        above = taught.teacher
        self._above = above and Teaching(
            above, data, storage, resources, journal, f"{name}'s teacher"
        )
        self._digest = taught.digest(data)
        self._weights_file = storage / "teachers" / f"{self._digest}.pt"
        self._signals_file = storage / "signals" / f"{self._digest}.arrow"
        self._options = {"num_cpus": resources.cpu, "num_gpus": resources.gpu, "max_retries": 2}
        self._shared = ray.put(data)
        self._weights = b""

    def signals(self, say: Say) -> logits.Logits:
        """Its logits (len(data.fitted), classes), stored or made, as a read-only view of the file.

        `say` receives a sentence on what was found and what is made anew.
        """
        rows = self._data.fitted
        keys = (rows, self._digest, self._data.digest)
        trained = self._load_weights(say)
        if not trained:
            self._train(say)
        try:
            found = logits.load(self._signals_file, *keys)
        except StoreError as error:
            self._tell(self._signals_file, error, say)
            logits.save(self._signals_file, self._run(rows), *keys)
            return logits.load(self._signals_file, *keys)
        if trained:
            say(
                f"Teacher {self._digest} is stored with its signals: neither trained nor run again."
            )
        return found

    def similarity(self) -> torch.Tensor | None:
        """How alike its last layer holds the classes; None where its last layer is not linear."""
        network = teacher.unpack(self._weights, self._teacher, self._data)
        rows = last_layer(network, self._data.classes)
        return None if rows is None else cosine(rows)

    def test_accuracy(self) -> float:
        """Accuracy in [0, 1] on the test part: for the leaderboard, after everything is chosen."""
        predicted = self._run(self._data.test).argmax(axis=1)
        return float((predicted == self._data.labels[self._data.test]).mean())

    def _load_weights(self, say: Say) -> bool:
        try:
            content = self._weights_file.read_bytes()
            teacher.unpack(content, self._teacher, self._data)
        except FileNotFoundError:
            return False
        except StoreError as error:
            self._tell(self._weights_file, error, say)
            return False
        self._weights = content
        return True

    def _tell(self, file: Path, error: StoreError, say: Say) -> None:
        if file.exists():
            say(f"{file.name} is made anew, because {error}")

    def _train(self, say: Say) -> None:
        signals, alike = None, None
        if self._above:
            signals = np.ascontiguousarray(self._above.signals(say))
            alike = self._above.similarity()
        self._journal.append(
            "trial",
            id=self._name,
            kind="teacher",
            family=family(self._teacher.objective),
            origin="teacher",
            experiment=self._teacher.model_dump(mode="json", exclude={"teacher"}),
        )
        task = ray.remote(_train).options(**self._options)
        for reference in task.remote(self._teacher, self._shared, signals, alike):
            came = ray.get(reference)
            if isinstance(came, bytes):
                self._weights = came
                write_atomically(self._weights_file, came)
            else:
                epoch = {key: value for key, value in came._asdict().items() if key != "finite"}
                self._journal.append("epoch", id=self._name, **epoch)
        self._journal.append("end", id=self._name, status="finished")

    def _run(self, rows: Rows) -> logits.Logits:
        task = ray.remote(_run).options(**self._options)
        made: logits.Logits = ray.get(task.remote(self._teacher, self._shared, self._weights, rows))
        return made


def _train(
    taught: Teacher,
    data: Splits,
    signals: logits.Logits | None,
    similarity: torch.Tensor | None,
) -> Iterator[EpochResult | bytes]:
    """Yields each epoch, then the packed weights; runs in a worker."""
    above = None
    if signals is not None:
        rows = data.fitted.searchsorted(data.train)
        above = torch.from_numpy(signals[rows]).to(_device())
    training = taught.training(data, _device(), above, similarity)
    for epoch in training:  # noqa: UP028 - not `yield from`: Ray sends into its generators
        yield epoch
    yield teacher.pack(training.model.cpu(), taught.digest(data))


def _run(taught: Teacher, data: Splits, weights: bytes, rows: Rows) -> Any:
    """The logits of the given rows; runs in a worker."""
    model = teacher.unpack(weights, taught, data).to(_device())
    return predict(model, part(data, rows, _device()).images).cpu().numpy()


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
