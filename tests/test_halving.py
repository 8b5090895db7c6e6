"""Successive halving, held against Ray's own scheduler where the two must agree."""

import math
import random

import pytest
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from kdsearch import halving
from kdsearch.training import Recipe


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_students_are_stopped_where_rays_scheduler_stops_them(factor):
    """Forty students side by side, in random order: epoch by epoch, the same decisions."""
    chance = random.Random(factor)
    rays = ASHAScheduler(
        metric="accuracy", mode="max", max_t=27, grace_period=2, reduction_factor=factor
    )
    trials = {f"t{i}": type("Trial", (), {"trial_id": f"t{i}"})() for i in range(40)}
    for trial in trials.values():
        rays.on_trial_add(None, trial)
    epochs, observed, stopped = dict.fromkeys(trials, 0), [], {}
    while going := [n for n in trials if n not in stopped and epochs[n] < 26]:
        name = chance.choice(going)
        epochs[name] += 1
        accuracy = chance.random()
        observed.append((name, epochs[name], accuracy))
        result = {"training_iteration": epochs[name], "accuracy": accuracy}
        if rays.on_trial_result(None, trials[name], result) == TrialScheduler.STOP:
            stopped[name] = epochs[name]
    assert len(stopped) > 10
    assert halving.stops(observed, halving.rungs(27, 2, factor), factor) == stopped


def test_the_best_share_goes_on():
    earlier = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert halving.cutoff(earlier, 2) == 0.4
    assert halving.goes_on(0.4, earlier, 2)
    assert not halving.goes_on(0.39, earlier, 2)
    assert halving.cutoff(earlier, 3) == pytest.approx(0.5)


def test_the_first_at_a_rung_passes_and_what_is_not_a_number_never():
    assert halving.goes_on(0.0, [], 3)
    assert not halving.goes_on(math.nan, [], 3)
    assert not halving.goes_on(math.nan, [0.1], 3)


def test_rungs_lie_after_the_warm_up():
    assert halving.rungs(30, 2, 3) == (2, 6, 18)
    assert halving.rungs(30, 2, 3, warmup=5) == (7, 11, 23)
    law = "1 <= grace_period < epochs=25 after 5 of warm-up must hold, but got 25"
    with pytest.raises(ValueError, match=law):
        halving.rungs(30, 25, 3, warmup=5)


def test_a_late_drop_of_the_learning_rate_has_a_rung_after_it():
    assert halving.rungs(240, 30, 4, settled=Recipe().settled) == (30, 120, 155)
    assert halving.rungs(240, 30, 2.3, settled=Recipe().settled) == (30, 69, 158)
    assert halving.rungs(4, 1, 2, settled=Recipe(epochs=4).settled) == (1, 2)


@pytest.mark.parametrize("epochs", [4, 12, 18, 240])
def test_the_rate_first_drops_after_the_epoch_that_is_said(epochs):
    recipe = Recipe(epochs=epochs, learning_rate=1.0)
    assert recipe.rate(recipe.first_drop) == 1.0
    assert recipe.rate(recipe.first_drop + 1) < 0.11
    assert recipe.settled > recipe.first_drop
    assert Recipe(schedule="cosine").settled is None


def test_who_was_stopped_counts_at_no_later_rung():
    observed = [("a", 1, 0.5), ("b", 1, 0.4), ("c", 1, 0.6), ("b", 2, 0.9), ("a", 2, 0.1)]
    assert halving.stops(observed, (1, 2), 2) == {"b": 1}
