"""What is kept of finals: read as it was written, and told where it is gone or damaged."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.errors import StoreError
from kdsearch.tracking import Outcomes, Said

LABELS = np.array([0, 2, 1], dtype=np.int64)
SAID = Said(np.array([0, 2, 2], dtype=np.int64), np.array([0.9, 0.8, 0.4], dtype=np.float32))


def packed() -> bytes:
    content = {"weights": {"layer.weight": torch.arange(4.0)}}
    content |= {
        "predicted": torch.tensor(SAID.predicted),
        "confidence": torch.tensor(SAID.confidence),
    }
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_a_final_is_read_as_it_was_kept(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path)
    outcomes.keep("f000-0", packed())
    assert torch.equal(outcomes.weights("f000-0")["layer.weight"], torch.arange(4.0))
    said = outcomes.said("f000-0")
    assert said is not None
    assert np.array_equal(said.predicted, SAID.predicted)
    assert np.array_equal(said.confidence, SAID.confidence)


@pytest.mark.parametrize("teacher", [SAID, None])
def test_the_test_part_is_read_as_it_was_kept(teacher: Said | None, tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path)
    assert outcomes.test() is None
    outcomes.keep_test(LABELS, teacher)
    labels, said = outcomes.test() or (None, None)
    assert np.array_equal(labels, LABELS)
    assert (said is None) == (teacher is None)
    if said:
        assert np.array_equal(said.predicted, SAID.predicted)


def test_what_was_not_kept_is_told(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path)
    assert outcomes.said("f000-0") is None
    with pytest.raises(StoreError, match="f000-0 must be in"):
        outcomes.weights("f000-0")


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path)
    outcomes.keep("f000-0", packed()[:-200])
    with pytest.raises(StoreError, match="is damaged"):
        outcomes.weights("f000-0")
