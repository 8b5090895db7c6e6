"""Class similarity: cosines by their definition, class means by a loop, and what kd_sim does."""

import numpy as np
import pytest
import torch

from kdsearch.errors import ShapeError
from kdsearch.objectives import objective
from kdsearch.objectives.similarity import class_means, cosine
from tests.objectives.batches import close, tensors


def test_cosines_are_those_of_the_definition():
    rows = np.random.default_rng(0).normal(size=(5, 3))
    expected = [[np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)) for b in rows] for a in rows]
    close(cosine(torch.from_numpy(rows)), torch.tensor(expected))


def test_a_class_without_examples_is_like_no_other():
    means = class_means(torch.randn(4, 3), torch.tensor([0, 0, 2, 2]), 3)
    assert cosine(means)[1].tolist() == [0, 0, 0]


def test_class_means_ignore_each_examples_shift():
    _, logits, labels = tensors(examples=40)
    by_hand = [
        np.mean([row - row.mean() for row in logits[labels == c].numpy()], axis=0) for c in range(7)
    ]
    shifted = logits + torch.randn(40, 1, dtype=torch.float64)
    close(class_means(shifted, labels, 7), torch.tensor(np.array(by_hand)))


def test_kd_sim_is_the_same_for_every_example_of_a_class():
    student, teacher, _ = tensors()
    labels = torch.full((6,), 3)
    loss = objective("kd_sim", lam=1.0).informed(cosine(torch.randn(7, 4)))
    same = student[:1].expand(6, 7)
    terms = loss.terms(same, teacher, labels).soft
    close(terms, terms[:1].expand(6))


def test_kd_sim_waits_for_a_similarity_and_takes_it_once():
    loss = objective("kd_sim")
    assert loss.needs_similarity
    informed = loss.informed(torch.eye(7))
    assert not informed.needs_similarity
    assert informed.informed(torch.zeros(7, 7)) == informed
    assert objective("kd").informed(torch.eye(7)) == objective("kd")
    close(informed(*tensors()), loss(*tensors()))  # until told, no class is like another


def test_alike_classes_receive_more():
    alike = torch.eye(7)
    alike[0, 1] = alike[1, 0] = 0.8
    teacher = objective("kd_sim").informed(alike).teacher
    target = teacher(torch.zeros(1, 7), torch.tensor([0])).softmax(dim=1)[0]
    assert target.argmax() == 0
    assert target[1] > 5 * target[2]
    close(target[2:], target[2:3].expand(5), 1e-6)


def test_a_similarity_of_another_number_of_classes_is_refused():
    loss = objective("kd_sim").informed(torch.eye(6))
    with pytest.raises(ShapeError, match=r"as many classes as the logits \(6, 7\), but got \(6, 6"):
        loss(*tensors())
