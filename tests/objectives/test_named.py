"""Every published objective, at every row of `reference.ROWS`, against the second implementation.

The rows come with what any objective owes: exact derivatives, finite numbers in the extreme, no
gradient for the teacher, no dependence on the order of examples or on the names of classes.
"""

import inspect
import json

import numpy as np
import pytest
import torch

from kdsearch import catalogue
from kdsearch.objectives import Objective, objective
from tests.objectives import reference
from tests.objectives.batches import gradient, tensors

LABELS_ONLY = {"ce", "label_smoothing"}

every_row = pytest.mark.parametrize(
    ("name", "settings"),
    reference.ROWS,
    ids=[f"{name}-{','.join(settings) or 'defaults'}" for name, settings in reference.ROWS],
)


def _onehot(labels, height=1e4):
    return height * torch.nn.functional.one_hot(labels, 7).float()


def _extremes():
    """Pairs of logits at the ends of what float32 can hold apart: student, teacher."""
    student, teacher, labels = tensors(dtype=torch.float32)
    wrong, constant = (labels + 1) % 7, torch.linspace(-5, 5, 6)[:, None].expand(6, 7)
    return {
        "signs": (1e4 * student.sign(), 1e4 * teacher.sign()),
        "opposed": (1e4 * student.sign(), -1e4 * student.sign()),
        "teacher one-hot and right": (student, _onehot(labels)),
        "teacher one-hot and wrong": (student, _onehot(wrong)),
        "student one-hot and wrong": (_onehot(wrong), teacher),
        "both one-hot, apart": (_onehot(wrong), _onehot(labels)),
        "both one-hot, alike": (_onehot(labels), _onehot(labels)),
        "true class impossible": (-_onehot(labels), -_onehot(labels)),
        "constant rows": (constant, -constant),
        "student constant": (constant, teacher),
        "teacher constant": (student, constant),
        "all equal": (torch.full((6, 7), 0.1), torch.full((6, 7), 0.1)),
        "student is teacher": (teacher, teacher),
    }


def test_every_objective_has_its_defaults_and_every_setting_in_the_table():
    assert {name for name, _ in reference.ROWS} == set(catalogue.names("objectives/papers"))
    for name in catalogue.names("objectives/papers"):
        rows = [settings for other, settings in reference.ROWS if other == name]
        build = catalogue.load("objectives/papers", name).objective
        assert {} in rows
        assert set().union(*rows) == set(inspect.signature(build).parameters), name


@every_row
@pytest.mark.parametrize("examples", [1, 6])
def test_values_equal_the_reference(name, settings, examples):
    arrays = reference.batch(examples=examples)
    expected = reference.losses(name, settings, *arrays)
    hard, soft = objective(name, **settings).terms(*tensors(examples=examples))
    assert hard.shape == soft.shape == (examples,)
    np.testing.assert_allclose((hard + soft).numpy(), expected, rtol=1e-10, atol=1e-10)


@every_row
def test_the_batch_loss_is_the_mean_of_both_terms(name, settings):
    loss = objective(name, **settings)
    hard, soft = loss.terms(*tensors())
    assert loss(*tensors()).shape == ()
    assert loss(*tensors()) == (hard + soft).mean()


@every_row
def test_the_golden_numbers_hold(name, settings):
    rows = json.loads(reference.GOLDEN.read_text(encoding="utf-8"))
    assert [(row["name"], row["settings"]) for row in rows] == list(reference.ROWS)
    row = rows[reference.ROWS.index((name, settings))]
    loss, (student, teacher, labels) = objective(name, **settings), tensors()
    slope = gradient(lambda z: loss(z, teacher, labels), student)
    assert loss(student, teacher, labels).item() == pytest.approx(row["value"], rel=1e-6)
    assert slope.norm().item() == pytest.approx(row["gradient_norm"], rel=1e-6)


@every_row
def test_gradients_equal_the_reference(name, settings):
    loss, (student, teacher, labels) = objective(name, **settings), tensors(seed=1)
    expected = reference.gradient(name, settings, *reference.batch(seed=1))
    actual = gradient(lambda z: loss(z, teacher, labels), student)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6, atol=1e-9)


@every_row
def test_autograd_agrees_with_finite_differences_of_the_terms(name, settings):
    loss, (student, teacher, labels) = objective(name, **settings), tensors(seed=2, examples=3)

    def total(student):
        return sum(loss.terms(student, teacher, labels))

    inputs = student.requires_grad_()
    assert torch.autograd.gradcheck(total, inputs, atol=1e-7, rtol=1e-5)


@every_row
def test_an_objective_is_a_value_that_json_preserves(name, settings):
    loss = objective(name, **settings)
    copy = Objective.model_validate_json(loss.model_dump_json())
    assert copy == loss == objective(name, **settings)
    assert hash(copy) == hash(loss)
    assert Objective.model_validate(json.loads(json.dumps(loss.model_dump()))) == loss
    assert all(
        loss != objective(other, **others)
        for other, others in reference.ROWS
        if (other, others) != (name, settings)
    )


@every_row
def test_the_teacher_receives_no_gradient(name, settings):
    student, teacher, labels = tensors()
    student.requires_grad_(), teacher.requires_grad_()
    objective(name, **settings)(student, teacher, labels).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@every_row
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, settings, half):
    loss, (student, teacher, labels) = objective(name, **settings), tensors(dtype=half)
    actual = loss(student, teacher, labels)
    assert actual.dtype == torch.float32
    assert actual == loss(student.float(), teacher.float(), labels)
    slope = gradient(lambda z: loss(z, teacher, labels), student)
    assert slope.dtype == half
    assert slope.isfinite().all()


@every_row
@pytest.mark.parametrize(
    ("student_type", "teacher_type"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.float64),
        (torch.float64, torch.float32),
    ],
    ids=str,
)
def test_student_and_teacher_may_differ_in_precision(name, settings, student_type, teacher_type):
    (student, _, labels), (_, teacher, _) = tensors(dtype=student_type), tensors(dtype=teacher_type)
    loss = objective(name, **settings)
    expected = loss(student.double(), teacher.double(), labels).item()
    assert loss(student, teacher, labels).item() == pytest.approx(expected, rel=1e-5)
    slope = gradient(lambda z: loss(z, teacher, labels), student)
    assert slope.dtype == student_type
    assert slope.isfinite().all()


@every_row
@pytest.mark.parametrize("case", _extremes())
def test_extreme_logits_stay_finite(name, settings, case):
    (student, teacher), (*_, labels) = _extremes()[case], tensors()
    loss = objective(name, **settings)
    hard, soft = loss.terms(student, teacher, labels)
    assert hard.isfinite().all()
    assert soft.isfinite().all()
    assert gradient(lambda z: loss(z, teacher, labels), student).isfinite().all()


@every_row
def test_the_order_of_examples_does_not_matter(name, settings):
    loss, (student, teacher, labels) = objective(name, **settings), tensors()
    order = torch.tensor([3, 5, 0, 4, 1, 2])
    shuffled = loss.terms(student[order], teacher[order], labels[order])
    for before, after in zip(loss.terms(student, teacher, labels), shuffled, strict=True):
        torch.testing.assert_close(after, before[order], rtol=1e-12, atol=1e-12)


@every_row
def test_the_names_of_classes_do_not_matter(name, settings):
    student, teacher, labels = tensors()
    order = torch.tensor([4, 2, 6, 0, 5, 1, 3])
    renamed = dict(settings)
    if "epsilons" in settings:
        renamed["epsilons"] = [
            [epsilon[c] for c in order] if isinstance(epsilon, list) else epsilon
            for epsilon in settings["epsilons"]
        ]
    if similarity := settings.get("similarity"):
        renamed["similarity"] = [[similarity[a][b] for b in order] for a in order]
    before = sum(objective(name, **settings).terms(student, teacher, labels))
    moved = student[:, order], teacher[:, order], order.argsort()[labels]
    after = sum(objective(name, **renamed).terms(*moved))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)


@every_row
def test_only_what_reads_the_teacher_needs_one(name, settings):
    loss, (student, teacher, labels) = objective(name, **settings), tensors()
    assert loss.needs_teacher == (name not in LABELS_ONLY)
    if not loss.needs_teacher:
        assert loss(student, None, labels) == loss(student, teacher, labels)


def test_distillation_that_ignores_its_teacher_needs_none():
    student, _, labels = tensors()
    loss = objective("kd", lam=0.0)
    assert not loss.needs_teacher
    assert loss(student, None, labels) == objective("ce")(student, None, labels)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("ce", "1 * CE(z, y)"),
        ("kd", "0.1 * CE(z, y) + 14.4 * KL(v / 4 || z / 4)"),
        ("wttm", "1 * CE(z, y) + 3 * U_0.1(v)^1 * KL(v / 10 || z)"),
        ("dkd", "1 * CE(z, y) + 16 * DKD[1, 8](v / 4 || z / 4) (warm-up 20 epochs)"),
        ("nkd", "1 * CE(z, y) + 1 * NKD[1.5, 1](v, z)"),
    ],
)
def test_an_objective_reads_as_its_formula(name, formula):
    assert objective(name).formula == formula
