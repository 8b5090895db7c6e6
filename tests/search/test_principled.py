"""Principled selection: PTLoss's coefficients by their proxy teachers, before any student."""

import numpy as np
import pytest
import torch

from kdsearch import data
from kdsearch.search.principled import Principled
from kdsearch.search.study import Study
from kdsearch.teachers import proxy

EPSILONS = [{"uniform": [-0.5, 3]}, {"uniform": [0, 2]}]
PTLOSS = {"name": "ptloss", "epsilons": EPSILONS, "lam": {"uniform": [0, 1]}}


@pytest.fixture(scope="module")
def splits():
    return data.load("digits", validation=0.2)


@pytest.fixture(scope="module")
def logits(splits):
    """A teacher that is right nine times in ten, and never sure."""
    random = np.random.default_rng(0)
    labels = splits.labels[splits.fitted]
    wrong = random.random(len(labels)) < 0.1
    shown = np.where(wrong, (labels + 1) % 10, labels)
    noise = random.normal(size=(len(labels), 10))
    return (2.5 * np.eye(10)[shown] + noise).astype(np.float32)


@pytest.fixture
def principled(content, splits, logits):
    def build(option):
        space = {**content["space"], "objective": {"choice": [{"name": "ce"}, option]}}
        validation = logits[splits.fitted.searchsorted(splits.validation)]
        return Principled(Study.of(content | {"space": space}), splits, validation)

    return build


def test_the_best_coefficients_come_nearer_to_the_labels_than_plain_kl(principled):
    ranked = principled(PTLOSS).ranked(64)
    scores = {point: score for score, point in ranked}
    assert [score for score, _ in ranked] == sorted(scores.values())
    assert ranked[0][0] < scores[0.0, 0.0]
    for _, (first, second) in ranked:
        assert (first, second) == (0.0, 0.0) or (-0.5 <= first <= 3 and 0 <= second <= 2)
    assert ranked == principled(PTLOSS).ranked(64)


def test_a_score_is_the_distance_on_validation_alone(principled, splits, logits):
    spec = {"name": "ptloss", "epsilons": [1.0, 0.5], "temperature": 2.0}
    rows = np.isin(splits.fitted, splits.validation)
    found = proxy.proxy_teacher(torch.from_numpy(logits[rows]), [1.0, 0.5], temperature=2.0)
    labels = torch.from_numpy(splits.labels[splits.fitted][rows])
    expected = proxy.distance_to_labels(found, labels).item()
    assert principled(PTLOSS).score(spec) == pytest.approx(expected)


@pytest.mark.parametrize("spec", [{"name": "kd"}, {"name": "ptloss", "epsilons": [0.0, -40.0]}])
def test_without_a_proxy_teacher_there_is_no_score(spec, principled):
    assert principled(PTLOSS).score(spec) is None


def test_the_choice_is_a_draw_of_the_space_with_published_settings_beside(principled, content):
    chosen = principled(PTLOSS)
    ranked = chosen.ranked(16)
    draw = chosen.first(ranked)
    best = next(list(point) for _, point in ranked if any(point))
    assert draw["objective"] == {"name": "ptloss", "epsilons": best, "temperature": 1.0, "lam": 1.0}
    assert draw["recipe"] == {"learning_rate": 0.1}


@pytest.mark.parametrize(
    "option",
    [
        {"name": "kd"},
        {"name": "ptloss"},
        {"name": "ptloss", "epsilons": [0.5, {"uniform": [0, 1]}]},
        {"name": "ptloss", "epsilons": [{"choice": [0, 1]}]},
    ],
)
def test_without_ranges_nothing_is_chosen(option, principled):
    assert principled(option).ranked(8) == []
    assert principled(option).first([]) is None
