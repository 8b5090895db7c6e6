"""Cutout, mixup, averaged weights and half precision: what a recipe does beside the optimiser."""

import numpy as np
import pytest
import torch

from kdsearch import data
from kdsearch.training import Experiment, Part, Training, mixing, part


@pytest.fixture(scope="module")
def parts() -> tuple[Part, Part]:
    splits = data.load("digits", validation=0.2)
    return part(splits, splits.train[:256]), part(splits, splits.validation)


def losses(parts: tuple[Part, Part], teacher: bool = False, **recipe: object) -> list[float]:
    described = {
        "model": {"name": "cnn", "width": 4},
        "objective": {"name": "kd" if teacher else "ce"},
        "recipe": {"epochs": 3, "learning_rate": 0.1} | recipe,
    }
    logits = torch.randn(256, 10, generator=torch.Generator().manual_seed(0)) if teacher else None
    training = Training(Experiment.model_validate(described), *parts, 10, logits)
    return [result.train_loss for result in training]


@pytest.mark.parametrize(("side", "area"), [(1, 1), (2, 4), (3, 9), (40, 48)])
def test_a_hole_is_a_square_that_the_border_may_cut(side: int, area: int) -> None:
    images = torch.ones(500, 3, 8, 6)
    cut = mixing.cutout(images, side, mixing.chance(0, 1, 0)) == 0
    assert torch.equal(cut[:, 0], cut[:, 2])
    sizes = cut[:, 0].flatten(1).sum(dim=1)
    assert sizes.max() == area
    assert sizes.min() >= 1
    if side == 2:
        centres = cut[:, 0].double().mean(dim=0)  # every pixel but the border's is as likely
        assert centres[1:, 1:].std() < 0.03
    for image in cut[:, 0]:
        rows, columns = image.any(dim=1).sum(), image.any(dim=0).sum()
        assert rows * columns == image.sum()


def test_mixup_draws_from_the_beta_distribution() -> None:
    drawn = [mixing.mixup_share(0.4, mixing.chance(0, 1, batch)) for batch in range(4000)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.03)
    assert np.var(drawn) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.1)


@pytest.mark.parametrize("recipe", [{"cutout": 3}, {"mixup": 0.5}, {"cutout": 2, "mixup": 0.2}])
@pytest.mark.parametrize("teacher", [False, True])
def test_mixed_training_repeats_itself_and_differs_from_plain(
    parts: tuple[Part, Part], recipe: dict[str, float], teacher: bool
) -> None:
    mixed = losses(parts, teacher, **recipe)
    assert mixed == losses(parts, teacher, **recipe)
    assert mixed[0] != losses(parts, teacher)[0]


def test_mixing_with_a_share_of_one_is_no_mixing(
    parts: tuple[Part, Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixing, "mixup_share", lambda *_: 1.0)
    assert losses(parts, True, mixup=0.5) == pytest.approx(losses(parts, True), rel=1e-5)


def test_the_average_of_weights_is_what_is_judged(parts: tuple[Part, Part]) -> None:
    """With decay 0.9 the average is 0.9 average + 0.1 weights after every step."""
    described = {
        "model": {"name": "cnn", "width": 4},
        "objective": {"name": "ce"},
        "recipe": {"epochs": 1, "batch_size": 128, "learning_rate": 0.1, "ema": 0.9},
    }
    training = Training(Experiment.model_validate(described), *parts, 10)
    weight = next(training.model.parameters())
    seen: list[torch.Tensor] = []
    training.optimiser.register_step_post_hook(lambda *_: seen.append(weight.detach().clone()))
    result = next(training)
    first, second = seen  # two batches: the first step begins the average
    expected = 0.9 * first + 0.1 * second
    torch.testing.assert_close(next(training.evaluated.parameters()).detach(), expected)
    assert not torch.equal(next(training.model.parameters()), expected)
    with torch.no_grad():
        judged = training.evaluated.eval()(parts[1].images(torch.arange(len(parts[1]))))
    right = (judged.argmax(dim=1) == parts[1].labels).double().mean().item()
    assert result.accuracy == pytest.approx(right)
    again = Training(Experiment.model_validate(described), *parts, 10)
    again.load_state_dict(training.state_dict())
    torch.testing.assert_close(next(again.evaluated.parameters()).detach(), expected)


@pytest.mark.parametrize("recipe", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_other_ways_of_computing_agree_within_their_precision(
    parts: tuple[Part, Part], recipe: dict[str, object]
) -> None:
    within = 0.03 if "precision" in recipe else 1e-3
    assert losses(parts, True, **recipe) == pytest.approx(losses(parts, True), rel=within)


def test_warm_up_rises_to_the_peak() -> None:
    recipe = Experiment.model_validate(
        {
            "model": {"name": "cnn"},
            "objective": {"name": "ce"},
            "recipe": {"epochs": 8, "learning_rate": 0.4, "warmup": 4, "schedule": "constant"},
        }
    ).recipe
    rates = [recipe.rate(epoch) for epoch in range(1, 7)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
