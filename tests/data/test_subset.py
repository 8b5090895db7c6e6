"""Subsets: the first classes, balanced, seeded, nested, and part of the digest."""

import numpy as np
import pytest

from kdsearch import data
from kdsearch.data import subset
from kdsearch.errors import SettingError

LABELS = np.random.default_rng(0).integers(0, 5, 1000)
TEST = np.arange(1000) >= 800


def test_without_limits_everything_is_kept():
    assert np.array_equal(subset.kept(LABELS, TEST), np.arange(1000))


def test_so_many_of_each_of_the_first_classes():
    rows = subset.kept(LABELS, TEST, classes=3, per_class=20, test_per_class=4)
    assert np.all(np.diff(rows) > 0)
    assert np.bincount(LABELS[rows[~TEST[rows]]]).tolist() == [20, 20, 20]
    assert np.bincount(LABELS[rows[TEST[rows]]]).tolist() == [4, 4, 4]


def test_a_class_with_fewer_images_keeps_all_of_them():
    rows = subset.kept(LABELS, TEST, per_class=10**6)
    assert np.array_equal(rows, np.arange(1000))


def test_fewer_are_a_part_of_more_and_the_seed_decides():
    few, many = (subset.kept(LABELS, TEST, per_class=n) for n in (10, 50))
    assert set(few) < set(many)
    assert set(subset.kept(LABELS, TEST, classes=2, per_class=10)) < set(few)
    assert set(subset.kept(LABELS, TEST, per_class=10, seed=1)) != set(few)


def test_a_dataset_is_reduced_and_named_by_what_is_left():
    whole = data.load("digits", validation=0.2)
    part = data.load("digits", validation=0.2, classes=4, per_class=50, test_per_class=10)
    assert part.classes == 4
    assert np.bincount(part.labels[part.fitted]).tolist() == [50] * 4
    assert np.bincount(part.labels[part.validation]).tolist() == [10] * 4
    assert np.bincount(part.labels[part.test]).tolist() == [10] * 4
    assert part.digest != whole.digest
    assert data.load("digits", validation=0.2, per_class=10**6).digest == whole.digest


@pytest.mark.parametrize("classes", [1, 11])
def test_there_must_be_so_many_classes(classes):
    with pytest.raises(SettingError, match=rf"classes must be from 2 to 10, .* but got {classes}"):
        data.load("digits", validation=0.2, classes=classes)
