"""A recipe's learning rate is a table of epochs, and its optimiser is what was asked for."""

from itertools import pairwise

import pydantic
import pytest
import torch

from kdsearch.training import Recipe
from kdsearch.values import problems_of


def drops(recipe):
    """The epochs at which the rate falls, with the factor to the peak from there on."""
    rates = [recipe.rate(epoch) / recipe.learning_rate for epoch in range(1, recipe.epochs + 1)]
    changes = pairwise(enumerate([1.0, *rates]))
    return {epoch: round(new, 9) for (_, old), (epoch, new) in changes if new != old}


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (240, {151: 0.1, 181: 0.01, 211: 0.001}),
        (100, {64: 0.1, 76: 0.01, 89: 0.001}),
        (27, {18: 0.1, 22: 0.01, 25: 0.001}),
        (8, {6: 0.1, 7: 0.01, 8: 0.001}),
        (4, {4: 0.01}),
        (1, {}),
    ],
)
def test_the_step_schedule_drops_after_five_six_and_seven_eighths(epochs, expected):
    assert drops(Recipe(epochs=epochs, learning_rate=0.2)) == expected


def test_the_steps_of_imagenet_are_after_30_60_and_90_of_100_epochs():
    recipe = Recipe(epochs=100, learning_rate=0.1, steps=(0.3, 0.6, 0.9))
    assert drops(recipe) == {31: 0.1, 61: 0.01, 91: 0.001}


@pytest.mark.parametrize("epochs", [1, 2, 5, 27, 240])
def test_the_cosine_falls_from_the_peak_towards_zero(epochs):
    recipe = Recipe(epochs=epochs, learning_rate=0.4, schedule="cosine")
    rates = [recipe.rate(epoch) for epoch in range(1, epochs + 2)]
    assert rates[0] == 0.4
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates == sorted(rates, reverse=True)
    # Half a cosine is symmetric about its middle.
    sums = [a + b for a, b in zip(rates, reversed(rates), strict=True)]
    assert sums == pytest.approx([0.4] * len(rates))


def test_the_constant_schedule_is_constant():
    assert drops(Recipe(schedule="constant")) == {}


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({}, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
        (
            {"learning_rate": 0.3, "momentum": 0.5, "nesterov": True, "weight_decay": 0},
            torch.optim.SGD,
            {"lr": 0.3, "momentum": 0.5, "nesterov": True, "weight_decay": 0},
        ),
        (
            {"optimiser": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
            torch.optim.AdamW,
            {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.999)},
        ),
    ],
)
def test_the_optimiser_honours_its_settings(settings, kind, expected):
    model = torch.nn.Linear(3, 2)
    optimiser = Recipe(**settings).optimiser_for(model)
    assert type(optimiser) is kind
    (group,) = optimiser.param_groups
    assert {key: group[key] for key in expected} == expected
    assert {id(parameter) for parameter in group["params"]} == set(map(id, model.parameters()))


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("setting", "value", "law"),
    [
        ("epochs", 0, "epochs >= 1 must hold, but got 0."),
        ("epochs", 2.5, "epochs must be a valid integer, got a number with a fractional part, but"),
        ("batch_size", 1, "batch_size >= 2 must hold, but got 1."),
        ("learning_rate", 0, "learning_rate > 0 must hold, but got 0."),
        ("learning_rate", NAN, "learning_rate must be a finite number, but got nan."),
        ("weight_decay", INFINITE, "weight_decay must be a finite number, but got inf."),
        ("optimiser", "lamb", "optimiser must be one of 'sgd', 'adam' or 'adamw', but got 'lamb'."),
        ("momentum", 1, "momentum < 1 must hold, but got 1."),
        ("momentum", -0.1, "momentum >= 0 must hold, but got -0.1."),
        ("weight_decay", -1, "weight_decay >= 0 must hold, but got -1."),
        ("schedule", "linear", "schedule must be one of 'step', 'cosine' or 'constant', but got"),
        ("momentun", 1, "there is no setting 'momentun' here. Did you mean 'momentum'? Valid: ep"),
    ],
)
def test_impossible_values_are_refused_with_the_law(setting, value, law):
    with pytest.raises(pydantic.ValidationError, match=setting) as caught:
        Recipe(**{setting: value})
    (problem,) = problems_of(caught.value, Recipe)
    assert problem.path == setting
    assert problem.message.startswith(law)


def test_a_recipe_that_is_accepted_can_be_run():
    with pytest.raises(pydantic.ValidationError, match="nesterov"):
        Recipe(nesterov=True, momentum=0)
    Recipe(nesterov=True, momentum=0, optimiser="adamw").optimiser_for(torch.nn.Linear(3, 2))


def test_a_recipe_is_a_value():
    assert {Recipe(), Recipe(epochs=240), Recipe(epochs=3)} == {Recipe(), Recipe(epochs=3)}
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Recipe().epochs = 3
