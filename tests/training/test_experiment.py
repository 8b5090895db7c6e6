"""An experiment is what decides one training: equal in any spelling, refused with all reasons."""

import json
import re

import pydantic
import pytest

from kdsearch.errors import Problem
from kdsearch.objectives import objective
from kdsearch.training import Experiment
from kdsearch.training.experiment import problems_in

KD = {
    "teacher": {"kind": "temperature", "temperature": 2},
    "student": {"kind": "temperature", "temperature": 2},
    "divergence": {"kind": "kl"},
    "balance": {"hard": 0.5, "soft": 2.0},
}


def experiment(**changes):
    given = {"model": {"name": "cnn", "width": 4}, "objective": {"name": "kd"}, "seed": 1}
    return Experiment.model_validate(given | changes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"objective": {"name": "kd"}}, {"objective": {"name": "kd", "lam": 0.9}}),
        ({"objective": {"name": "kd", "temperature": 4}}, {"objective": {"name": "kd"}}),
        ({"objective": {"name": "kd", "temperature": 2, "lam": 0.5}}, {"objective": KD}),
        ({"objective": {"name": "ce"}}, {"objective": {"balance": {"soft": 0}}}),
        ({"objective": KD}, {"objective": dict(reversed(KD.items()))}),
        ({"recipe": {}}, {"recipe": {"epochs": 240, "learning_rate": 0.05}}),
        ({"recipe": {"learning_rate": 1}}, {"recipe": {"learning_rate": 1.0}}),
        ({"model": {"name": "cnn", "width": 4}}, {"model": {"width": 4, "name": "cnn"}}),
    ],
)
def test_equal_parts_have_one_digest_under_any_spelling(one, other):
    assert experiment(**one).digest == experiment(**other).digest


def test_whatever_differs_has_a_digest_of_its_own():
    changes = [
        {},
        {"seed": 2},
        {"model": {"name": "cnn", "width": 5}},
        {"model": {"name": "cnn", "width": 4, "depth": 3}},
        {"objective": {"name": "kd", "lam": 0.8}},
        {"objective": {"name": "kd_pt"}},
        {"objective": {"name": "ce"}},
        {"objective": KD},
        {"recipe": {"epochs": 3}},
        {"recipe": {"learning_rate": 0.06}},
        {"recipe": {"schedule": "cosine"}},
    ]
    assert len({experiment(**change).digest for change in changes}) == len(changes)


@pytest.mark.parametrize("spec", [{"name": "kd", "temperature": 7}, KD, {"name": "ce"}, {}])
def test_an_experiment_comes_back_from_json(spec):
    before = experiment(objective=spec, recipe={"epochs": 3, "nesterov": True})
    after = Experiment.model_validate(json.loads(before.model_dump_json()))
    assert (after, after.digest, after.loss) == (before, before.digest, before.loss)
    assert after.model.size == {"width": 4}


def test_the_loss_is_the_objective_that_was_named():
    assert experiment(objective={"name": "wttm", "beta": 2}).loss == objective("wttm", beta=2)


MISTAKES = [
    ({"seed": -1}, "seed", "seed >= 0 must hold, but got -1."),
    ({"sead": 1}, "sead", "there is no setting 'sead' here. Did you mean 'seed'? Valid: model,"),
    ({"model": {"width": 4}}, "model.name", "a value for 'name' is needed, but none was given."),
    ({"model": None}, "model", "model must be a valid dictionary"),
    ({"recipe": {"epochs": 0}}, "recipe.epochs", "epochs >= 1 must hold, but got 0."),
    ({"recipe": {"epoch": 1}}, "recipe.epoch", "there is no setting 'epoch' here. Did you mean"),
    ({"objective": None}, "objective", "an objective must be a mapping with a name or parts, got"),
    ({"objective": {"name": "kdd"}}, "objective", "a name must be one of the objectives, but got"),
    ({"objective": {"name": "kd", "lam": 2}}, "objective", "0 <= lam <= 1 must hold, but got 2."),
    (
        {"objective": {"balance": {"hard": -1}}},
        "objective.balance.hard",
        "hard >= 0 must hold, but got -1.",
    ),
]
VALID = {"model": {"name": "cnn"}, "objective": {"name": "kd"}}


@pytest.mark.parametrize(("change", "path", "message"), MISTAKES)
def test_a_mistake_is_told_at_its_place_and_refused(change, path, message):
    (problem,) = problems_in(VALID | change, "space")
    assert problem.path == f"space.{path}"
    assert problem.message.startswith(message)
    with pytest.raises(pydantic.ValidationError, match=r"^1 validation error for Experiment\n"):
        Experiment.model_validate(VALID | change)


def test_all_mistakes_are_told_together():
    mapping = {
        "objective": {"teacher": {"kind": "top_k", "k": 0}, "balance": {"soft": -1}},
        "recipe": {"epochs": 0, "momentum": 1},
        "seed": -1,
        "sead": 1,
    }
    places = ["teacher.k", "balance.soft"]
    expected = [*(f"objective.{place}" for place in places), "model", "recipe.epochs"]
    problems = problems_in(mapping)
    assert [problem.path for problem in problems] == [*expected, "recipe.momentum", "seed", "sead"]
    assert problems_in(mapping, "space") == [Problem(f"space.{p}", m) for p, m in problems]
    assert Problem("model", "a value for 'model' is needed, but none was given.") in problems


def test_a_valid_mapping_has_no_problems():
    assert problems_in(VALID) == []
    assert problems_in({**VALID, "objective": KD, "recipe": {"epochs": 3}, "seed": 4}) == []


def test_an_experiment_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError, match=re.escape("Instance is frozen")):
        experiment().seed = 3
