"""The teacher's stage: train it once, run it once, and keep both results.

    storage/teachers/<digest>.pt       its weights
    storage/signals/<key>/             its logits of the training images and of their views

The digest covers the teacher and the data, so a later search with the same ones does neither. The
work is done by Ray tasks with a trial's resources; the driver writes the files, so that workers
need no shared disk.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
import torch

from kdsearch.data import Splits
from kdsearch.errors import KdsearchError, StoreError
from kdsearch.files import write_atomically
from kdsearch.models import last_layer
from kdsearch.objectives import family
from kdsearch.objectives.similarity import cosine
from kdsearch.search.study import Resources
from kdsearch.teachers import Teacher, elsewhere, logits, teacher
from kdsearch.tracking import Journal
from kdsearch.training import EpochResult, part, predict
from kdsearch.training.signals import Online, Signals

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
        whole: bool = True,
        name: str = "teacher",
        shared: Any = None,
    ) -> None:
        """`name` is the teacher's in the journal; its own teacher's is `<name>'s teacher`.

        whole: its plain logits are wanted of all fitted images, and not of validation alone.
        `shared` is a reference to the data, where it lies in the object store already.
        """
        self._teacher, self._data, self._journal, self._name = taught, data, journal, name
        self.shared = ray.put(data) if shared is None else shared
        above = taught.teacher
        self._above = above and Teaching(
            above,
            data,
            storage,
            resources,
            journal,
            data.views.identity and (whole or bool(above.logits)),
            f"{name}'s teacher",
            self.shared,
        )
        self.whole, self._rows = whole, data.fitted if whole else data.validation
        self._digest = taught.digest(data)
        self._weights_file = storage / "teachers" / f"{self._digest}.pt"
        self._key = logits.key(self._digest, data.digest, data.views, whole)
        self._signals = storage / "signals" / self._key
        self._options = {"num_cpus": resources.cpu, "num_gpus": resources.gpu, "max_retries": 2}
        self._weights = b""

    def signals(self, say: Say) -> logits.Logits:
        """Its logits of the images themselves, stored or made: (len(data.fitted), classes), or
        those of `data.validation` where they are not wanted whole.

        A read-only view of the file. `say` receives a sentence on what was found or made anew.
        """
        taught = self._teacher
        if taught.logits:
            found = elsewhere.logits(taught.logits, self._rows, self._data.classes)
            say(f"Teacher: the logits of {taught.logits}.")
        else:
            trained = self._load_weights(say)
            if not trained:
                self._train(say)
            (found,), made = self._stored([None], say)
            if taught.elsewhere:
                weights = taught.checkpoint or "its library"
                say(f"Teacher: {taught.name} with the weights of {weights}.")
            elif trained and not made:
                say(
                    f"Teacher {self._digest} is stored with its signals: neither trained nor run"
                    " again."
                )
        self._check_accuracy(found)
        return found

    def of_validation(self, found: logits.Logits) -> logits.Logits:
        """The rows of the validation part, of what `signals` gave."""
        return found[self._rows.searchsorted(self._data.validation)]

    def _check_accuracy(self, found: logits.Logits) -> None:
        """Refuse a teacher from elsewhere that does not know the data: it would cost hours."""
        taught, data = self._teacher, self._data
        said = self.of_validation(found).argmax(axis=1)
        accuracy = float((said == data.labels[data.validation]).mean())
        least = taught.accuracy or (0 if taught.epochs else min(1.0, 2 / data.classes))
        if accuracy < least:
            raise StoreError(
                f"the teacher must have at least {least:.2%} accuracy on validation, but has"
                f" {accuracy:.2%}. Its classes may be numbered in another order, or its images"
                " normalised in another way."
            )

    def check_space(self, count: int) -> None:
        """Hold the logits of `count` views against the disk. Errors as `logits.check_space`."""
        logits.check_space(self._signals, count, len(self._rows), self._data.classes)

    def views(self, count: int, say: Say) -> list[logits.Logits]:
        """Its logits of each of the first `count` views, stored or made; after `signals`."""
        return self._stored(list(range(count)), say)[0]

    def _stored(
        self, views: Sequence[int | None], say: Say
    ) -> tuple[list[logits.Logits], list[int | None]]:
        """The logits of views, None the images themselves, and which of them were made now."""
        rows, found, missing = self._rows, {}, []
        for view in views:
            file = logits.file(self._signals, view)
            try:
                found[view] = logits.load(file, rows, f"{self._key}/{view}")
            except StoreError as error:
                self._tell(file, error, say)
                missing.append(view)
        for view, made in zip(missing, self._run(rows, missing), strict=True):
            # Each is whole on the disk before the next is made: an interrupted build goes on there.
            file = logits.file(self._signals, view)
            logits.save(file, made, rows, f"{self._key}/{view}")
            found[view] = logits.load(file, rows, f"{self._key}/{view}")
        return [found[view] for view in views], missing

    @property
    def weights(self) -> bytes:
        """Its packed weights; after `signals`."""
        return self._weights

    def similarity(self) -> torch.Tensor | None:
        """How alike its last layer holds the classes; None where there is no such linear layer."""
        if self._teacher.logits:
            return None
        network = teacher.unpack(self._weights, self._teacher, self._data)
        rows = last_layer(network, self._data.classes)
        return None if rows is None else cosine(rows)

    def test_accuracy(self) -> float | None:
        """Accuracy in [0, 1] on the test part: for the leaderboard, after everything is chosen.

        None of a teacher of which only the training images' logits are known.
        """
        if self._teacher.logits:
            return None
        (test,) = self._run(self._data.test, [None])
        predicted = test.argmax(axis=1)
        return float((predicted == self._data.labels[self._data.test]).mean())

    def _load_weights(self, say: Say) -> bool:
        if self._teacher.checkpoint or self._teacher.trained:
            network = teacher.network(self._teacher, self._data)
            self._weights = teacher.pack(network, self._digest)
            return True
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
        above: Above | None = None
        if self._above and self._teacher.teacher:
            plain = np.ascontiguousarray(self._above.signals(say))
            above = Above(
                self._teacher.teacher,
                self._above.weights,
                plain if self._above.whole else None,
                self._above.similarity(),
            )
        self._journal.append(
            "trial",
            id=self._name,
            kind="teacher",
            family=family(self._teacher.objective),
            origin="teacher",
            experiment=self._teacher.model_dump(mode="json", exclude={"teacher"}),
        )
        task = ray.remote(_train).options(**self._options)
        for reference in task.remote(self._teacher, self.shared, above):
            came = fetched(reference)
            if isinstance(came, bytes):
                self._weights = came
                write_atomically(self._weights_file, came)
            else:
                epoch = {key: value for key, value in came._asdict().items() if key != "finite"}
                self._journal.append("epoch", id=self._name, **epoch)
        self._journal.append("end", id=self._name, status="finished")

    def _run(self, rows: Rows, views: Sequence[int | None]) -> Iterator[npt.NDArray[np.floating]]:
        """Its logits of rows in each of the views, one after the other."""
        if not views:
            return
        task = ray.remote(_run).options(**self._options)
        for reference in task.remote(self._teacher, self.shared, self._weights, rows, views):
            yield fetched(reference)


class Above(NamedTuple):
    """A teacher's own teacher: what it is, its weights, and its classes' similarity.

    plain: its plain logits of the fitted images; None where it runs online.
    """

    teacher: Teacher
    weights: bytes
    plain: logits.Logits | None
    similarity: torch.Tensor | None


def _train(taught: Teacher, data: Splits, above: Above | None) -> Iterator[EpochResult | bytes]:
    """Yields each epoch, then the packed weights; runs in a worker."""
    signals: torch.Tensor | Signals | None = None
    if above and above.plain is not None:
        rows = data.fitted.searchsorted(data.train)
        signals = torch.from_numpy(above.plain[rows]).to(device())
    elif above:  # it sees views of its own, or nothing is to be stored
        network = teacher.unpack(above.weights, above.teacher, data).to(device())
        signals = Online(network, above.teacher.recipe)
    training = taught.training(data, device(), signals, above.similarity if above else None)
    for epoch in training:  # noqa: UP028 - not `yield from`: Ray sends into its generators
        yield epoch
    yield teacher.pack(training.evaluated.cpu(), taught.digest(data))


def _run(
    taught: Teacher, data: Splits, weights: bytes, rows: Rows, views: Sequence[int | None]
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields the logits of the given rows in each of the views; runs in a worker."""
    model = teacher.unpack(weights, taught, data).to(device())
    of = part(data, rows, device())
    for view in views:
        yield predict(model, of, view, taught.recipe).cpu().numpy()


def fetched(reference: Any) -> Any:
    """What a task gives; a mistake that kdsearch can name is raised as it was in the worker."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, KdsearchError):
            raise error.cause from None
        raise


def device() -> str:
    """The device of this process: its share of a GPU where it has one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
