"""What the winner knows, from predictions whose figures are known."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.reporting.figures import figures
from kdsearch.reporting.knowledge import Knowledge, knowledge
from kdsearch.tracking import Outcomes, Record, Said
from tests.reporting.made import Made

LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2], dtype=np.int64)
TEACHER = np.array([0, 0, 0, 1, 1, 1, 2, 0], dtype=np.int64)
WINNER = [np.array([0, 0, 0, 1, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 1, 2, 0])]
TUNED = [np.array([0, 0, 0, 0, 1, 0, 2, 2]), np.array([0, 0, 0, 0, 1, 0, 0, 0])]


def keep(outcomes: Outcomes, final: str, predicted: np.ndarray, confidence: float) -> None:
    file = io.BytesIO()
    sure = torch.full((len(predicted),), confidence)
    torch.save({"weights": {}, "predicted": torch.from_numpy(predicted), "confidence": sure}, file)
    outcomes.keep(final, file.getvalue())


@pytest.fixture
def record() -> Record:
    made = Made()
    made.record.header["sizes"]["classes"] = 3
    for seed in range(2):
        made.training(f"f0-{seed}", "kd (found)", [0.5, 0.7], seed=seed, origin="found")
        made.training(f"f1-{seed}", "ttm (found)", [0.5, 0.8], seed=seed, origin="found")
    return made.record


@pytest.fixture
def known(record: Record, tmp_path: Path) -> Knowledge:
    outcomes = Outcomes(tmp_path)
    outcomes.keep_test(LABELS, Said(TEACHER, np.full(8, 0.9, np.float32)))
    for seed in range(2):
        keep(outcomes, f"f0-{seed}", TUNED[seed], 0.5)
        keep(outcomes, f"f1-{seed}", WINNER[seed], 0.95)
    found = knowledge(record, outcomes)
    assert found is not None
    return found


def test_mistakes_are_shares_of_the_true_class(known: Knowledge) -> None:
    assert known.name == "ttm (found)"
    assert known.confusion == pytest.approx(
        np.array([[5 / 8, 3 / 8, 0], [0, 1, 0], [1 / 4, 0, 3 / 4]])
    )


def test_gain_per_class_is_over_tuned_kd(known: Knowledge) -> None:
    assert known.other == "kd (found)"
    assert known.gain == pytest.approx(100 * np.array([5 / 8 - 1, 1 - 1 / 2, 3 / 4 - 1 / 2]))


def test_agreement_with_the_teacher_and_with_its_errors(known: Knowledge) -> None:
    assert known.agreement == pytest.approx((7 / 8 + 7 / 8) / 2)
    assert known.faithful == pytest.approx((1 / 2 + 2 / 2) / 2)  # it errs on two examples


def test_calibration_error_is_the_gap_to_confidence(known: Knowledge) -> None:
    right = (7 + 5) / 16
    assert known.error == pytest.approx(0.95 - right, abs=1e-6)
    assert (known.count.tolist(), known.accuracy.tolist()) == ([16], [right])
    assert known.lines()[0].startswith("ttm (found) is off by 20.0 points")


def test_a_figure_shows_them_all(known: Knowledge, record: Record) -> None:
    drawn = figures(record, known)[-1]
    assert [panel.title for panel in drawn.panels] == [
        "Mistakes", "Calibration", "Accuracy per class over kd (found)",
    ]  # fmt: skip
    assert "87.5% of the examples" in drawn.caption


def test_nothing_is_known_of_what_was_not_kept(record: Record, tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path)
    assert knowledge(record, outcomes) is None
    outcomes.keep_test(LABELS, None)
    assert knowledge(record, outcomes) is None
    keep(outcomes, "f1-0", WINNER[0], 0.9)
    alone = knowledge(record, outcomes)
    assert alone is not None
    assert (alone.agreement, alone.faithful, alone.gain) == (None, None, None)
