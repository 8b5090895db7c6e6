"""What the papers prove about their objectives, as exact equalities.

TTM and WTTM (arXiv 2402.11148), KL against MSE (2105.08919), gradient rescaling (2002.03532),
logit standardisation (2403.01427), and which objective is a case of which. Throughout: p is the
teacher's softmax, q the student's, and a subscript T means logits divided by T.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from kdsearch.objectives import Objective, objective
from kdsearch.objectives.balance import Balance
from kdsearch.objectives.transforms import Temperature
from kdsearch.objectives.weights import PowerSum
from tests.objectives.batches import close, gradient, tensors

every_temperature = pytest.mark.parametrize("temperature", [1.5, 4.0, 10.0])


def distance(student, teacher, labels, at_student=1.0, at_teacher=1.0, **parts):
    """The divergence per example, KL unless named, at a temperature for each side."""
    return (
        Objective(
            teacher=Temperature(temperature=at_teacher),
            student=Temperature(temperature=at_student),
            balance=Balance(hard=0, soft=1),
            **parts,
        )
        .terms(student, teacher, labels)
        .soft
    )


def entropy(probabilities):
    return -(probabilities * probabilities.log()).sum(dim=1)


def renyi_entropy(probabilities, order):
    return (probabilities**order).sum(dim=1).log() / (1 - order)


# Transformed teacher matching ---------------------------------------------------------------------


@every_temperature
def test_ttm_is_kd_less_the_students_renyi_entropy(temperature):
    """Eq. 15: D(p_T || q) = T D(p_T || q_T) - (T - 1) H_1/T(q) + (T - 1) H(p_T)."""
    student, teacher, labels = tensors()
    left = distance(student, teacher, labels, at_teacher=temperature)
    matched = distance(student, teacher, labels, temperature, temperature)
    regulariser = renyi_entropy(student.softmax(1), 1 / temperature)
    constant = entropy((teacher / temperature).softmax(1))
    close(left, temperature * matched - (temperature - 1) * (regulariser - constant))


@every_temperature
@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
def test_ttm_loss_is_kd_loss_less_renyi_entropy_where_beta_is_lam_t_over_1_minus_lam(
    temperature, lam
):
    """Eqs. 16-19; lam 0.9 and temperature 4 give the beta of 36 in the paper's Figure 1."""
    student, teacher, labels = tensors()
    beta = lam * temperature / (1 - lam)
    ttm = sum(objective("ttm", temperature=temperature, beta=beta).terms(student, teacher, labels))
    kd = sum(objective("kd", temperature=temperature, lam=lam).terms(student, teacher, labels))
    regulariser = renyi_entropy(student.softmax(1), 1 / temperature)
    constant = beta * (temperature - 1) * entropy((teacher / temperature).softmax(1))
    close(ttm, (kd - lam * temperature * (temperature - 1) * regulariser) / (1 - lam) + constant)


@every_temperature
def test_temperature_is_the_power_transform(temperature):
    _, teacher, labels = tensors()
    powers = teacher.softmax(1) ** (1 / temperature)
    tempered = Temperature(temperature=temperature)(teacher, labels).softmax(1)
    close(tempered, powers / powers.sum(dim=1, keepdim=True), tolerance=1e-14)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_the_power_sum_by_both_formulas(gamma):
    _, teacher, labels = tensors()
    weight = PowerSum(gamma=gamma)(teacher, labels)
    close(weight, (teacher.softmax(1) ** gamma).sum(dim=1), tolerance=1e-14)
    logs = (gamma * teacher).logsumexp(1) - gamma * teacher.logsumexp(1)
    close(weight, logs.exp(), tolerance=1e-13)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
def test_the_power_sum_lies_between_a_one_hot_and_a_uniform_teacher(gamma):
    _, teacher, labels = tensors(examples=200)
    weight = PowerSum(gamma=gamma)
    unsure, ones = teacher * 0, torch.ones(200).double()
    assert (weight(teacher, labels) > 1).all()
    assert (weight(teacher, labels) < 7 ** (1 - gamma)).all()
    close(weight(1e4 * F.one_hot(labels, 7).double(), labels), ones, tolerance=1e-14)
    close(weight(unsure, labels), 7 ** (1 - gamma) * ones, tolerance=1e-14)


def test_the_power_sum_of_a_confident_teacher_does_not_underflow():
    """exp(-110) is 0 in float32, its tenth root is not."""
    teacher, labels = torch.tensor([[110.0, 0, 0, 0, 0, 0, 0]]), torch.tensor([0])
    expected = torch.tensor([1 + 6 * math.exp(-11)])
    close(PowerSum(gamma=0.1)(teacher, labels), expected, tolerance=1e-6)


@every_temperature
def test_weighted_ttm_is_ttm_times_the_power_sum(temperature):
    batch = tensors()
    settings = {"temperature": temperature, "beta": 3.0}
    power_sum = PowerSum(gamma=1 / temperature)(batch[1], batch[2])
    ttm = objective("ttm", **settings).terms(*batch)
    for power in (0.0, 0.5, 1.0):
        wttm = objective("wttm", **settings, weighting_power=power).terms(*batch)
        close(wttm.soft, power_sum**power * ttm.soft, tolerance=1e-13)
        assert torch.equal(wttm.hard, ttm.hard)


@every_temperature
def test_the_gradients_of_ttm_and_kd(temperature):
    """Eqs. 20 and 21: q - p_T, and (q_T - p_T) / T."""
    student, teacher, labels = tensors()
    target, tempered = (x.div(temperature).softmax(1) for x in (teacher, student))
    ttm = gradient(lambda z: distance(z, teacher, labels, at_teacher=temperature), student)
    kd = gradient(lambda z: distance(z, teacher, labels, temperature, temperature), student)
    close(ttm, student.softmax(1) - target, tolerance=1e-14)
    close(kd, (tempered - target) / temperature, tolerance=1e-14)


# KL and MSE ---------------------------------------------------------------------------------------


def test_a_hot_kd_gradient_is_the_centred_difference_of_logits():
    """Temperature to infinity, in first order: a hundred times hotter is a hundred times nearer."""
    student, teacher, labels = tensors()
    difference = student - teacher
    limit = (difference - difference.mean(dim=1, keepdim=True)) / 7
    errors = []
    for temperature in (1e2, 1e4, 1e6):
        loss = objective("kd", temperature=temperature, lam=1.0)
        slope = gradient(lambda z, loss=loss: loss.terms(z, teacher, labels).soft, student)
        errors.append((slope - limit).abs().max().item())
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.01)


def test_an_infinite_temperature_is_the_limit_itself():
    student, teacher, labels = tensors()
    difference = student - teacher
    loss = objective("kd", temperature=math.inf, lam=1.0)
    slope = gradient(lambda z: loss.terms(z, teacher, labels).soft, student)
    close(slope, (difference - difference.mean(dim=1, keepdim=True)) / 7, tolerance=1e-14)
    mse = objective("logit_mse").terms(student, teacher, labels).soft
    limit = mse / 2 - difference.mean(dim=1).square() / 2
    close(loss.terms(student, teacher, labels).soft, limit, tolerance=1e-14)


def test_a_hot_kd_loss_is_half_the_mse_less_the_squared_mean_shift():
    batch = student, teacher, _ = tensors()
    shift = (student - teacher).mean(dim=1)
    limit = objective("logit_mse").terms(*batch).soft / 2 - shift.square() / 2
    errors = []
    for temperature in (1e2, 1e3, 1e4):
        soft = objective("kd", temperature=temperature, lam=1.0).terms(*batch).soft
        errors.append((soft - limit).abs().max().item())
    assert errors[0] < 0.2
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("temperature", [0.2, 0.1, 0.03])
def test_a_cold_kd_gradient_matches_only_the_labels_that_both_would_predict(temperature):
    """Divided by the temperature; with gaps of 1 between logits the error is about exp(-1/T)."""
    student = torch.stack([torch.arange(7.0), torch.arange(7.0).flip(0)]).double()
    teacher, labels = student.roll(3, dims=1), torch.tensor([0, 1])
    loss = objective("kd", temperature=temperature, lam=1.0)
    slope = gradient(lambda z: loss.terms(z, teacher, labels).soft, student) / temperature
    limit = F.one_hot(student.argmax(1), 7) - F.one_hot(teacher.argmax(1), 7)
    assert (slope - limit).abs().max() < 2 * math.exp(-1 / temperature) + 1e-15


# Gradient rescaling -------------------------------------------------------------------------------


@every_temperature
@pytest.mark.parametrize("lam", [0.3, 1.0])
def test_kd_rescales_the_label_gradient_by_the_teachers_confidence(temperature, lam):
    """w = 1 - lam + lam / T (p_T - q_T) / (1 - q) at the true class, and for all others summed."""
    student, teacher, labels = tensors()
    tempered = Temperature(temperature=temperature)
    kd = Objective(teacher=tempered, student=tempered, balance=Balance.convex(lam))
    slope = gradient(lambda z: sum(kd.terms(z, teacher, labels)), student)
    true = F.one_hot(labels, 7).bool()
    q, q_t, p_t = (
        x.softmax(1)[true] for x in (student, student / temperature, teacher / temperature)
    )
    weight = (1 - lam) + lam / temperature * (p_t - q_t) / (1 - q)
    close(slope[true] / (q - 1), weight)
    close(
        slope.masked_fill(true, 0).sum(1) / student.softmax(1).masked_fill(true, 0).sum(1), weight
    )


# One objective as a case of another ---------------------------------------------------------------


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
