"""Paired comparison: against scipy's own test, and by the rate at which intervals cover."""

import numpy as np
import pytest
from scipy import stats

from kdsearch.reporting.compare import paired, spread


def test_against_the_textbook_formula() -> None:
    ours, theirs = [97.1, 96.4, 98.0, 97.7], [96.0, 96.6, 97.1, 96.9]
    differences = np.subtract(ours, theirs)
    half = stats.t.ppf(0.975, 3) * differences.std(ddof=1) / 2
    found = paired(ours, theirs)
    assert found.mean == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx(
        (differences.mean() - half, differences.mean() + half)
    )


def test_pairing_removes_what_the_seeds_share() -> None:
    seeds = np.array([-3.0, 0.0, 3.0, 6.0, -6.0])
    noise = np.array([0.01, -0.01, 0.02, 0.0, -0.02])
    found = paired(list(90 + seeds + 1 + noise), list(90 + seeds))
    assert found.low is not None
    assert found.high is not None
    assert found.low > 0.9
    assert found.high < 1.1


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [0.5]), ([1.0, 2.0], [0.5, 1.5])])
def test_no_interval_is_claimed_without_spread(ours: list[float], theirs: list[float]) -> None:
    assert paired(ours, theirs) == (0.5, None, None)


def test_intervals_cover_at_their_nominal_rate() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        shared = random.normal(0, 3, 5)
        ours, theirs = shared + random.normal(0.5, 1, 5), shared + random.normal(0, 1, 5)
        found = paired(list(ours), list(theirs))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.5 <= found.high
    # Three standard errors of a rate of 0.95 over 500 draws.
    assert covered / 500 == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / 500) ** 0.5)


def test_spread_is_the_sample_standard_deviation() -> None:
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert spread([3.0]) == 0
