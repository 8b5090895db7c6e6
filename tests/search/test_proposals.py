"""Every search algorithm keeps the same promises: a new file in the folder is held to them too.

The space has a choice, dimensions that exist in one option only, and one that all share.
"""

from statistics import mean

import pytest
from optuna.trial import TrialState

from kdsearch import catalogue
from kdsearch.search.algorithms.tpe import _Window
from kdsearch.search.proposals import Proposals
from kdsearch.spaces import Space

ALGORITHMS = catalogue.names("search/algorithms")
TREE = {
    "objective": {
        "choice": [
            {"name": "ce"},
            {"name": "kd", "temperature": {"log_uniform": [1, 20]}, "lam": {"uniform": [0, 1]}},
            {"name": "kd_topk", "k": {"integer": [1, 5]}},
        ]
    },
    "recipe": {"learning_rate": {"log_uniform": [0.01, 0.5]}},
}
INSIDE = {
    "objective": {"name": "kd", "temperature": 4.0, "lam": 0.9},
    "recipe": {"learning_rate": 0.1},
}
OUTSIDE = {"objective": {"name": "kd", "temperature": 40.0, "lam": 0.9}, "recipe": {}}
CE = {"objective": {"name": "ce"}, "recipe": {"learning_rate": 0.1}}

every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def proposals(name, seed=0, first=(), tree=TREE, **settings):
    space = Space(tree)
    sampler = catalogue.load("search/algorithms", name).build(space, seed, **settings)
    return Proposals(space, sampler, first)


def value(drawn):
    """A toy accuracy: kd at a high lam and a middling temperature is best."""
    kd = drawn["objective"]
    return kd.get("lam", 0.2) - abs(kd.get("temperature", 10) - 6) / 20


def run(given, asks):
    """Up to so many proposals, one at a time: two in three finish, one in three is pruned."""
    seen = []
    while len(seen) < asks and (proposal := given.ask()):
        seen.append(proposal)
        merit = value(proposal.drawn)
        given.report(proposal.number, 1, merit)
        if proposal.number % 3 == 2:
            given.tell(proposal.number, "pruned")
        else:
            given.tell(proposal.number, "finished", merit)
    return seen


@every_algorithm
def test_proposals_lie_in_the_space(name):
    given = proposals(name)
    seen = run(given, 20)
    assert [proposal.number for proposal in seen] == list(range(20))
    for _, drawn, point, origin in seen:
        assert origin == "proposed"
        assert given.space.locate(drawn) == point
        assert given.space.assemble(point) == drawn
        assert isinstance(drawn["objective"].get("k", 1), int)
    assert {proposal.drawn["objective"]["name"] for proposal in seen} >= {"ce", "kd"}


@every_algorithm
def test_a_seed_repeats_its_proposals_and_another_has_its_own(name):
    once, again, other = (run(proposals(name, seed), 14) for seed in (3, 3, 4))
    assert once == again
    assert (once == other) == (name == "grid")


@every_algorithm
def test_first_points_come_first_whether_the_space_holds_them_or_not(name):
    given = proposals(name, first=[CE, OUTSIDE, INSIDE])
    seen = run(given, 5)
    assert [proposal.drawn for proposal in seen[:3]] == [CE, OUTSIDE, INSIDE]
    assert [proposal.origin for proposal in seen] == ["published"] * 3 + ["proposed"] * 2
    assert [proposal.point for proposal in seen[:3]] == [
        {"objective": "ce", "recipe.learning_rate": 0.1},
        None,
        given.space.locate(INSIDE),
    ]
    assert [proposal.number for proposal in seen] == [0, 1, 2, 3, 4]
    assert len(given.optuna_trials) == 4


@every_algorithm
def test_the_sampler_learns_how_each_ended(name):
    given = proposals(name, first=[OUTSIDE])
    outside, pruned, failed, finished, early = [given.ask() for _ in range(5)]
    for epoch, merit in {1: 0.5, 2: 0.6}.items():
        for proposal in (outside, pruned, failed, finished):
            given.report(proposal.number, epoch, merit)
    given.report(finished.number, 1, 0.9)  # a recovered trial repeats its epochs
    given.tell(outside.number, "finished", 0.8)
    given.tell(finished.number, "finished", 0.7)
    given.tell(failed.number, "failed")
    given.tell(pruned.number, "pruned")
    given.tell(early.number, "failed")
    told = [(t.state.name, t.intermediate_values, t.value) for t in given.optuna_trials]
    both = {1: 0.5, 2: 0.6}
    assert told[1:] == [("FAIL", both, None), ("COMPLETE", both, 0.7), ("FAIL", {}, None)]
    assert told[0][:2] == ("PRUNED", both)
    assert [t.params for t in given.optuna_trials] == [
        proposal.point for proposal in (pruned, failed, finished, early)
    ]


def parallel(given, asks):
    """Three under way at a time, of which the second ends; returns the calls and the proposals."""
    calls, seen, running = [], [], []

    def call(name, *arguments):
        calls.append((name, arguments))
        return getattr(given, name)(*arguments)

    for number in range(asks):
        seen.append(call("ask"))
        running.append(number)
        merit = value(seen[-1].drawn)
        call("report", number, 1, merit)
        if len(running) == 3:
            ended = running.pop(1)
            call("tell", ended, *[("finished", merit), ("pruned",), ("failed",)][ended % 3])
    return calls, seen


@every_algorithm
def test_the_same_calls_give_the_same_proposals(name):
    calls, seen = parallel(proposals(name, first=[CE, OUTSIDE]), 18)
    again = proposals(name, first=[CE, OUTSIDE])
    answers = [getattr(again, called)(*arguments) for called, arguments in calls]
    assert [answer for answer in answers if answer] == seen


@pytest.mark.parametrize("first", [(), (CE, OUTSIDE)])
def test_a_grid_ends_after_each_of_its_points_was_proposed_once(first):
    given = proposals("grid", first=first, levels=2)
    seen = run(given, 99)[len(first) :]
    points = [tuple(proposal.point.items()) for proposal in seen]
    assert sorted(points) == sorted(tuple(p.items()) for p in given.space.grid(2))
    assert len(set(points)) == 2 * (1 + 4 + 2)
    assert given.ask() is None
    assert given.ask() is None


def test_tpe_finds_better_points_than_random_search():
    def best(name, seed):
        return max(value(proposal.drawn) for proposal in run(proposals(name, seed), 40))

    differences = [best("tpe", seed) - best("random", seed) for seed in range(20)]
    assert mean(differences) > 0.02


def test_tpe_models_the_best_and_the_latest():
    """Beyond its history the model is of a bounded window, before it of all: that is plain TPE."""
    plain, windowed, narrow = (proposals("tpe", history=h) for h in (10**6, 300, 60))
    asked = [[p.point for p in run(given, 80)] for given in (plain, windowed, narrow)]
    assert asked[0] == asked[1]
    assert asked[1][:60] == asked[2][:60]
    assert asked[1][62:] != asked[2][62:]
    study = narrow._study
    window = _Window(study, 60)
    finished = [t for t in study.trials if t.state == TrialState.COMPLETE]
    best = sorted(finished, key=lambda trial: -trial.value)[:25]
    numbers = [trial.number for trial in window.trials]
    assert {trial.number for trial in best} <= set(numbers)
    assert set(range(45, 80)) <= set(numbers)
    assert len(numbers) <= 60
    assert numbers == sorted(numbers)


def test_tpe_asks_for_a_history_that_holds_good_and_bad():
    with pytest.raises(ValueError, match="history >= 50 must hold, but got 49"):
        proposals("tpe", history=49)
