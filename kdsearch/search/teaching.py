"""The teacher's stage: train it once, run it once, and keep both results.

    storage/teachers/<digest>.pt       its weights
    storage/signals/<key>/             its logits of the training images and of their views

The digest covers the teacher and the data, so a later search with the same ones does neither. The
work is done by Ray tasks with a share of their own; the driver writes the files, so that workers
need no shared disk.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
import torch

from kdsearch.data import Splits
from kdsearch.errors import ResourceError, StoreError
from kdsearch.files import write_atomically
from kdsearch.models import last_layer
from kdsearch.objectives import family
from kdsearch.objectives.similarity import cosine
from kdsearch.search.gpu import device, fetched, out_of_memory
from kdsearch.search.study import Share
from kdsearch.teachers import Teacher, elsewhere, logits, teacher
from kdsearch.tracking import Journal, Said
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
        share: Share,
        journal: Journal,
        whole: bool = True,
        name: str = "teacher",
        shared: Any = None,
    ) -> None:
        """`share` is what each of its tasks takes. `name` is the teacher's in the journal; its own
        teacher's is `<name>'s teacher`.

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
            share,
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
        self._share = share
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
        least = taught.least(data.classes)
        if accuracy < least:
            raise StoreError(
                f"the teacher must have at least {least:.2%} accuracy on validation, but has"
                f" {accuracy:.2%}. Its classes may be numbered in another order, or its images"
                " normalised in another way. If it is no better, say so with"
                " `teacher: {accuracy: ...}`."
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
        for view, (made, seconds) in zip(missing, self._run(rows, missing), strict=True):
            # Each is whole on the disk before the next is made: an interrupted build goes on there.
            file = logits.file(self._signals, view)
            logits.save(file, made, rows, f"{self._key}/{view}")
            share = self._share.gpu or self._share.cpu
            self._journal.append("signals", view=view, seconds=seconds, share=share)
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

    def on_test(self) -> Said | None:
        """What it says of the test part: for the leaderboard, after everything is chosen.

        None of a teacher of which only the training images' logits are known.
        """
        if self._teacher.logits:
            return None
        ((test, _),) = self._run(self._data.test, [None])
        likely = torch.from_numpy(np.array(test)).softmax(dim=1)
        confidence, predicted = likely.max(dim=1)
        return Said(predicted.numpy(), confidence.numpy())

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
        for came in self._yielded(_train, above):
            if isinstance(came, bytes):
                self._weights = came
                write_atomically(self._weights_file, came)
            else:
                epoch = {key: value for key, value in came._asdict().items() if key != "finite"}
                self._journal.append("epoch", id=self._name, **epoch)
        self._journal.append("end", id=self._name, status="finished")

    def _run(
        self, rows: Rows, views: Sequence[int | None]
    ) -> Iterator[tuple[npt.NDArray[np.floating], float]]:
        """Its logits of rows in each of the views, one after the other, each with its seconds."""
        if not views:
            return
        yield from self._yielded(_run, self._weights, rows, views)

    def _yielded(self, work: Callable[..., Iterator[Any]], *given: Any) -> Iterator[Any]:
        """What a task of the teacher's yields in a worker, one by one.

        Raises:
            ResourceError: its GPU has too little memory for it.
        """
        share = self._share
        task = ray.remote(work).options(num_cpus=share.cpu, num_gpus=share.gpu, max_retries=2)
        try:
            for reference in task.remote(share.gpu, self._teacher, self.shared, *given):
                yield fetched(reference)
        except RuntimeError as error:  # Ray raises the worker's own error
            if not out_of_memory(error):
                raise
            raise ResourceError(
                f"the {self._name} must fit into the memory of {share.gpu:g} GPU, but does not."
                f" {'Set `resources: {teacher: {gpu: 1}}`' if share.gpu < 1 else 'Use larger GPUs'}"
                ", or a smaller batch_size or `precision: bfloat16` in its recipe."
            ) from None


class Above(NamedTuple):
    """A teacher's own teacher: what it is, its weights, and its classes' similarity.

    plain: its plain logits of the fitted images; None where it runs online.
    """

    teacher: Teacher
    weights: bytes
    plain: logits.Logits | None
    similarity: torch.Tensor | None


def _train(
    share: float, taught: Teacher, data: Splits, above: Above | None
) -> Iterator[EpochResult | bytes]:
    """Yields each epoch, then the packed weights; runs in a worker with a share of a GPU."""
    on = device(share)
    signals: torch.Tensor | Signals | None = None
    if above and above.plain is not None:
        rows = data.fitted.searchsorted(data.train)
        signals = torch.from_numpy(above.plain[rows]).to(on)
    elif above:  # it sees views of its own, or nothing is to be stored
        network = teacher.unpack(above.weights, above.teacher, data).to(on)
        signals = Online(network, above.teacher.recipe)
    training = taught.training(data, on, signals, above.similarity if above else None)
    for epoch in training:  # noqa: UP028 - not `yield from`: Ray sends into its generators
        yield epoch
    yield teacher.pack(training.evaluated.cpu(), taught.digest(data))


def _run(
    share: float,
    taught: Teacher,
    data: Splits,
    weights: bytes,
    rows: Rows,
    views: Sequence[int | None],
) -> Iterator[tuple[npt.NDArray[np.float32], float]]:
    """Yields the logits of rows in each of the views, and the seconds that they took.

    Runs in a worker with a share of a GPU.
    """
    on = device(share)
    model = teacher.unpack(weights, taught, data).to(on)
    of = part(data, rows, on)
    for view in views:
        begun = time.monotonic()
        made = predict(model, of, view, taught.recipe).cpu().numpy()
        yield made, time.monotonic() - begun
