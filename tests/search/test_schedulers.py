"""Every scheduler builds as it is named, and refuses what would never stop a student."""

import re
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from kdsearch import catalogue
from kdsearch.errors import SettingError
from kdsearch.search.mistakes import SCHEDULERS
from kdsearch.search.plugins import scheduler_for
from kdsearch.search.rungs import replay
from kdsearch.search.study import Study
from kdsearch.training import Recipe

NAMES = catalogue.names(SCHEDULERS)
GRACEFUL = [n for n in NAMES if "grace_period=" in catalogue.describe(SCHEDULERS, n).settings]


def build(name, epochs=27, **settings):
    recipe = Recipe(epochs=epochs, schedule="cosine")
    return catalogue.load(SCHEDULERS, name).build(metric="accuracy", recipe=recipe, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_every_scheduler_builds_with_its_defaults(name):
    assert isinstance(build(name), TrialScheduler)


def test_asha_and_median_have_a_grace_period_and_none_has_not():
    assert {"asha", "median"} <= set(GRACEFUL)
    assert "none" in set(NAMES) - set(GRACEFUL)


@pytest.mark.parametrize("name", GRACEFUL)
@pytest.mark.parametrize(("epochs", "grace"), [(27, 0), (27, 27), (27, 28), (3, 3), (1, 1)])
def test_the_grace_period_ends_before_the_last_epoch(name, epochs, grace):
    law = rf"1 <= grace_period < epochs={epochs} must hold, but got {grace}$"
    with pytest.raises(ValueError, match=law):
        build(name, epochs, grace_period=grace)


@pytest.mark.parametrize("factor", [1, 0.5, -3])
def test_asha_must_reduce(factor):
    with pytest.raises(ValueError, match=rf"reduction_factor > 1 must hold, but got {factor}$"):
        build("asha", reduction_factor=factor)


@pytest.mark.parametrize(
    ("epochs", "grace", "factor", "rungs"),
    [
        (27, 3, 3, (3, 9)),
        (27, 1, 3, (1, 3, 9)),
        (28, 3, 3, (3, 9, 27)),
        (240, 30, 2, (30, 60, 120)),
    ],
)
def test_the_rungs_of_asha(epochs, grace, factor, rungs):
    scheduler = build("asha", epochs, grace_period=grace, reduction_factor=factor)
    assert scheduler.rungs == rungs


def test_an_impossible_setting_of_a_study_is_one_sentence(content):
    scheduler = {"name": "asha", "grace_period": 4}
    study = Study.of(content | {"search": {"scheduler": scheduler}})
    message = (
        "'asha' cannot be set up with {'grace_period': 4}:"
        " 1 <= grace_period < epochs=4 must hold, but got 4."
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        scheduler_for(study)


def journal(curves):
    """A journal in which students report side by side, one of them still under way."""
    trials = [{"event": "trial", "id": name, "kind": "trial"} for name in curves]
    for trial in trials:
        trial |= {"family": "kd", "origin": "proposed", "experiment": {}, "time": 0.0}
    epochs = [
        {"event": "epoch", "id": name, "epoch": number, "accuracy": curve[number - 1]}
        for number in range(1, 7)
        for name, curve in curves.items()
        if number <= len(curve)
    ]
    ends = [
        {"event": "end", "id": name, "status": "pruned", "time": 0.0} for name in list(curves)[:-1]
    ]
    return [*trials, *epochs, *ends]


@pytest.mark.parametrize("name", NAMES)
def test_a_replayed_scheduler_decides_as_the_first_one_would(name):
    """Six students have ended; the next ones meet the same rungs, one weak and one strong."""
    curves = {f"t{i}": [0.1 * i + 0.01 * e for e in range(1 + i)] for i in range(6)}
    events = journal(curves | {"t6": [0.9]})
    for accuracy in (0.05, 0.95):
        decisions = []
        for _ in range(2):
            scheduler = build(name, epochs=9, **({"grace_period": 1} if name in GRACEFUL else {}))
            replay(scheduler, events)
            trial = type("Trial", (), {"trial_id": "new", "status": "RUNNING", "config": {}})()
            scheduler.on_trial_add(None, trial)
            result = {"training_iteration": 1, "accuracy": accuracy}
            decisions.append(scheduler.on_trial_result(None, trial, result))
        assert decisions[0] == decisions[1]
        weak = accuracy < 0.1 and name in GRACEFUL
        assert decisions[0] == (TrialScheduler.STOP if weak else TrialScheduler.CONTINUE)


def test_replayed_rungs_hold_the_ended_students_and_no_other():
    scheduler = build("asha", epochs=9, grace_period=1, reduction_factor=3)
    replay(scheduler, journal({"t0": [0.1, 0.2, 0.3, 0.4], "t1": [0.2], "t2": [0.9, 0.9]}))
    assert scheduler.met == {1: {"t0": 0.1, "t1": 0.2}, 3: {"t0": 0.3}}


def test_a_student_that_comes_again_as_another_trial_passes_where_it_has_passed():
    scheduler = build("asha", epochs=9, grace_period=1, reduction_factor=3)
    decisions = []
    for name, job, accuracy in (("a", "t0", 0.5), ("b", "t1", 0.9), ("c", "t0", 0.5)):
        trial = SimpleNamespace(trial_id=name, config={"job": job})
        result = {"training_iteration": 1, "accuracy": accuracy}
        decisions.append(scheduler.on_trial_result(None, trial, result))
    assert decisions == [TrialScheduler.CONTINUE] * 3
    assert scheduler.met[1] == {"t0": 0.5, "t1": 0.9}


def test_a_student_whose_loss_is_not_finite_sets_no_standard_for_others():
    failed = {"event": "epoch", "id": "t0", "epoch": 1, "accuracy": 0.0, "train_loss": None}
    started, *_, ended = journal({"t0": [0.0], "still running": []})
    scheduler = build("asha", epochs=9, grace_period=1, reduction_factor=3)
    replay(scheduler, [started, failed, ended | {"status": "failed"}])
    assert scheduler.met == {1: {}, 3: {}}
