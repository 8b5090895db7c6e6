"""Splits: disjoint, stratified, repeatable, and named by their content."""

from pathlib import Path

import numpy as np
import pytest

from kdsearch import catalogue, data
from kdsearch.data.splits import DATASETS, Dataset, Splits, stratified
from kdsearch.errors import NameNotFound, SettingError
from tests.data.small import SMALL


@pytest.fixture(params=catalogue.names(DATASETS))
def splits(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Splits:
    settings = SMALL[request.param](tmp_path, monkeypatch)
    return data.load(request.param, validation=0.2, **settings)


def test_every_dataset_has_small_files_and_is_tested_here() -> None:
    assert set(SMALL) == set(catalogue.names(DATASETS))


def test_every_dataset_keeps_the_contract(splits: Splits) -> None:
    count = len(splits.labels)
    assert splits.images.dtype == {4: np.uint8, 2: np.float32}[splits.images.ndim]
    assert len(splits.images) == count
    assert splits.labels.dtype == np.int64
    assert set(np.unique(splits.labels)) == set(range(splits.classes))


def test_the_parts_are_disjoint_and_cover_everything(splits: Splits) -> None:
    parts = np.concatenate([splits.train, splits.validation, splits.test])
    assert sorted(parts) == list(range(len(splits.labels)))
    assert np.array_equal(splits.fitted, np.sort(parts[: -len(splits.test)]))


def test_every_class_keeps_its_share_of_validation(splits: Splits) -> None:
    held = np.bincount(splits.labels[splits.validation])
    fitted = np.bincount(splits.labels[splits.fitted])
    assert np.all(np.abs(held - 0.2 * fitted) <= 1)


def test_the_test_part_does_not_depend_on_the_validation_share() -> None:
    small, large = (data.load("digits", validation=v).test for v in (0.1, 0.4))
    assert np.array_equal(small, large)


def test_normalisation_is_that_of_the_train_part_alone(splits: Splits) -> None:
    mean, std = splits.normalisation
    train = splits.images[splits.train].astype(np.float64)
    axes = tuple(axis for axis in range(train.ndim) if axis != 1)
    assert mean == pytest.approx(train.mean(axis=axes))
    assert std == pytest.approx(train.std(axis=axes))
    assert mean.dtype == std.dtype == np.float32


def test_the_digest_names_content_and_split() -> None:
    first = data.load("digits", validation=0.2)
    assert first.digest == data.load("digits", validation=0.2).digest
    assert first.digest != data.load("digits", validation=0.3).digest
    assert first.digest != data.load("digits", validation=0.2, seed=1).digest
    images = first.images.copy()
    images[0, 0, 3, 3] ^= 1
    changed = Splits(images, first.labels, 10, first.train, first.validation, first.test)
    assert changed.digest != first.digest


def test_digits_are_the_real_ones() -> None:
    digits = data.load("digits", validation=0.2)
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.max() == 16
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_stratified_takes_at_least_one_of_each_class() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2])
    chosen = stratified(labels, 0.1, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [5, 1, 1]


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("digit", {}, NameNotFound, "Did you mean 'digits'"),
        ("digits", {"root": "x"}, SettingError, r"'digits' has the settings test=0.25, but got"),
        ("digits", {"test": "most"}, SettingError, r"data 'digits': test must be a valid number"),
        ("digits", {"test": 1.0}, SettingError, r"data 'digits': test < 1 must hold, but got 1.0"),
        ("digits", {"per_class": 1}, SettingError, "train, validation and test must each hold im"),
    ],
)
def test_a_mistake_costs_a_sentence(
    name: str, settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        data.load(name, validation=0.2, **settings)


def test_a_dataset_is_a_plain_value() -> None:
    fields = {"images", "labels", "classes", "test"}
    assert set(Dataset.__dataclass_fields__) == fields
