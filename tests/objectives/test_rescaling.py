"""The gradient weight w_k of Understanding and Improving KD, against its closed form."""

import pytest
import torch

from kdsearch.objectives import objective
from kdsearch.objectives.rescaling import rescaling
from tests.objectives.batches import close, gradient, tensors


@pytest.mark.parametrize("temperature", [1.0, 4.0, 10.0])
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_kd_weighs_by_the_closed_form(temperature, lam):
    student, teacher, labels = tensors(examples=50)
    at = (torch.arange(50), labels)
    p, q = ((x / temperature).softmax(dim=1)[at] for x in (teacher, student))
    expected = (1 - lam) + lam * temperature * (p - q) / (1 - student.softmax(dim=1)[at])
    kd = objective("kd", temperature=temperature, lam=lam)
    close(rescaling(kd, student, teacher, labels), expected, 1e-10)


@pytest.mark.parametrize("name", ["kd", "kd_pt", "kd_topk", "kd_sim", "ttm", "wttm", "ptloss"])
def test_the_other_logits_together_are_rescaled_alike(name):
    student, teacher, labels = tensors(examples=50)
    slope = gradient(lambda z: sum(objective(name).terms(z, teacher, labels)), student)
    others = torch.nn.functional.one_hot(labels, 7) == 0
    plain = student.softmax(dim=1)
    expected = (slope * others).sum(dim=1) / (plain * others).sum(dim=1)
    close(rescaling(objective(name), student, teacher, labels), expected, 1e-9)


def test_labels_alone_rescale_nothing():
    student, _, labels = tensors()
    close(rescaling(objective("ce"), student, None, labels), torch.ones(6).double())
