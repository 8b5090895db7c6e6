"""What the four founding papers prove about their objectives, item by item, in float64.

1. TTM is KD less the student's Renyi entropy (arXiv 2402.11148).
2. Temperature is the power transform, and WTTM is TTM times a power sum (the same paper).
3. KL tends to squared differences of centred logits as T grows, to label matching as it falls
   (arXiv 2105.08919).
4. PTLoss contains KL, focal loss and label smoothing, and its proxy teacher is its minimiser
   (arXiv 2305.05010).
5. KD rescales the gradient of the labels by the teacher's confidence (arXiv 2002.03532).

Throughout: p is the teacher's softmax, q the student's, and a subscript T means logits over T.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdsearch.objectives import Objective, objective
from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL, PerturbedKL
from kdsearch.objectives.transforms import Temperature
from kdsearch.objectives.weights import PowerSum
from kdsearch.teachers.proxy import proxy_teacher
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


# 1. Transformed teacher matching ------------------------------------------------------------------


@every_temperature
def test_1_ttm_is_kd_less_the_students_renyi_entropy(temperature):
    """Eq. 15: D(p_T || q) = T D(p_T || q_T) - (T - 1) H_1/T(q) + (T - 1) H(p_T)."""
    student, teacher, labels = tensors()
    left = distance(student, teacher, labels, at_teacher=temperature)
    matched = distance(student, teacher, labels, temperature, temperature)
    regulariser = renyi_entropy(student.softmax(1), 1 / temperature)
    constant = entropy((teacher / temperature).softmax(1))
    close(left, temperature * matched - (temperature - 1) * (regulariser - constant))


@every_temperature
@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
def test_1_ttm_loss_is_kd_loss_less_renyi_entropy_where_beta_is_lam_t_over_1_minus_lam(
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


# 2. The power transform and the power sum ---------------------------------------------------------


@every_temperature
def test_2_temperature_is_the_power_transform(temperature):
    """Eqs. 7-9."""
    _, teacher, labels = tensors()
    powers = teacher.softmax(1) ** (1 / temperature)
    tempered = Temperature(temperature=temperature)(teacher, labels).softmax(1)
    close(tempered, powers / powers.sum(dim=1, keepdim=True), tolerance=1e-14)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_2_the_power_sum_by_both_formulas(gamma):
    _, teacher, labels = tensors()
    weight = PowerSum(gamma=gamma)(teacher, labels)
    close(weight, (teacher.softmax(1) ** gamma).sum(dim=1), tolerance=1e-14)
    logs = (gamma * teacher).logsumexp(1) - gamma * teacher.logsumexp(1)
    close(weight, logs.exp(), tolerance=1e-13)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
def test_2_the_power_sum_lies_between_a_one_hot_and_a_uniform_teacher(gamma):
    """1 <= U <= C^(1 - gamma), both reached."""
    _, teacher, labels = tensors(examples=200)
    weight = PowerSum(gamma=gamma)
    unsure, ones = teacher * 0, torch.ones(200).double()
    assert (weight(teacher, labels) > 1).all()
    assert (weight(teacher, labels) < 7 ** (1 - gamma)).all()
    close(weight(1e4 * F.one_hot(labels, 7).double(), labels), ones, tolerance=1e-14)
    close(weight(unsure, labels), 7 ** (1 - gamma) * ones, tolerance=1e-14)


@every_temperature
def test_2_weighted_ttm_is_ttm_times_the_power_sum(temperature):
    batch = tensors()
    settings = {"temperature": temperature, "beta": 3.0}
    power_sum = PowerSum(gamma=1 / temperature)(batch[1], batch[2])
    ttm = objective("ttm", **settings).terms(*batch)
    for power in (0.0, 0.5, 1.0):
        wttm = objective("wttm", **settings, weighting_power=power).terms(*batch)
        close(wttm.soft, power_sum**power * ttm.soft, tolerance=1e-13)
        assert torch.equal(wttm.hard, ttm.hard)


@every_temperature
def test_2_the_gradients_of_ttm_wttm_and_kd(temperature):
    """Eqs. 20 and 21: q - p_T, U (q - p_T), and (q_T - p_T) / T."""
    student, teacher, labels = tensors()
    target, tempered = (x.div(temperature).softmax(1) for x in (teacher, student))
    weight = PowerSum(gamma=1 / temperature)
    ttm = gradient(lambda z: distance(z, teacher, labels, at_teacher=temperature), student)
    wttm = gradient(
        lambda z: distance(z, teacher, labels, at_teacher=temperature, weight=weight), student
    )
    kd = gradient(lambda z: distance(z, teacher, labels, temperature, temperature), student)
    close(ttm, student.softmax(1) - target, tolerance=1e-14)
    power_sum = (teacher.softmax(1) ** (1 / temperature)).sum(dim=1, keepdim=True)
    close(wttm, power_sum * (student.softmax(1) - target), tolerance=1e-13)
    close(kd, (tempered - target) / temperature, tolerance=1e-14)


# 3. KL and MSE ------------------------------------------------------------------------------------


def centred(difference):
    return difference - difference.mean(dim=1, keepdim=True)


def slope_of_kd(temperature, student, teacher, labels):
    loss = objective("kd", temperature=temperature, lam=1.0)
    return gradient(lambda z: loss.terms(z, teacher, labels).soft, student)


def test_3_a_hot_kd_gradient_is_the_centred_difference_of_logits():
    """Theorem 1, in first order of 1/T; 10 classes and logits of deviation 3.

    The typical example is off by about 0.013 at T = 1e2, 1.3e-4 at 1e4 and 1.3e-6 at 1e6.
    """
    student, teacher, labels = tensors(examples=200, classes=10, scale=3.0)
    limit, largest = centred(student - teacher) / 10, []
    for temperature in (1e2, 1e4, 1e6):
        errors = (slope_of_kd(temperature, student, teacher, labels) - limit).abs().amax(dim=1)
        assert errors.median().item() == pytest.approx(1.3 / temperature, rel=0.15)
        largest.append(errors.max().item())
    assert largest[0] < 0.05
    assert largest[0] / largest[1] == pytest.approx(100, rel=0.1)
    assert largest[1] / largest[2] == pytest.approx(100, rel=0.01)


def test_3_a_hot_kd_loss_is_half_the_mse_less_the_squared_mean_shift():
    """|z - v|^2 / (2 C) - mean(z - v)^2 / 2: KL does not see a shift of the logits, MSE does."""
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


def test_3_an_infinite_temperature_is_that_limit_itself():
    student, teacher, labels = tensors()
    slope = slope_of_kd(math.inf, student, teacher, labels)
    close(slope, centred(student - teacher) / 7, tolerance=1e-14)
    soft = objective("kd", temperature=math.inf, lam=1.0).terms(student, teacher, labels).soft
    mse = objective("logit_mse").terms(student, teacher, labels).soft
    limit = mse / 2 - (student - teacher).mean(dim=1).square() / 2
    close(soft, limit, tolerance=1e-14)


@pytest.mark.parametrize(("temperature", "error"), [(0.2, 4.5e-3), (0.1, 2.04e-5), (0.03, 2.3e-16)])
def test_3_a_cold_kd_gradient_matches_only_the_labels_that_both_would_predict(temperature, error):
    """Over T it is one-hot(student) - one-hot(teacher), up to exp(-gap / T); the gap here is 1.08.

    The gap is that of the largest logit to the second, and the third is far behind.
    """
    student = torch.tensor([[4.08, 3.0, 0.0, -1.0, -2.0, -3.0, -4.0]]).double()
    teacher, labels = student.roll(3, dims=1), torch.tensor([0])
    slope = slope_of_kd(temperature, student, teacher, labels) / temperature
    limit = F.one_hot(student.argmax(1), 7) - F.one_hot(teacher.argmax(1), 7)
    assert (slope - limit).abs().max().item() == pytest.approx(error, rel=0.02, abs=2e-16)
    assert slope_of_kd(temperature, student, teacher, labels).abs().max() <= temperature


# 4. PTLoss ----------------------------------------------------------------------------------------

ORDERS = 400  # enough for every series here: (1 - q)^400 < 1e-19 on the logits of `mild`


def mild():
    """Logits without small probabilities: teacher, student, labels."""
    student, teacher, labels = tensors(classes=3, scale=0.4)
    assert (1 - student.softmax(1)).max() < 0.9
    return teacher, student, labels


def perturbed(epsilons, batch):
    return PerturbedKL(epsilons=epsilons)(*batch)


def cross_entropy(p, student):
    return -(p * student.log_softmax(1)).sum(dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_4_zero_coefficients_give_kl_to_the_last_digit(dtype):
    student, teacher, labels = tensors(dtype=dtype)
    for epsilons in ((0.0,), (0.0,) * 5, ((0.0,) * 7, 0.0)):
        loss = perturbed(epsilons, (teacher, student, labels))
        assert torch.equal(loss, KL()(teacher, student, labels))


def test_4_the_loss_is_linear_in_its_coefficients():
    student, teacher, labels = tensors()
    batch = teacher, student, labels
    first, second = (0.3, -0.1, 0.7), (-1.0, 2.0, 0.5)
    kl, mixed = KL()(*batch), [2 * a - 3 * b for a, b in zip(first, second, strict=True)]
    expected = 2 * (perturbed(first, batch) - kl) - 3 * (perturbed(second, batch) - kl)
    close(perturbed(mixed, batch) - kl, expected)


def test_4_the_gradient_in_closed_form():
    """g = -p / q - p sum_m m epsilon_m (1 - q)^(m-1), and the logits receive q (g - g . q)."""
    student, teacher, labels = tensors()
    epsilons = ((0.3, -0.1, 0.2, 0.0, 1.5, -0.4, 0.6), -0.25, 0.8)
    p, q = teacher.softmax(1), student.softmax(1)
    powers = sum(m * q.new_tensor(e) * (1 - q) ** (m - 1) for m, e in enumerate(epsilons, start=1))
    slope = -p / q - p * powers
    expected = q * (slope - (slope * q).sum(dim=1, keepdim=True))
    close(gradient(lambda z: perturbed(epsilons, (teacher, z, labels)), student), expected)


def test_4_coefficients_that_fall_as_one_over_the_order_scale_the_cross_entropy():
    batch = teacher, student, _ = mild()
    extra = perturbed([0.6 / m for m in range(1, ORDERS)], batch) - KL()(*batch)
    close(extra, 0.6 * cross_entropy(teacher.softmax(1), student))


@pytest.mark.parametrize("power", [1, 2, 5])
def test_4_the_focal_loss_is_a_special_case(power):
    """sum_c p_c (1 - q_c)^power (-log q_c), up to the teacher's entropy, which is constant."""
    batch = teacher, student, _ = mild()
    epsilons = [(1 / (m - power) if m > power else 0) - 1 / m for m in range(1, ORDERS)]
    p, q = teacher.softmax(1), student.softmax(1)
    focal = cross_entropy(p * (1 - q) ** power, student)
    close(perturbed(epsilons, batch) + cross_entropy(p, teacher), focal)


def test_4_label_smoothing_is_a_special_case():
    """Each example has its own coefficients, delta / m (1 / (C p_c) - 1)."""
    teacher, student, labels = mild()
    p, delta = teacher.softmax(1), 0.2
    smoothed = cross_entropy((1 - delta) * p + delta / 3, student) - cross_entropy(p, teacher)
    for i in range(len(labels)):
        per_class = delta * (1 / (3 * p[i]) - 1)
        epsilons = [(per_class / m).tolist() for m in range(1, ORDERS)]
        loss = perturbed(epsilons, (teacher[i : i + 1], student[i : i + 1], labels[i : i + 1]))
        close(loss, smoothed[i : i + 1])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_4_without_coefficients_the_proxy_teacher_is_the_teacher_itself(temperature):
    _, teacher, _ = tensors()
    tempered = (teacher / temperature).softmax(dim=1)
    assert torch.equal(proxy_teacher(teacher, (0.0, 0.0), temperature), tempered)


@pytest.mark.parametrize("epsilons", [(0.5,), (-0.7,), (2.0, -0.3, 0.4), (-1.5, 0.2)])
def test_4_the_proxy_teacher_is_stationary(epsilons):
    """p_c (1 / x_c + sum_m m epsilon_m (1 - x_c)^(m-1)) is one number for all classes of x."""
    _, teacher, _ = tensors()
    proxy = proxy_teacher(teacher, epsilons)
    slope = sum(m * e * (1 - proxy) ** (m - 1) for m, e in enumerate(epsilons, start=1))
    multiplier = teacher.softmax(1) * (1 / proxy + slope)
    close(multiplier, multiplier.mean(dim=1, keepdim=True).expand_as(multiplier), tolerance=1e-10)
    np.testing.assert_allclose(proxy.sum(dim=1).numpy(), 1, atol=1e-12)


# 5. Gradient rescaling ----------------------------------------------------------------------------


@every_temperature
@pytest.mark.parametrize("lam", [0.3, 1.0])
@pytest.mark.parametrize("squared", [False, True], ids=["without T^2", "with T^2"])
def test_5_kd_rescales_the_label_gradient_by_the_teachers_confidence(temperature, lam, squared):
    """w = 1 - lam + lam / T (p_T - q_T) / (1 - q) at the true class, and for all others summed.

    With the squared temperature, which is `kd`, the second term is lam T (p_T - q_T) / (1 - q).
    """
    student, teacher, labels = tensors()
    tempered = Temperature(temperature=temperature)
    kd = Objective(teacher=tempered, student=tempered, balance=Balance.convex(lam))
    factor = 1 / temperature
    if squared:
        kd, factor = objective("kd", temperature=temperature, lam=lam), temperature
    slope = gradient(lambda z: sum(kd.terms(z, teacher, labels)), student)
    true = F.one_hot(labels, 7).bool()
    q, q_t, p_t = (
        x.softmax(1)[true] for x in (student, student / temperature, teacher / temperature)
    )
    weight = (1 - lam) + lam * factor * (p_t - q_t) / (1 - q)
    close(slope[true] / (q - 1), weight)
    others = student.softmax(1).masked_fill(true, 0).sum(1)
    close(slope.masked_fill(true, 0).sum(1) / others, weight)
