"""Splits: one tensor of images and who may see which part of it.

A dataset file loads a `Dataset`, which knows its test part. `split` holds a stratified validation
part out of the rest. A search sees train and validation; the test part is opened in the finals.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kdsearch import catalogue
from kdsearch.data.noise import Noise
from kdsearch.data.views import PLAIN, Views
from kdsearch.errors import SettingError

DATASETS = "data/datasets"

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a dataset file returns.

    images: uint8 (N, channels, height, width); labels: int64 (N,) in [0, classes);
    test: bool (N,), the rows of the test part.
    """

    images: npt.NDArray[np.uint8]
    labels: Indices
    classes: int
    test: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Splits:
    """A dataset, the row numbers of its three disjoint parts, each sorted, and its views."""

    images: npt.NDArray[np.uint8]
    labels: Indices
    classes: int
    train: Indices
    validation: Indices
    test: Indices
    views: Views = PLAIN

    @property
    def fitted(self) -> Indices:
        """Train and validation together: what the finals learn from."""
        return np.sort(np.concatenate([self.train, self.validation]))

    @cached_property
    def normalisation(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation per channel of the raw values of the train part."""
        values = self.images[self.train].astype(np.float64)
        mean, std = values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))
        return mean.astype(np.float32), np.maximum(std, 1e-6).astype(np.float32)

    @cached_property
    def digest(self) -> str:
        """A short SHA-256 of the content: every image, every label, and who sees which."""
        content = hashlib.sha256()
        for array in (self.images, self.labels, self.train, self.validation, self.test):
            content.update(repr((array.shape, array.dtype.str)).encode())
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()[:16]


def load(
    name: str,
    validation: float,
    seed: int = 0,
    noise: Mapping[str, Any] | None = None,
    views: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Splits:
    """Load a dataset and hold out a stratified share of its non-test part for validation.

    `noise` (the fields of `Noise`) makes some labels of train and validation wrong; the split is
    that of the clean labels. `views` (the fields of `Views`) is how students see the images.

    Raises:
        NameNotFound: no dataset has this name.
        SettingError: the dataset has no such setting, or the share leaves a part empty.
    """
    module = catalogue.load(DATASETS, name)
    try:
        dataset = module.load(**settings)
    except TypeError:
        entry = catalogue.describe(DATASETS, name)
        raise SettingError(
            f"data {name!r} has the settings {entry.settings or '(none)'}, but got {settings!r}."
        ) from None
    rows = np.flatnonzero(~dataset.test)
    held_out = stratified(dataset.labels[rows], validation, seed)
    labels = dataset.labels
    if noise is not None:
        labels = labels.copy()
        labels[rows] = Noise.model_validate(noise).on(labels[rows], dataset.classes)
    splits = Splits(
        images=dataset.images,
        labels=labels,
        classes=dataset.classes,
        train=rows[~held_out],
        validation=rows[held_out],
        test=np.flatnonzero(dataset.test),
        views=Views.model_validate(views or {}),
    )
    if not (len(splits.train) and len(splits.validation) and len(splits.test)):
        raise SettingError(
            f"train, validation and test must each hold images, but validation={validation!r}"
            f" gives {len(splits.train)}, {len(splits.validation)} and {len(splits.test)}."
        )
    return splits


def stratified(labels: Indices, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """A mask (N,) that is True for about `share` of each class, at least one of each."""
    chosen = np.zeros(len(labels), dtype=bool)
    random = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        chosen[rows[: max(1, round(share * len(rows)))]] = True
    return chosen
