"""Comparison: against scipy's own tests, and by the rates at which it is right and wrong."""

import numpy as np
import pytest
from scipy import stats

from kdsearch.reporting.compare import adjusted, paired, spread, verdict


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
    assert paired(ours, theirs) == (0.5, None, None, None)


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
    assert within(covered / 500, 0.95, 500)


def test_spread_is_the_sample_standard_deviation() -> None:
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert spread([3.0]) == 0


def within(rate: float, nominal: float, draws: int) -> bool:
    """Whether a counted rate is within three standard errors of the nominal one."""
    return abs(rate - nominal) <= 3 * (nominal * (1 - nominal) / draws) ** 0.5


def test_p_is_below_five_percent_where_the_interval_leaves_zero_out() -> None:
    random = np.random.default_rng(1)
    for _ in range(200):
        found = paired(list(random.normal(0.7, 1, 5)), list(random.normal(0, 1, 5)))
        assert found.low is not None
        assert found.high is not None
        assert found.p is not None
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_among_many_rows_that_are_alike_few_boards_name_one() -> None:
    """Twelve rows of no difference and one reference: without correction every third board errs."""
    random, boards = np.random.default_rng(2), 400
    wrong = {"raw": 0, "adjusted": 0}
    for _ in range(boards):
        reference = list(random.normal(0, 1, 5))
        ps = [paired(list(random.normal(0, 1, 5)), reference).p for _ in range(12)]
        wrong["raw"] += any(p is not None and p < 0.05 for p in ps)
        wrong["adjusted"] += any(p is not None and p < 0.05 for p in adjusted(ps))
    assert wrong["raw"] / boards > 0.2
    # Sharing the reference makes it careful: at most the nominal rate.
    assert wrong["adjusted"] / boards < 0.05 + 3 * (0.05 * 0.95 / boards) ** 0.5


def test_adjusted_keeps_its_places_and_what_is_unknown() -> None:
    assert adjusted([]) == []
    assert adjusted([None, None]) == [None, None]
    assert adjusted([0.04, None, 0.01]) == [pytest.approx(0.04), None, pytest.approx(0.02)]


@pytest.mark.parametrize(
    ("std", "n", "spreads"),
    [(0.3, 5, (0.3, 0.3)), (0.9, 3, (0.3, 0.9)), (None, None, (0.3, 0.3)), (None, 3, (0.3, 0.3))],
)
def test_verdicts_raise_false_alarms_at_most_at_their_nominal_rate(
    std: float | None, n: int | None, spreads: tuple[float, float]
) -> None:
    """Ours and the paper's runs are drawn from populations of one mean."""
    random, draws = np.random.default_rng(3), 2000
    mine, paper = spreads
    alarms = 0
    for _ in range(draws):
        theirs = random.normal(76, paper, n or 1)
        said = float(np.std(theirs, ddof=1)) if std else None
        found = verdict(list(random.normal(76, mine, 5)), theirs.mean(), said, n)
        alarms += found.word != "consistent"
    assert alarms / draws < 0.05 + 3 * (0.05 * 0.95 / draws) ** 0.5
    if std is None:
        assert within(alarms / draws, 0.05, draws)


def test_a_verdict_says_on_which_side_ours_is() -> None:
    ours = [76.0, 76.2, 76.1, 75.9, 76.0]
    assert verdict(ours, 73.0).word == "above"
    assert verdict(ours, 79.0, 0.2, 5).word == "below"
    assert verdict(ours, 76.1, 0.2, 5).word == "consistent"


@pytest.mark.parametrize("ours", [[76.0], [76.0, 76.0]])
def test_no_verdict_without_any_spread(ours: list[float]) -> None:
    assert verdict(ours, 70.0) == ("consistent", None)
    assert verdict(ours[:1], 70.0, 0.1, 5) == ("consistent", None)
