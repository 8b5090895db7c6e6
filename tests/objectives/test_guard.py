"""The guard: every published objective passes, and what means nothing is refused with a reason."""

import pytest
import torch

from kdsearch import catalogue, objective
from kdsearch.objectives import PAPERS, from_spec
from kdsearch.objectives.guard import refusal

MSE = {"kind": "mse"}
SMOOTHED = {"kind": "smoothed", "delta": 0.1}
TRUE_CLASS = {"kind": "true_class"}
STANDARDISED = {"kind": "standardise", "temperature": 2.0}
WEIGHTED = {"kind": "power_sum", "gamma": 0.1}


@pytest.mark.parametrize("name", catalogue.names(PAPERS))
def test_published_objectives_pass(name):
    assert refusal(objective(name)) == ""


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"balance": {"hard": 0, "soft": 0}}, "neither labels nor teacher"),
        ({"divergence": MSE, "teacher": TRUE_CLASS}, "logits with log-probabilities"),
        ({"divergence": MSE, "teacher": {"kind": "top_k", "k": 2}}, "logits with log-prob"),
        ({"divergence": MSE, "teacher": STANDARDISED}, "standardised logits with raw ones"),
        ({"divergence": MSE, "student": STANDARDISED}, "standardised logits with raw ones"),
        ({"divergence": {"kind": "reverse_kl"}, "teacher": SMOOTHED}, "cross entropy, which is KL"),
        ({"weight": WEIGHTED, "teacher": SMOOTHED}, "does not contain"),
        ({"divergence": {"kind": "decoupled"}, "teacher": SMOOTHED}, "in which they are all alike"),
        ({"divergence": {"kind": "normalised"}, "teacher": SMOOTHED}, "in which they are all alik"),
    ],
)
def test_what_means_nothing_is_refused_with_a_reason(spec, reason):
    assert reason in refusal(from_spec(spec))


def test_without_soft_weight_the_other_parts_do_not_matter():
    assert (
        refusal(from_spec({"divergence": MSE, "teacher": TRUE_CLASS, "balance": {"soft": 0}})) == ""
    )


def test_nothing_is_learned_where_nothing_is_weighed():
    student = torch.randn(4, 5, requires_grad=True)
    loss = from_spec({"balance": {"hard": 0, "soft": 0}})(
        student, student.detach(), torch.arange(4)
    )
    assert loss.item() == 0
    assert not loss.requires_grad
