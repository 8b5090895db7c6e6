"""The patient: a study's data and teacher, looked at for what makes a search meaningless.

Nothing is trained and the test part is opened for its duplicates alone: no network sees it. To add
a check, write a generator of findings and put its name into `CHECKS`.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from kdsearch.data import Splits
from kdsearch.data.normalisation import Normalisation
from kdsearch.data.stream import Stream
from kdsearch.doctor.finding import Finding, look, ok, wrong
from kdsearch.search.fit import check_networks
from kdsearch.search.study import Study
from kdsearch.teachers import elsewhere, logits, teacher
from kdsearch.training import part, predict

Rows = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]

LOOKED, TRIED = 2048, 256
"""Validation images that the teacher is asked about, and those with other normalisations."""

READ = 200_000
"""The most streamed pictures that are read to find duplicates."""

MUCH = 0.01
"""The share of duplicates in a test part from which on its figures are not to be believed."""

SURE = 4.0
"""Standard deviations by which one of two must be right more often."""

CUSTOMARY: dict[int, dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    3: {
        "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "CIFAR-100's": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        "to -1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "to 0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    },
    1: {
        "MNIST's": ((0.1307,), (0.3081,)),
        "to -1 to 1": ((0.5,), (0.5,)),
        "to 0 to 1": ((0.0,), (1.0,)),
    },
}
"""Normalisations that networks are usually trained with, by the number of channels."""


@dataclass(frozen=True, eq=False)
class Patient:
    """A study with its data, and the storage in which its teacher may be found."""

    study: Study
    splits: Splits
    storage: Path

    @cached_property
    def network(self) -> nn.Module | None:
        """The teacher's; None where it is still to be trained, or known by its logits alone.

        Raises:
            StoreError: its checkpoint does not fit.
        """
        taught = self.study.teacher
        if taught.checkpoint or taught.trained:
            return teacher.network(taught, self.splits)
        file = self.storage / "teachers" / f"{taught.digest(self.splits)}.pt"
        if taught.logits or not file.exists():
            return None
        return teacher.unpack(file.read_bytes(), taught, self.splits)

    @cached_property
    def rows(self) -> Rows:
        """Validation images, evenly spread, ascending."""
        return _spread(self.splits.validation, LOOKED)

    @cached_property
    def logits(self) -> npt.NDArray[np.floating] | None:
        """The teacher's of `rows`, (N, classes); None where it is still to be trained.

        Raises:
            StoreError: its file does not fit.
        """
        if file := self.study.teacher.logits:
            fitted = self.splits.fitted
            found = elsewhere.logits(file, fitted, self.splits.classes)
            return found[fitted.searchsorted(self.rows)]
        return None if self.network is None else self.asked(self.splits, self.rows)

    @property
    def labels(self) -> Rows:
        """Of `rows`."""
        return self.splits.labels[self.rows]

    def asked(self, splits: Splits, rows: Rows) -> npt.NDArray[np.floating]:
        """The network's logits of some rows, normalised as the splits say."""
        assert self.network is not None
        device = "cuda" if torch.cuda.is_available() else "cpu"
        of = part(splits, rows, device)
        said = predict(self.network.to(device), of, None, self.study.teacher.recipe)
        found: npt.NDArray[np.float32] = said.cpu().numpy()
        return found


def networks(on: Patient) -> Iterator[Finding]:
    """Student and teacher map the images to one logit per class."""
    check_networks(on.study, on.splits)
    yield ok("student and teacher give one logit per class")


def duplicates(on: Patient) -> Iterator[Finding]:
    """Images that are in two parts, to the last bit."""
    splits = on.splits
    if isinstance(splits.images, Stream) and len(splits.labels) > READ:
        yield look(
            f"{len(splits.labels):,} pictures are streamed, too many to be read for this.",
            "Look at some with `per_class` in a copy of the study.",
        )
        return
    found = _contents(splits)
    test, held_out = set(splits.test.tolist()), set(splits.validation.tolist())
    again = sum(_repeats(rows, test) for rows in found)
    leaked = sum(_repeats([r for r in rows if r not in test], held_out) for rows in found)
    torn = sum(len(set(splits.labels[rows].tolist())) > 1 for rows in found)
    if again:
        share = again / len(splits.test)
        said = f"{again} of {len(splits.test):,} test images ({share:.2%}) are learned from as well"
        remedy = "Take them out of one of the parts."
        yield (wrong if share > MUCH else look)(f"{said}: these are judged by heart.", remedy)
    if leaked:
        yield look(
            f"{leaked} of {len(held_out):,} validation images are in the train part as well: the"
            " search chooses by them.",
            "Take out the repeated ones before `data` reads them.",
        )
    if torn:
        yield look(
            f"{torn} images are there several times with different labels.",
            "Look at them: a folder may be in the wrong place.",
        )
    if not (again or leaked or torn):
        yield ok("no image is in two parts")


def _contents(splits: Splits) -> list[list[int]]:
    """The rows of every image that is there more than once."""
    images = splits.images

    def digest(row: int) -> bytes:
        if isinstance(images, Stream):
            content = images.source(int(images.kept[row]))[1]
        else:
            content = np.ascontiguousarray(images[row]).tobytes()
        return hashlib.blake2b(content, digest_size=16).digest()

    rows: dict[bytes, list[int]] = defaultdict(list)
    with ThreadPoolExecutor() as pool:
        for row, content in enumerate(pool.map(digest, range(len(splits.labels)))):
            rows[content].append(row)
    return [same for same in rows.values() if len(same) > 1]


def _repeats(rows: list[int], among: set[int]) -> int:
    """How many of the rows of one image are in a part, if others of them are not."""
    inside = sum(row in among for row in rows)
    return inside if inside < len(rows) else 0


def normalisation(on: Patient) -> Iterator[Finding]:
    """Images arrive about centred and scaled, and as a teacher from elsewhere expects them."""
    splits = on.splits
    if splits.images.ndim != 4:
        yield ok("these are no images")
        return
    mean, std = splits.normalisation
    own, spread = replace(splits, given=None).normalisation
    shift, scale = np.abs(mean - own) / spread, spread / std
    shown = ", ".join(f"{m / 255:.4f}" for m in mean), ", ".join(f"{s / 255:.4f}" for s in std)
    told = f"mean ({shown[0]}), deviation ({shown[1]})"
    if spread.min() < 1:
        yield look(
            "a channel of the images is constant.",
            "Read them as grey images, or look at the files.",
        )
    elif shift.max() > 1 or scale.max() > 3 or scale.min() < 1 / 3:
        yield look(
            f"{told} leave the images off centre by {shift.max():.1f} deviations, and scaled by"
            f" {scale.min():.2f} to {scale.max():.2f}.",
            "Leave `normalisation` out to use the data's own, unless the teacher wants it so.",
        )
    else:
        yield ok(told)
    if on.study.teacher.elsewhere and on.network is not None:
        yield from _otherwise(on)


def _otherwise(on: Patient) -> Iterator[Finding]:
    """Whether a trained teacher is right more often with a customary normalisation."""
    rows = _spread(on.rows, TRIED)
    labels = on.splits.labels[rows]
    plain = on.asked(on.splits, rows).argmax(axis=1) == labels
    best, finding = plain, None
    for name, (mean, std) in CUSTOMARY.get(on.splits.images.shape[1], {}).items():
        given = Normalisation(mean=mean, std=std)
        other = on.asked(replace(on.splits, given=given), rows).argmax(axis=1) == labels
        if _more(other, plain) and other.mean() > best.mean():
            best = other
            finding = wrong(
                f"the teacher is right in {other.mean():.1%} of {len(rows)} validation images that"
                f" are normalised {name}, and in {plain.mean():.1%} as they are here.",
                f"Write `data: {{normalisation: {{mean: {list(mean)}, std: {list(std)}}}}}`.",
            )
    yield finding or ok("the teacher is right as often as with any customary normalisation")


def teacher_knows(on: Patient) -> Iterator[Finding]:
    """The teacher's accuracy against its claim, and logits that can be stored."""
    taught = on.study.teacher
    if on.logits is None:
        yield ok(f"it is to be trained here, {taught.epochs} epochs")
        return
    if not np.abs(on.logits).max() <= logits.LARGEST:
        yield wrong(
            "the teacher's logits are not finite, or too large for float16.",
            "Look at its checkpoint and its normalisation.",
        )
        return
    right = on.logits.argmax(axis=1) == on.labels
    accuracy, least = float(right.mean()), taught.least(on.splits.classes)
    said = f"{accuracy:.2%} on {len(right):,} validation images"
    sure = len(on.rows) == len(on.splits.validation)
    doubt = 0.0 if sure else 3 * math.sqrt(least * (1 - least) / len(right))
    if accuracy < least - doubt:
        yield wrong(
            f"{said}, but must have {least:.2%}.",
            "See the class map and the normalisation, whether it is the right checkpoint, and"
            " whether `teacher: {accuracy: ...}` is what it has on these data.",
        )
    elif accuracy < least:
        yield look(f"{said}, {least:.2%} are claimed.", "It may be luck: `run` looks at them all.")
    elif taught.elsewhere and accuracy > 0.999:
        yield look(
            f"{said}: it may have been trained on these very images.",
            "That does no harm to the ranking of students; what it is worth, the test will say.",
        )
    else:
        yield ok(f"{said}, at least {least:.2%} are wanted")


def class_map(on: Patient) -> Iterator[Finding]:
    """Whether the teacher numbers the classes as the data do.

    One half of the images gives the permutation under which it is right most often, the other
    judges it: of many classes, some permutation always fits the half that it was found on.
    """
    if on.logits is None:
        yield ok("it will be the data's own")
        return
    said, labels, classes = on.logits.argmax(axis=1), on.labels, on.splits.classes
    order = np.argsort(labels, kind="stable")
    found_on, judged_on = order[::2], order[1::2]
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels[found_on], said[found_on]), 1)
    # Where a class says nothing, it stays what it is.
    its = linear_sum_assignment(2 * counts + np.eye(classes, dtype=np.int64), maximize=True)[1]
    plain = said[judged_on] == labels[judged_on]
    mapped = said[judged_on] == its[labels[judged_on]]
    if not _more(mapped, plain):
        yield ok("the teacher's classes are the data's")
        return
    moved = int((its != np.arange(classes)).sum())
    yield wrong(
        f"the teacher numbers {moved} of {classes} classes otherwise: it is right in"
        f" {plain.mean():.1%}, and in {mapped.mean():.1%} under a permutation that was found on"
        f" other images{_habit(its)}.",
        f"Reorder the rows of its last layer, or the columns of its logits, by {its.tolist()}:"
        " what stands at a class's place is the teacher's number of it.",
    )


def _habit(its: Rows) -> str:
    """How such a permutation comes about, where it is a known way."""
    numbers = np.arange(len(its))
    as_text = np.argsort(np.array(sorted(numbers.tolist(), key=str)))
    if np.array_equal(its, np.roll(numbers, -1)) or np.array_equal(its, np.roll(numbers, 1)):
        return ", a shift by one, as where classes are counted from 1 or after a background class"
    if np.array_equal(its, as_text):
        return ", their numbers sorted as text (0, 1, 10, 11, ...), as folders are"
    return ""


def signals(on: Patient) -> Iterator[Finding]:
    """The disk holds the teacher's logits of every view that students see."""
    study, splits = on.study, on.splits
    if study.signals == "online":
        yield ok("none are stored: the teacher runs beside its students")
        return
    views = splits.views.needed(study.recipe.epochs)
    key = logits.key(study.teacher.digest(splits), splits.digest, splits.views)
    folder = on.storage.resolve() / "signals" / key
    logits.check_space(folder, views, len(splits.fitted), splits.classes)
    needed = (views + 1) * len(splits.fitted) * splits.classes * 2
    yield ok(f"the images and {views} views of them take {needed / 1e6:,.1f} MB, which there are")


def _spread(rows: Rows, most: int) -> Rows:
    """At most so many, evenly spread."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))
    chosen: Rows = rows[places]
    return chosen


def _more(one: Right, other: Right) -> bool:
    """Whether one is right more often on the same images, beyond chance (McNemar's statistic)."""
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return gained - lost > SURE * math.sqrt(gained + lost)


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    networks,
    duplicates,
    normalisation,
    teacher_knows,
    class_map,
    signals,
)
