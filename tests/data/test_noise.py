"""Label noise: at its rate, of its kind, seeded, and never on the test part."""

import numpy as np
import pytest

from kdsearch import data
from kdsearch.data.noise import Noise

LABELS = np.random.default_rng(0).integers(0, 10, 20_000)


@pytest.mark.parametrize("kind", ["symmetric", "pair_flip"])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6, 1.0])
def test_the_rate_is_the_share_of_wrong_labels(kind, rate):
    wrong = (Noise(kind=kind, rate=rate).on(LABELS, 10) != LABELS).mean()
    # Four standard errors of a share over 20,000 labels.
    assert wrong == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 20_000) ** 0.5)


def test_symmetric_noise_reaches_every_other_class_alike():
    noisy = Noise(rate=0.5).on(LABELS, 10)
    steps = np.bincount((noisy - LABELS) % 10, minlength=10)[1:]
    assert steps.sum() == (noisy != LABELS).sum()
    assert steps == pytest.approx(steps.mean(), rel=0.12)


def test_pair_flip_goes_to_the_next_class_and_wraps():
    noisy = Noise(kind="pair_flip", rate=1).on(np.array([0, 3, 9]), 10)
    assert noisy.tolist() == [1, 4, 0]


def test_noise_is_named_by_its_seed_and_grows_with_its_rate():
    low, high = (Noise(rate=rate).on(LABELS, 10) for rate in (0.2, 0.4))
    assert np.array_equal(low, Noise(rate=0.2).on(LABELS, 10))
    assert not np.array_equal(low, Noise(rate=0.2, seed=1).on(LABELS, 10))
    changed = low != LABELS
    assert np.array_equal(low[changed], high[changed])


def test_only_train_and_validation_are_noisy():
    clean = data.load("digits", validation=0.2)
    noisy = data.load("digits", validation=0.2, noise={"rate": 0.5})
    assert np.array_equal(clean.labels[clean.test], noisy.labels[noisy.test])
    for part in ("train", "validation"):
        rows = getattr(clean, part)
        assert np.array_equal(rows, getattr(noisy, part))
        assert (clean.labels[rows] != noisy.labels[rows]).mean() == pytest.approx(0.5, abs=0.12)
    assert clean.digest != noisy.digest
    assert data.load("digits", validation=0.2, noise={"rate": 0.0}).digest == clean.digest
