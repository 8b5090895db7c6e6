"""The proxy teacher: stationary, minimal, and equal to what can be computed in another way."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from kdsearch.errors import SettingError
from kdsearch.objectives.divergences import PerturbedKL
from kdsearch.teachers.proxy import distance_to_labels, is_convex, proxy_teacher, select

SETS = [(0.5,), (-0.7,), (1.0, 0.5), (2.0, -0.3, 0.4), (0.3, 0.1, 0.0, 0.2, 1.5), (-1.5, 0.2)]


def logits(count=64, classes=10, scale=3.0):
    return torch.from_numpy(np.random.RandomState(0).normal(0, scale, (count, classes)))


@pytest.mark.parametrize("epsilons", SETS)
@pytest.mark.parametrize("scale", [0.1, 3.0, 12.0])
def test_it_is_stationary_on_the_simplex(epsilons, scale):
    teacher = logits(scale=scale).softmax(dim=1)
    proxy = proxy_teacher(logits(scale=scale), epsilons)
    slope = sum(m * e * (1 - proxy) ** (m - 1) for m, e in enumerate(epsilons, start=1))
    multiplier = teacher * (1 / proxy + slope)
    middle = multiplier.mean(dim=1, keepdim=True)
    assert ((multiplier - middle).abs() / middle.abs().clamp_min(1)).max() < 1e-6
    assert proxy.sum(dim=1).numpy() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("epsilons", SETS)
def test_no_neighbour_on_the_simplex_is_lower(epsilons):
    teacher, proxy = logits(), proxy_teacher(logits(), epsilons)

    def loss(point):
        return PerturbedKL(epsilons=epsilons)(teacher, point.log(), torch.zeros(64).long())

    for seed in range(20):
        noise = np.random.RandomState(seed).normal(0, 0.1, proxy.shape)
        near = (proxy.log() + torch.from_numpy(noise)).softmax(dim=1)
        assert (loss(near) >= loss(proxy) - 1e-12).all()


@pytest.mark.parametrize("epsilon", [-0.9, -0.3, 0.4, 3.0])
def test_one_order_has_a_closed_form(epsilon):
    for row, found in zip(logits(8).softmax(1), proxy_teacher(logits(8), (epsilon,)), strict=True):
        t = row.numpy()
        low, high = max(t * epsilon) + 1e-12, max(t * epsilon) + 10 * t.max() + 10
        mu = brentq(lambda mu, t=t: (t / (mu - t * epsilon)).sum() - 1, low, high, xtol=1e-15)
        assert found.numpy() == pytest.approx(t / (mu - t * epsilon), rel=1e-8)


@pytest.mark.parametrize("epsilons", SETS)
def test_a_student_at_the_proxy_feels_no_pull(epsilons):
    student = proxy_teacher(logits(), epsilons).log().requires_grad_()
    loss = PerturbedKL(epsilons=epsilons)(logits(), student, torch.zeros(64).long())
    loss.sum().backward()
    assert student.grad.abs().max() < 1e-7


def test_positive_coefficients_sharpen_and_negative_ones_flatten():
    teacher = logits().softmax(dim=1).max(dim=1).values
    assert (proxy_teacher(logits(), (1.0,)).max(dim=1).values > teacher).all()
    assert (proxy_teacher(logits(), (-0.5,)).max(dim=1).values < teacher).all()


def test_coefficients_that_are_not_convex_are_refused():
    assert is_convex((-5.0,), 10)
    assert not is_convex((0.0, -40.0), 10)
    with pytest.raises(SettingError, match="must keep every coordinate of the loss convex"):
        proxy_teacher(logits(), (0.0, -40.0))


def test_selection_finds_what_an_exhaustive_search_finds():
    labels = logits().argmax(dim=1)
    scored = select(logits(), labels, [*SETS[:2], (0.0, -40.0), (0.0, 0.0)])
    for score, epsilons in scored[:-1]:
        expected = distance_to_labels(proxy_teacher(logits(), epsilons), labels).item()
        assert score == pytest.approx(expected)
    assert [score for score, _ in scored] == sorted(score for score, _ in scored)
    assert scored[-1] == (float("inf"), (0.0, -40.0))
