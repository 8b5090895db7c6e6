"""Splits: one tensor of images, or a stream of them, and who may see which part.

A dataset file loads a `Dataset`, which knows its test part. `split` holds a stratified validation
part out of the rest. A search sees train and validation; the test part is opened in the finals.
"""

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

from kdsearch import catalogue, values
from kdsearch.data import subset
from kdsearch.data.noise import Noise
from kdsearch.data.normalisation import Normalisation
from kdsearch.data.pictures import Pictures
from kdsearch.data.stream import Stream
from kdsearch.data.views import PLAIN, Views
from kdsearch.errors import DataError, SettingError

DATASETS = "data/datasets"

HELD = (
    "views must have no `area` where images are held, because it crops pictures as they are in"
    " their files. Say `stream: true`, or `crop: 4` for small images."
)
"""Why held images have no random resized crop."""

Indices = npt.NDArray[np.int64]
Inputs = npt.NDArray[np.uint8] | npt.NDArray[np.float32] | npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a dataset file returns.

    images: uint8 (N, channels, height, width), or N pictures still to be decoded; of another
    modality float32 features (N, D) or int64 token ids (N, L);
    labels: int64 (N,) in [0, classes); test: bool (N,), the rows of the test part.
    """

    images: Inputs | Pictures
    labels: Indices
    classes: int
    test: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Splits:
    """A dataset, the row numbers of its three disjoint parts, each sorted, and its views.

    given: mean and standard deviation, if they are not to be those of the train part.
    """

    images: Inputs | Stream
    labels: Indices
    classes: int
    train: Indices
    validation: Indices
    test: Indices
    views: Views = PLAIN
    given: Normalisation | None = None

    @property
    def fitted(self) -> Indices:
        """Train and validation together: what the finals learn from."""
        return np.sort(np.concatenate([self.train, self.validation]))

    @cached_property
    def normalisation(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation per channel of the raw values of the train part.

        Of an even sample of it where it is streamed. Per feature where these are no images; 0 and 1
        for token ids, which stay as they are.
        """
        if self.given:
            return self.given.raw
        images, train = self.images, self.train
        if isinstance(images, Stream):
            images = images.sample(train)
            train = np.arange(len(images))
        if images.dtype == np.int64:
            return np.zeros(1, np.float32), np.ones(1, np.float32)
        if images.ndim == 2:
            features = images[train].astype(np.float64)
            spread = np.maximum(features.std(axis=0), 1e-6)
            return features.mean(axis=0).astype(np.float32), spread.astype(np.float32)
        # Each of the 256 values is counted: exact, and no copy of all images as floats is made.
        channels = images.shape[1]
        counts = np.zeros((channels, 256), dtype=np.int64)
        for rows in np.array_split(train, 1 + len(train) * images[0].size // 2**24):
            for channel in range(channels):
                found = images[rows, channel].ravel()
                counts[channel] += np.bincount(found, minlength=256)
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ np.arange(256.0)
        variance = (shares * (np.arange(256.0) - mean[:, None]) ** 2).sum(axis=1)
        std = np.sqrt(variance)
        return mean.astype(np.float32), np.maximum(std, 1e-6).astype(np.float32)

    @cached_property
    def digest(self) -> str:
        """A short SHA-256 of the content: every image, every label, and who sees which.

        Of a stream it is the state of the files, not what is in them.
        """
        content = hashlib.sha256()
        images = self.images
        if isinstance(images, Stream):
            images = np.frombuffer(images.identity.encode(), np.uint8)
        if self.given:
            content.update(self.given.model_dump_json().encode())
        for array in (images, self.labels, self.train, self.validation, self.test):
            content.update(repr((array.shape, array.dtype.str)).encode())
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()[:16]


def load(
    name: str,
    validation: float,
    seed: int = 0,
    noise: Mapping[str, Any] | None = None,
    views: Mapping[str, Any] | None = None,
    normalisation: Mapping[str, Any] | None = None,
    classes: int | None = None,
    per_class: int | None = None,
    test_per_class: int | None = None,
    **settings: Any,
) -> Splits:
    """Load a dataset and hold out a stratified share of its non-test part for validation.

    With `file`, the function `name` of a user's own file loads it. `classes`, `per_class` and
    `test_per_class` keep a part of it, as `subset.kept` says. `noise` (the fields of `Noise`) makes
    some labels of train and validation wrong; the split is that of the clean labels. `views` (the
    fields of `Views`) is how students see the images, `normalisation` (those of `Normalisation`)
    what is taken off them and by what they are divided.

    Raises:
        NameNotFound: no dataset has this name.
        SettingError: the dataset has no such setting, or the share leaves a part empty.
        DataError: its files are missing, damaged, wrongly labelled, or larger than memory.
    """
    dataset = _dataset(name, settings)
    kept = subset.kept(dataset.labels, dataset.test, classes, per_class, test_per_class, seed)
    seen = Views.model_validate(views or {})
    images: Inputs | Stream
    if isinstance(dataset.images, Pictures) and dataset.images.stream:
        images = Stream.of(dataset.images, kept, seen.margin)
    elif seen.area:
        raise SettingError(HELD)
    elif isinstance(dataset.images, Pictures):
        images = dataset.images.decoded(kept)
    else:
        everything = len(kept) == len(dataset.labels)
        chosen = dataset.images if everything else dataset.images[kept]
        # With gaps, every process of a node would hold its own copy.
        images = chosen if chosen.flags.c_contiguous else chosen.copy()
    classes, labels, test = classes or dataset.classes, dataset.labels[kept], dataset.test[kept]
    rows = np.flatnonzero(~test)
    held_out = stratified(labels[rows], validation, seed)
    if noise is not None:
        labels = labels.copy()
        labels[rows] = Noise.model_validate(noise).on(labels[rows], classes)
    splits = Splits(
        images=images,
        labels=labels,
        classes=classes,
        train=rows[~held_out],
        validation=rows[held_out],
        test=np.flatnonzero(test),
        views=seen,
        given=None if normalisation is None else Normalisation.model_validate(normalisation),
    )
    if images.ndim != 4 and not splits.views.identity:
        raise SettingError("views must be of images, but the data holds none. Leave views out.")
    if splits.given and (images.ndim, images.shape[1]) != (4, len(splits.given.mean)):
        raise SettingError(
            f"normalisation must be of images of as many channels, but has {len(splits.given.mean)}"
            f" means and the data is of the shape {images.shape[1:]}."
        )
    if not (len(splits.train) and len(splits.validation) and len(splits.test)):
        raise SettingError(
            f"train, validation and test must each hold images, but validation={validation!r}"
            f" gives {len(splits.train)}, {len(splits.validation)} and {len(splits.test)}."
        )
    return splits


def find(name: str, settings: Mapping[str, Any]) -> None:
    """Look for a dataset's files without reading them; one that needs none is always found.

    Raises:
        SettingError: the dataset has no such setting, or it cannot have this value.
        DataError: the files are not there.
    """
    if "file" in settings:
        catalogue.own(settings["file"], name, settings.get("sha256", ""))
    elif hasattr(catalogue.load(DATASETS, name), "find"):
        _called(name, "find", settings)


def _dataset(name: str, settings: Mapping[str, Any]) -> Dataset:
    """What a dataset file returns, held to what every search relies on."""
    own = "file" in settings
    dataset: Dataset = _own(name, **settings) if own else _called(name, "load", settings)
    learned = set(np.unique(dataset.labels[~dataset.test]).tolist())
    missing = (label for label in range(dataset.classes) if label not in learned)
    if shown := ", ".join(map(str, islice(missing, 10))):
        raise DataError(
            f"labels must be 0 to {dataset.classes - 1}, each with images to learn from, but data"
            f" {name!r} has none of {shown}{' and more' if next(missing, None) else ''}. Number"
            " the classes without gaps."
        )
    return dataset


def _own(name: str, file: str, sha256: str = "", **settings: Any) -> Dataset:
    """A dataset from a user's own file, held to the contract of a built-in."""
    shown = "kdsearch.data.Dataset"
    found = catalogue.call_own(file, name, sha256, settings, "load a dataset", Dataset, shown)
    if isinstance(found.images, Pictures):
        return found
    count = len(found.images)
    law: dict[str, dict[int, Any]] = {
        "images": {4: np.uint8, 2: np.float32 if found.images.dtype != np.int64 else np.int64},
        "labels": {1: np.int64},
        "test": {1: np.bool_},
    }
    for part, kinds in law.items():
        array = np.asarray(getattr(found, part))
        if kinds.get(array.ndim) != array.dtype or len(array) != count:
            allowed = " or ".join(f"{np.dtype(k)} of {n} dimensions" for n, k in kinds.items())
            raise SettingError(
                f"{file}: {part} must be {allowed}, {count} long, but is {array.dtype} of shape"
                f" {array.shape}."
            )
    if found.labels.min() < 0 or found.labels.max() >= found.classes:
        raise DataError(
            f"{file}: labels must be 0 to {found.classes - 1}, but go from {found.labels.min()}"
            f" to {found.labels.max()}."
        )
    return found


def _called(name: str, function: str, settings: Mapping[str, Any]) -> Any:
    """A dataset file's function, called with settings that it has and that are of their types."""
    module = catalogue.load(DATASETS, name)
    try:
        inspect.signature(module.load).bind(**settings)
    except TypeError:
        entry = catalogue.describe(DATASETS, name)
        raise SettingError(
            f"data {name!r} has the settings {entry.settings or '(none)'}, but got {settings!r}."
        ) from None
    try:
        return pydantic.validate_call(getattr(module, function))(**settings)
    except pydantic.ValidationError as error:
        raise SettingError(f"data {name!r}: {values.problems_of(error)[0].message}") from None
    except OSError as error:
        raise DataError(f"data {name!r} cannot be read: {error}.") from None


def stratified(labels: Indices, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """A mask (N,) that is True for about `share` of each class, at least one of each."""
    chosen = np.zeros(len(labels), dtype=bool)
    random = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        chosen[rows[: max(1, round(share * len(rows)))]] = True
    return chosen
