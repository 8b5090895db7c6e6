"""The proxy teacher: stationary, minimal, and equal to what can be computed in another way."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize

from kdsearch.errors import SettingError
from kdsearch.objectives.divergences import PerturbedKL
from kdsearch.teachers.proxy import (
    candidates,
    distance_to_labels,
    is_convex,
    proxy_teacher,
    select,
)

SETS = [(0.5,), (-0.7,), (1.0, 0.5), (2.0, -0.3, 0.4), (0.3, 0.1, 0.0, 0.2, 1.5), (-1.5, 0.2)]


def logits(count=64, classes=10, scale=3.0):
    return torch.from_numpy(np.random.RandomState(0).normal(0, scale, (count, classes)))


def convex(order, per_class, seed):
    """Random coefficients, those of both signs halved until they are convex."""
    draw = np.random.RandomState(seed).uniform(-3, 6, (order, 10 if per_class else 1))
    while not is_convex(found := [row.tolist() if per_class else row.item() for row in draw], 10):
        draw[1:] /= 2
    return found


def extremes():
    """Teachers at the ends of float64, 10 classes: logits by name."""
    random, rows = np.random.RandomState(1), np.arange(512)
    one_hot, two, impossible = (np.zeros((512, 10)) for _ in range(3))
    one_hot[rows, rows % 10] = 1
    two[rows, rows % 10] = two[rows, (rows + 3) % 10] = 1
    impossible[rows, rows % 10] = impossible[rows, (rows + 4) % 10] = -np.inf
    tables = {
        "one-hot": 100 * one_hot - 50,
        "one-hot beyond float64": 4000 * one_hot,
        "all but one": 50 - 100 * one_hot,
        "two alike": 100 * two - 50,
        "signs": 50 * np.sign(random.normal(size=(512, 10))),
        "uniform": np.zeros((512, 10)),
        "nearly uniform": 1e-9 * random.normal(size=(512, 10)),
        "zero probabilities": impossible + 3 * random.normal(size=(512, 10)),
        "random and hot": 30 * random.normal(size=(512, 10)),
    }
    return {name: torch.from_numpy(table) for name, table in tables.items()}


def residual(teacher, proxy, epsilons):
    """How far t_c (1 / p_c + s_c) is from one number per example, relative; absent classes apart.

    It is 0 where the proxy is stationary on the simplex; a coefficient is one or one per class.
    """
    slope = sum(m * proxy.new_tensor(e) * (1 - proxy) ** (m - 1) for m, e in enumerate(epsilons, 1))
    present = proxy > 0
    terms = (teacher / proxy + teacher * slope).where(present, 0.0)
    # Weighted by p, as the gradient of the student's logits is: p_c (term_c - mu).
    mu = (proxy * terms).sum(dim=1, keepdim=True)
    scale = (proxy * terms.abs()).sum(dim=1, keepdim=True).clamp_min(1)
    plain = ((terms - mu).abs() / scale).where(teacher > 1e-12, 0.0)
    return max(plain.max(), (proxy * (terms - mu).abs() / scale).max()).item()


@pytest.mark.parametrize("per_class", [False, True], ids=["shared", "per class"])
@pytest.mark.parametrize("order", range(1, 8))
def test_it_is_stationary_for_thousands_of_teachers_at_once(order, per_class):
    for seed, scale in enumerate((0.1, 1.0, 3.0, 12.0)):
        epsilons, values = convex(order, per_class, seed), logits(4000, scale=scale)
        proxy = proxy_teacher(values, epsilons)
        assert residual(values.softmax(dim=1), proxy, epsilons) < 1e-9
        np.testing.assert_allclose(proxy.sum(dim=1), 1, atol=1e-12)


@pytest.mark.parametrize("per_class", [False, True], ids=["shared", "per class"])
@pytest.mark.parametrize("case", extremes())
def test_it_is_stationary_for_extreme_teachers(case, per_class):
    values = extremes()[case]
    teacher = values.softmax(dim=1)
    for order in range(1, 8):
        epsilons = convex(order, per_class, seed=order)
        proxy = proxy_teacher(values, epsilons)
        assert residual(teacher, proxy, epsilons) < 1e-9
        assert torch.equal(proxy > 0, teacher > 0)
        np.testing.assert_allclose(proxy.sum(dim=1), 1, atol=1e-12)


@pytest.mark.parametrize("order", range(1, 8))
def test_the_proxy_of_a_uniform_teacher_is_uniform(order):
    """By symmetry, whatever shared coefficients."""
    proxy = proxy_teacher(torch.zeros(3, 10), convex(order, per_class=False, seed=order))
    np.testing.assert_allclose(proxy, 0.1, atol=1e-13)


@pytest.mark.parametrize("order", [1, 3, 7])
def test_renaming_the_classes_renames_the_proxy(order):
    epsilons, names = convex(order, per_class=True, seed=7), [4, 2, 6, 0, 5, 9, 1, 3, 8, 7]
    renamed = [[row[c] for c in names] for row in epsilons]
    expected = proxy_teacher(logits(), epsilons)[:, names]
    np.testing.assert_allclose(proxy_teacher(logits()[:, names], renamed), expected, atol=1e-12)


@pytest.mark.parametrize("order", [1, 3, 7])
def test_equal_coefficients_per_class_are_shared_ones_and_each_example_stands_alone(order):
    epsilons = convex(order, per_class=False, seed=3)
    proxy = proxy_teacher(logits(), epsilons)
    np.testing.assert_allclose(
        proxy_teacher(logits(), [[e] * 10 for e in epsilons]), proxy, atol=1e-12
    )
    alone = torch.cat([proxy_teacher(row[None], epsilons) for row in logits()])
    np.testing.assert_allclose(alone, proxy, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 5, 7])
@pytest.mark.parametrize("per_class", [False, True], ids=["shared", "per class"])
def test_a_general_minimiser_finds_the_same_point_and_no_lower_one(order, per_class):
    """SciPy's SLSQP on the simplex, from the uniform distribution."""
    epsilons = convex(order, per_class, seed=11)
    table = np.array([np.broadcast_to(e, 10) for e in epsilons])
    powers = np.arange(1, order + 1)[:, None]
    for values in logits(6, scale=1.5):
        t = values.softmax(0).numpy()

        def loss(p, t=t):
            return (t * (-np.log(p) + (table * (1 - p) ** powers).sum(axis=0))).sum()

        found = minimize(
            loss,
            np.full(10, 0.1),
            method="SLSQP",
            bounds=[(1e-9, 1)] * 10,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        proxy = proxy_teacher(values[None], epsilons)[0].numpy()
        np.testing.assert_allclose(proxy, found.x, atol=1e-5)
        assert loss(proxy) <= loss(found.x / found.x.sum()) + 1e-13


@pytest.mark.parametrize("epsilons", SETS)
def test_no_neighbour_on_the_simplex_is_lower(epsilons):
    teacher, proxy = logits(), proxy_teacher(logits(), epsilons)

    def loss(point):
        return PerturbedKL(epsilons=epsilons)(teacher, point.log(), torch.zeros(64).long())

    for seed in range(20):
        noise = np.random.RandomState(seed).normal(0, 0.1, proxy.shape)
        near = (proxy.log() + torch.from_numpy(noise)).softmax(dim=1)
        assert (loss(near) >= loss(proxy) - 1e-12).all()


@pytest.mark.parametrize("epsilon", [-30.0, -5.0, -1.0, -0.3, 0.4, 3.0, 100.0])
def test_one_order_and_two_classes_by_the_quadratic_formula(epsilon):
    """t_c (1 / p_c + e) = mu gives p_c = t_c / (mu - e t_c); two of them sum to 1 where

    mu^2 - (1 + e) mu + e (e + 2) t_1 t_2 = 0, of which the larger root keeps both p_c > 0.
    """
    values = torch.linspace(-12, 12, 97).double()[:, None] * torch.tensor([1.0, 0.0])
    t, e = values.softmax(1), epsilon
    mu = (1 + e + ((1 + e) ** 2 - 4 * e * (e + 2) * t.prod(dim=1)).sqrt()) / 2
    expected = t / (mu[:, None] - e * t)
    # Where mu is the difference of two large numbers, the formula is the less exact of the two.
    np.testing.assert_allclose(proxy_teacher(values, (e,)), expected, rtol=1e-7)


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


@pytest.mark.parametrize(
    "epsilons",
    [(0.0, -40.0), (0.0, -0.51), (5.0, 0.0, -2.0), (0.0, [0.0] * 9 + [-1.0]), (1.0,) * 6 + (-9.0,)],
    ids=str,
)
def test_coefficients_that_are_not_convex_are_refused(epsilons):
    assert not is_convex(epsilons, 10)
    with pytest.raises(SettingError, match="must keep every coordinate of the loss convex"):
        proxy_teacher(logits(), epsilons)


def test_convexity_is_that_of_the_second_derivative():
    """1 / p^2 + sum_m m (m - 1) epsilon_m (1 - p)^(m - 2) > 0 on a fine grid of p."""
    assert is_convex((-1e6,), 10)
    p, random = np.linspace(1e-4, 1, 20_001), np.random.RandomState(0)
    verdicts = []
    for _ in range(200):
        epsilons = random.uniform(-1, 1, random.randint(2, 8)).tolist()
        bend = 1 + p**2 * sum(
            m * (m - 1) * e * (1 - p) ** (m - 2) for m, e in enumerate(epsilons, start=1) if m > 1
        )
        if abs(bend.min()) > 1e-6:  # the grid cannot tell nearer to zero
            verdicts.append(is_convex(epsilons, 10))
            assert verdicts[-1] == (bend.min() > 0)
    assert 20 < sum(verdicts) < 180


@pytest.mark.parametrize("truth", [0.5, 1.5], ids=["overconfident", "underconfident"])
@pytest.mark.parametrize(("seed", "scale"), [(0, 1.0), (1, 3.0)])
def test_selection_by_halving_agrees_with_scoring_all_candidates_on_all_examples(
    seed, scale, truth
):
    """Where the best two nearly tie, a subset of the examples may prefer the second."""
    random = torch.Generator().manual_seed(seed)
    values = scale * torch.randn(1500, 10, generator=random)
    labels = (truth * values).softmax(1).multinomial(1, generator=random)[:, 0]
    sets = [each for each in candidates(64, 4, -1.0, 3.0, seed) if is_convex(each, 10)]
    scores = {each: distance_to_labels(proxy_teacher(values, each), labels).item() for each in sets}
    found = select(values, labels, sets)
    best, second, *_, worst = sorted(scores.values())
    assert len(found) < len(sets)
    for score, each in found:
        assert score == pytest.approx(scores[each], rel=1e-12)
    assert found[0][0] - best <= 0.01 * (worst - best)
    if second - best > 0.01 * (worst - best):
        assert found[0][1] == min(scores, key=scores.__getitem__)


def test_selection_of_few_examples_is_exhaustive_and_sets_the_rest_apart():
    labels = logits().argmax(dim=1)
    scored = select(logits(), labels, [*SETS[:2], (0.0, -40.0), (0.0, 0.0)])
    for score, epsilons in scored[:-1]:
        expected = distance_to_labels(proxy_teacher(logits(), epsilons), labels).item()
        assert score == pytest.approx(expected)
    assert [score for score, _ in scored] == sorted(score for score, _ in scored)
    assert scored[-1] == (float("inf"), (0.0, -40.0))
