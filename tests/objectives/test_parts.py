"""Every combination of parts, published or not, is an objective that can be trained and stored."""

import itertools
import math
from typing import get_args

import pytest
import torch

from kdsearch.objectives import Objective, divergences, from_spec, transforms, weights
from tests.objectives.batches import close, gradient, tensors

PARTS = {
    "teacher": (
        {"kind": "identity"},
        {"kind": "centred"},
        {"kind": "temperature", "temperature": 4.0},
        {"kind": "standardise", "temperature": 2.0},
        {"kind": "smoothed", "delta": 0.1},
        {"kind": "true_class", "temperature": 2.0},
        {"kind": "top_k", "k": 2},
        {"kind": "top_k", "k": 0.5, "temperature": 3.0},
        {"kind": "class_similarity", "power": 0.5},
    ),
    "student": (
        {"kind": "identity"},
        {"kind": "centred"},
        {"kind": "temperature", "temperature": 4.0},
        {"kind": "standardise", "temperature": 2.0},
    ),
    "divergence": (
        {"kind": "kl"},
        {"kind": "reverse_kl"},
        {"kind": "jensen_shannon"},
        {"kind": "mse"},
        {"kind": "perturbed_kl", "epsilons": [0.3, [0.1, 0.2, 0.3, 0.0, -0.1, -0.2, -0.3]]},
        {"kind": "decoupled", "alpha": 1.0, "beta": 2.0},
        {"kind": "normalised", "others": 2.0, "temperature": 3.0},
        {"kind": "relational", "inter": 1.0, "intra": 2.0},
    ),
    "weight": (
        {"kind": "uniform"},
        {"kind": "power_sum", "gamma": 0.25, "power": 0.5},
        {"kind": "power_sum", "gamma": 0.5, "normalise": True},
    ),
}

SPECS = [dict(zip(PARTS, parts, strict=True)) for parts in itertools.product(*PARTS.values())]


@pytest.mark.parametrize(
    ("part", "union"),
    [
        ("teacher", transforms.TeacherTransform),
        ("student", transforms.StudentTransform),
        ("divergence", divergences.Divergence),
        ("weight", weights.Weight),
    ],
)
def test_every_kind_of_part_is_in_the_table(part, union):
    kinds = [member.model_fields["kind"].default for member in get_args(get_args(union)[0])]
    assert list(dict.fromkeys(spec["kind"] for spec in PARTS[part])) == kinds


@pytest.mark.parametrize(
    "spec", SPECS, ids=["-".join(part["kind"] for part in spec.values()) for spec in SPECS]
)
def test_any_combination_trains_and_survives_json(spec):
    loss, (student, teacher, labels) = from_spec(spec), tensors(dtype=torch.float32)
    assert Objective.model_validate_json(loss.model_dump_json()) == loss
    assert hash(from_spec(loss.model_dump(mode="json"))) == hash(loss)
    assert loss(student, teacher, labels).isfinite()
    slope = gradient(lambda z: loss.terms(z, teacher, labels).soft, student)
    assert slope.isfinite().all()
    assert slope.abs().max() > 1e-6
    teacher.requires_grad_()
    assert not loss.weight(teacher.detach(), labels).requires_grad


@pytest.mark.parametrize("part", PARTS)
def test_no_two_parts_are_the_same_objective(part):
    # Under MSE, because no divergence of softmaxes sees a shift of the logits.
    mse = {"divergence": {"kind": "mse"}}
    losses = {from_spec(mse | {part: spec})(*tensors()).item() for spec in PARTS[part]}
    assert len(losses) == len(PARTS[part])


@pytest.mark.parametrize("scale", [2.0, 1000.0])
@pytest.mark.parametrize(
    ("part", "kept"), [({"kind": "true_class"}, 1), ({"kind": "top_k", "k": 2}, 2)]
)
def test_a_partial_target_spreads_the_rest_evenly_however_small(part, kept, scale):
    _, teacher, _ = tensors(scale=scale)
    labels = teacher.argmax(dim=1)
    log_p = teacher.log_softmax(1).sort(dim=1, descending=True).values
    target = (
        from_spec({"teacher": part}).teacher(teacher, labels).sort(dim=1, descending=True).values
    )
    close(target[:, :kept], log_p[:, :kept])
    rest = log_p[:, kept:].logsumexp(1, keepdim=True) - math.log(7 - kept)
    close(target[:, kept:], rest.expand(6, 7 - kept))
