"""Teacher signals: stored ones are the online teacher's own, read ahead and in the right view."""

import threading

import numpy as np
import pytest
import torch

from kdsearch import data, models
from kdsearch.data import Splits
from kdsearch.data.views import Views
from kdsearch.training import Experiment, Recipe, Training, part, predict
from kdsearch.training.signals import Online, Stored

RECIPE = {"epochs": 4, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.2, views={"crop": 1, "flip": True, "count": 3})


@pytest.fixture(scope="module")
def teacher() -> torch.nn.Module:
    torch.manual_seed(0)
    network = models.build("cnn", 10, 1, width=4).eval()
    with torch.no_grad():
        list(network.parameters())[-2].mul_(30)  # untrained, its logits would hardly differ
    return network


def test_stored_logits_are_the_online_teachers_to_float16_rounding(
    splits: Splits, teacher: torch.nn.Module
) -> None:
    learn = part(splits, splits.train)
    online = Online(teacher, Recipe())
    at = torch.randperm(len(learn))[:64]
    for epoch in (1, 2, 3, 4):
        view = splits.views.of_epoch(epoch)
        table = predict(teacher, learn, view).half()
        images = learn.images(at, view)
        now = online(epoch, at, images)
        assert not now.requires_grad
        np.testing.assert_allclose(table[at].float(), now, rtol=2**-10, atol=1e-3)


def test_a_student_trained_on_stored_signals_equals_one_trained_online(
    splits: Splits, teacher: torch.nn.Module
) -> None:
    learn, judge = part(splits, splits.train), part(splits, splits.validation)
    tables = [predict(teacher, learn, view).half() for view in range(3)]
    experiment = Experiment.model_validate(
        {"model": {"name": "cnn", "width": 4}, "objective": {"name": "kd"}, "recipe": RECIPE}
    )
    stored = Stored(lambda view: tables[view], splits.views, epochs=4)
    first = list(Training(experiment, learn, judge, 10, stored))
    second = list(Training(experiment, learn, judge, 10, Online(teacher, Recipe())))
    wrong = Stored(lambda view: tables[0], splits.views, epochs=4)
    third = list(Training(experiment, learn, judge, 10, wrong))
    for ours, theirs in zip(first, second, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)
    assert third[1].train_loss != pytest.approx(second[1].train_loss, rel=1e-2)


def test_the_next_view_is_read_while_an_epoch_trains() -> None:
    asked: list[tuple[int, str]] = []
    ready = threading.Event()

    def fetch(view: int) -> torch.Tensor:
        asked.append((view, threading.current_thread().name))
        ready.set()
        return torch.full((5, 2), float(view))

    signals, at = Stored(fetch, Views(crop=1, count=3), epochs=4), torch.arange(2)
    for epoch, view in ((1, 0), (2, 1), (3, 2), (4, 0)):
        assert signals(epoch, at, at).tolist() == [[view, view]] * 2
        assert signals(epoch, at, at).tolist() == [[view, view]] * 2
        if epoch < 4:
            ready.wait(5)
            ready.clear()
    assert [view for view, _ in asked] == [0, 1, 2, 0]  # each once, and none after the last epoch
    assert all(thread.startswith("signals") for _, thread in asked[1:])


def test_a_student_that_goes_on_asks_for_the_view_of_its_epoch() -> None:
    signals = Stored(lambda view: torch.full((5, 2), float(view)), Views(crop=1), epochs=9)
    assert signals(7, torch.arange(1), torch.arange(1)).tolist() == [[6, 6]]


def test_one_view_is_read_once() -> None:
    asked: list[int] = []

    def fetch(view: int) -> torch.Tensor:
        asked.append(view)
        return torch.zeros(5, 2)

    signals = Stored(fetch, Views(crop=1, count=1), epochs=3)
    for epoch in (1, 2, 3):
        signals(epoch, torch.arange(2), torch.arange(2))
    assert asked == [0]
