"""What each divergence owes by itself, with DKD's (arXiv 2203.08679), NKD's and DIST's laws.

PTLoss's (2305.05010) are in `test_checklist.py`, but for two about its coefficients.
"""

import math

import numpy as np
import pytest
import torch

from kdsearch.objectives.divergences import (
    KL,
    MSE,
    Decoupled,
    JensenShannon,
    Normalised,
    PerturbedKL,
    Relational,
    ReverseKL,
)
from tests.objectives import reference
from tests.objectives.batches import close, gradient, tensors


def perturbed(epsilons, batch):
    return PerturbedKL(epsilons=epsilons)(*batch)


def cross_entropy(p, student):
    return -(p * student.log_softmax(1)).sum(dim=1)


@pytest.mark.parametrize(
    ("divergence", "function"),
    [
        (KL(), reference.kl),
        (ReverseKL(), lambda p, q: reference.kl(q, p)),
        (JensenShannon(), reference.js),
        (JensenShannon(beta=0.1), lambda p, q: reference.js(p, q, 0.1)),
    ],
    ids=lambda part: getattr(part, "kind", ""),
)
def test_values_equal_the_reference(divergence, function):
    student, teacher, _ = reference.batch()
    expected = [
        function(reference.softmax(v), reference.softmax(z))
        for z, v in zip(student, teacher, strict=True)
    ]
    student, teacher, labels = tensors()
    np.testing.assert_allclose(divergence(teacher, student, labels).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("divergence", "tolerance"),
    [
        (KL(), 0),
        (ReverseKL(), 0),
        (JensenShannon(), 1e-15),
        (MSE(), 0),
        (PerturbedKL(epsilons=(0.0, 0.0)), 0),
        (Decoupled(), 0),
        (Relational(), 1e-5),  # the authors' 1e-8 beside the norms
    ],
    ids=lambda part: getattr(part, "kind", ""),
)
def test_a_student_that_equals_its_teacher_is_at_distance_zero_without_slope(divergence, tolerance):
    logits, _, labels = tensors()
    assert divergence(logits, logits, labels).abs().max() <= tolerance
    slope = gradient(lambda z: divergence(logits, z, labels), logits)
    assert slope.abs().max() <= max(tolerance, 1e-14)


@pytest.mark.parametrize(
    "divergence",
    [KL(), ReverseKL(), JensenShannon(), MSE(), Decoupled(), Relational()],
    ids=lambda part: part.kind,
)
def test_a_student_that_differs_is_at_a_positive_distance(divergence):
    student, teacher, labels = tensors(examples=100)
    assert (divergence(teacher, student, labels) > 1e-3).all()


@pytest.mark.parametrize(
    "divergence",
    [
        *(KL(), ReverseKL(), JensenShannon(), PerturbedKL(epsilons=(0.3, -0.1)), Decoupled()),
        Normalised(temperature=3.0),
    ],
    ids=lambda part: part.kind,
)
def test_a_class_that_is_impossible_on_both_sides_counts_nothing(divergence):
    student, teacher, labels = tensors()
    never = torch.full((6, 1), -torch.inf).double()
    wider = [torch.cat([logits, never], dim=1) for logits in (teacher, student)]
    close(divergence(*wider, labels), divergence(teacher, student, labels))
    slope = gradient(lambda z: divergence(wider[0], z, labels), wider[1])
    expected = gradient(lambda z: divergence(teacher, z, labels), student)
    close(slope, torch.cat([expected, 0 * expected[:, :1]], dim=1))


def test_reverse_kl_is_kl_with_both_sides_exchanged():
    student, teacher, labels = tensors()
    assert torch.equal(ReverseKL()(teacher, student, labels), KL()(student, teacher, labels))


def test_jensen_shannon_is_symmetric_and_at_most_log_2():
    student, teacher, labels = tensors(examples=200, scale=20.0)
    there, back = (
        JensenShannon()(*pair, labels) for pair in ((teacher, student), (student, teacher))
    )
    close(there, back, tolerance=1e-14)
    assert (there > 0).all()
    assert (there <= math.log(2)).all()
    apart = 1e4 * torch.eye(7).double()
    close(
        JensenShannon()(apart, apart.roll(1, 0), labels[:7]),
        torch.full((7,), math.log(2), dtype=torch.float64),
    )


@pytest.mark.parametrize("beta", [0.1, 0.3])
def test_jensen_shannon_at_the_other_beta_is_that_with_both_sides_exchanged(beta):
    student, teacher, labels = tensors()
    there = JensenShannon(beta=beta)(teacher, student, labels)
    back = JensenShannon(beta=1 - beta)(student, teacher, labels)
    close(there, back, tolerance=1e-14)


@pytest.mark.parametrize(
    ("near", "limit"), [(lambda b: b, KL()), (lambda b: 1 - b, ReverseKL())], ids=["kl", "reverse"]
)
def test_jensen_shannon_tends_to_kl_and_to_reverse_kl_in_first_order(near, limit):
    """JS / min(beta, 1 - beta); a tenth of the distance to the end leaves a tenth of the error."""
    student, teacher, labels = tensors()
    expected = limit(teacher, student, labels)
    errors = [
        (JensenShannon(beta=near(share))(teacher, student, labels) / share - expected).abs().max()
        for share in (1e-3, 1e-4, 1e-5)
    ]
    assert errors[0] < 0.2
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.05)


def test_kl_is_the_true_class_against_the_rest_and_the_rest_weighted_by_doubt():
    """DKD: KL = TCKD + (1 - p_true) NCKD, example by example."""
    student, teacher, labels = tensors()
    batch = teacher, student, labels
    target, rest = Decoupled(alpha=1, beta=0), Decoupled(alpha=0, beta=1)
    doubt = 1 - teacher.softmax(1).gather(1, labels[:, None])[:, 0]
    close(KL()(*batch), target(*batch) + doubt * rest(*batch), tolerance=1e-13)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_nkd_is_confidence_times_label_loss_plus_dkd_among_the_others(temperature):
    """NKD = p_y CE(z, y) + others (NCKD + H), H the entropy of the teacher's other classes."""
    student, teacher, labels = tensors()
    true = labels[:, None]
    confidence = teacher.softmax(1).gather(1, true)[:, 0]
    label_loss = -student.log_softmax(1).gather(1, true)[:, 0]
    among = Decoupled(alpha=0, beta=1)(teacher / temperature, student / temperature, labels)
    p = teacher.scatter(1, true, -torch.inf).div(temperature).softmax(1)
    entropy = -torch.xlogy(p, p).sum(dim=1)
    nkd = Normalised(others=2.5, temperature=temperature)(teacher, student, labels)
    close(nkd, confidence * label_loss + 2.5 * (among + entropy), tolerance=1e-13)


def test_nkd_at_weight_doubt_is_the_cross_entropy_less_the_mass_of_the_others():
    """CE(p, q) = -p_y log q_y + (1 - p_y) (CE(others) - log(1 - q_y)): what is left is the mass."""
    student, teacher, labels = tensors()
    doubt, mass = (1 - x.softmax(1).gather(1, labels[:, None])[:, 0] for x in (teacher, student))
    with_others, without = (
        Normalised(others=weight)(teacher, student, labels) for weight in (1.0, 0.0)
    )
    expected = cross_entropy(teacher.softmax(1), student)
    close(without + doubt * (with_others - without - mass.log()), expected, tolerance=1e-13)


def test_nkd_draws_the_true_class_up_even_where_the_student_equals_its_teacher():
    """The gradient there is p_y (p - y): the label's, weighted by the teacher's confidence."""
    _, teacher, labels = tensors()
    p, true = teacher.softmax(1), torch.nn.functional.one_hot(labels, 7)
    expected = (p * true).sum(dim=1, keepdim=True) * (p - true)
    close(gradient(lambda z: Normalised(temperature=2.0)(teacher, z, labels), teacher), expected)


def test_dist_is_blind_to_a_teacher_mixed_with_the_uniform_distribution():
    """Correlation ignores q = a p + b; the authors' 1e-8 keeps it just above zero."""
    _, teacher, labels = tensors()
    mixed = (0.4 * teacher.softmax(1) + 0.6 / 7).log()
    assert Relational()(teacher, mixed, labels).abs().max() < 1e-5
    assert KL()(teacher, mixed, labels).min() > 0.01


# PTLoss -------------------------------------------------------------------------------------------


def test_equal_coefficients_per_class_are_one_shared_coefficient():
    student, teacher, labels = tensors()
    batch = teacher, student, labels
    assert torch.equal(perturbed(((0.4,) * 7, (-0.3,) * 7), batch), perturbed((0.4, -0.3), batch))


def test_one_shared_coefficient_of_first_order_rewards_agreement():
    """It adds epsilon (1 - p . q)."""
    student, teacher, labels = tensors()
    batch = teacher, student, labels
    agreement = (teacher.softmax(1) * student.softmax(1)).sum(dim=1)
    close(perturbed((0.7,), batch), KL()(*batch) + 0.7 * (1 - agreement))
