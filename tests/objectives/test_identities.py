"""Which objective is a case of which: equalities beside the papers' own in `test_checklist.py`.

And what a weight, logit standardisation (2403.01427) and DKD (2203.08679) owe by themselves.
"""

import math

import pytest
import torch

from kdsearch.objectives import objective
from kdsearch.objectives.weights import PowerSum
from tests.objectives.batches import close, gradient, tensors


def test_the_power_sum_of_a_confident_teacher_does_not_underflow():
    """exp(-110) is 0 in float32, its tenth root is not."""
    teacher, labels = torch.tensor([[110.0, 0, 0, 0, 0, 0, 0]]), torch.tensor([0])
    expected = torch.tensor([1 + 6 * math.exp(-11)])
    close(PowerSum(gamma=0.1)(teacher, labels), expected, tolerance=1e-6)


@pytest.mark.parametrize(
    ("left", "right", "classes"),
    [
        (("kd_topk", {"k": 7}), ("kd", {}), 7),
        (("kd_topk", {"k": 9}), ("kd", {}), 7),
        (("kd_topk", {"k": 1}), ("kd_topk", {"k": 0.14}), 7),
        (("kd_topk", {"k": 1}), ("kd_topk", {"k": 0.01}), 7),
        (("kd_topk", {"k": 1, "lam": 0.4}), ("kd", {"lam": 0.4}), 2),
        (("kd_pt", {}), ("kd", {}), 2),
        (("wttm", {"temperature": 1.0}), ("ttm", {"temperature": 1.0, "beta": 3.0}), 7),
        (("label_smoothing", {"delta": 0.0}), ("ce", {}), 7),
        (("kd", {"lam": 0.0}), ("ce", {}), 7),
        (("ttm", {"beta": 0.0}), ("ce", {}), 7),
    ],
    ids=str,
)
def test_one_objective_is_a_case_of_another(left, right, classes):
    student, teacher, labels = tensors(classes=classes)
    slopes = []
    for name, settings in (left, right):
        loss = objective(name, **settings)
        slopes.append(gradient(lambda z, loss=loss: loss(z, teacher, labels), student))
    totals = [sum(objective(n, **s).terms(student, teacher, labels)) for n, s in (left, right)]
    close(*totals, tolerance=1e-12)
    close(*slopes, tolerance=1e-12)


def test_standardised_logits_forget_shift_and_scale():
    """Up to the authors' 1e-7 beside the standard deviation."""
    student, teacher, labels = tensors()
    soft = objective("logit_standardisation").terms(student, teacher, labels).soft
    scale = torch.linspace(0.5, 20, 6).double()[:, None]
    moved = objective("logit_standardisation").terms(
        scale * student - 3, teacher / scale + 40, labels
    )
    close(moved.soft, soft, tolerance=1e-5)


@pytest.mark.parametrize(
    ("epoch", "share"), [(1, 0.05), (5, 0.25), (19, 0.95), (20, 1), (21, 1), (300, 1), (None, 1)]
)
def test_dkd_warms_its_soft_term_up_over_twenty_epochs(epoch, share):
    full, now = (objective("dkd").terms(*tensors(), epoch=e) for e in (None, epoch))
    assert torch.equal(now.hard, full.hard)
    close(now.soft, share * full.soft, tolerance=1e-14)
