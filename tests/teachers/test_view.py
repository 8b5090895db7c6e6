"""A teacher's view: every figure against a plain loop over examples, and at its limits."""

import math

import numpy as np
import pytest
import torch

from kdsearch.teachers import view as module
from kdsearch.teachers.view import view


def _softmax(row, temperature=1.0):
    exponentials = np.exp((row - row.max()) / temperature)
    return exponentials / exponentials.sum()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, 6, generator=generator)
    return logits, torch.randint(6, (400,), generator=generator)


def test_every_figure_equals_a_loop_over_examples(batch):
    logits, labels = batch
    rows = [_softmax(row) for row in logits.double().numpy()]
    right = [row.argmax() == y for row, y in zip(rows, labels.numpy(), strict=True)]
    bins = {}
    for row, hit in zip(rows, right, strict=True):
        bins.setdefault(min(int(row.max() * 15), 14), []).append((row.max(), hit))
    gaps = [abs(sum(c for c, _ in each) - sum(h for _, h in each)) for each in bins.values()]
    others = [np.delete(row, y) for row, y in zip(rows, labels.numpy(), strict=True)]
    others = [row / row.sum() for row in others]
    tempered = [
        _softmax(row, 4.0)[y] for row, y in zip(logits.double().numpy(), labels, strict=True)
    ]
    seen = view(logits, labels)
    assert seen.accuracy == pytest.approx(np.mean(right))
    assert seen.confidence == pytest.approx(np.mean([row.max() for row in rows]))
    assert seen.calibration_error == pytest.approx(sum(gaps) / 400)
    assert seen.entropy == pytest.approx(np.mean([-(r * np.log(r)).sum() for r in rows]))
    even = [-(r * np.log(r)).sum() / math.log(5) for r in others]
    assert seen.evenness == pytest.approx(np.mean(even))
    assert seen.spread == pytest.approx(np.std(tempered))
    assert sum(seen.entropies) == pytest.approx(1)
    assert sum(each.count for each in seen.bins) == 400


def test_it_does_not_depend_on_how_many_are_seen_at_once(batch, monkeypatch):
    whole = view(*batch)
    monkeypatch.setattr(module, "_CHUNK", 7)
    again = view(*batch).model_dump(exclude={"bins", "entropies"})
    assert again == pytest.approx(whole.model_dump(exclude={"bins", "entropies"}), rel=1e-12)


def test_a_teacher_that_is_always_right_and_sure():
    labels = torch.arange(5)
    seen = view(1e4 * torch.eye(5), labels)
    assert (seen.accuracy, seen.confidence, seen.calibration_error) == (1, 1, 0)
    assert (seen.entropy, seen.spread) == (0, 0)
    assert seen.evenness == pytest.approx(1)


def test_a_teacher_that_knows_nothing_is_calibrated():
    seen = view(torch.zeros(10, 5), torch.arange(10) % 5)
    assert seen.accuracy == pytest.approx(0.2)
    assert seen.calibration_error == pytest.approx(0, abs=1e-12)
    assert seen.entropy == pytest.approx(math.log(5))


def test_two_classes_have_one_wrong_one():
    assert view(torch.randn(8, 2), torch.arange(8) % 2).evenness == 0
