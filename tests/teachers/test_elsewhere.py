"""Teachers from elsewhere: every form that is shared loads, and what does not fit says why."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from kdsearch import data, models
from kdsearch.data import Splits
from kdsearch.errors import StoreError
from kdsearch.teachers import Teacher, elsewhere, teacher

ROWS = np.array([2, 3, 5, 7])
TABLE = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return models.build("cnn", 10, 1, width=4).eval()


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.2)


def taught(path: Path, **changes: Any) -> Teacher:
    network = {"name": "cnn", "width": 4}
    return Teacher.model_validate({"model": network, "checkpoint": str(path)} | changes)


@pytest.mark.parametrize("wrapping", [None, "model", "state_dict", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_every_usual_form_of_a_checkpoint_loads(
    network: torch.nn.Module, splits: Splits, tmp_path: Path, wrapping: str | None, prefix: str
) -> None:
    state = {prefix + key: value for key, value in network.state_dict().items()}
    path = tmp_path / "cnn.pth"
    torch.save({wrapping: state, "accuracy": 0.5, "epoch": 3} if wrapping else state, path)
    loaded = teacher.network(taught(path), splits)
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(loaded(images), network(images))
    assert not loaded.training


def test_a_checkpoint_that_is_older_than_batch_counters_loads(
    network: torch.nn.Module, splits: Splits, tmp_path: Path
) -> None:
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    images = torch.randn(3, 1, 8, 8)
    loaded = teacher.network(taught(tmp_path / "old.pth"), splits)
    assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize(
    ("classes", "width", "message"),
    [
        (7, 4, "2 other shapes .* It seems to be of another number of classes than the data"),
        (10, 5, "other shapes .* Name the network that it was saved from"),
    ],
)
def test_weights_that_do_not_fit_say_why(
    splits: Splits, tmp_path: Path, classes: int, width: int, message: str
) -> None:
    torch.save(models.build("cnn", classes, 1, width=width).state_dict(), tmp_path / "x.pth")
    with pytest.raises(StoreError, match=message):
        teacher.network(taught(tmp_path / "x.pth"), splits)


def test_another_networks_weights_are_named(splits: Splits, tmp_path: Path) -> None:
    torch.save(models.build("cnn", 10, 1, width=4, depth=3).state_dict(), tmp_path / "x.pth")
    with pytest.raises(StoreError, match=r"weights of cnn, but: .* keys of another network \("):
        teacher.network(taught(tmp_path / "x.pth"), splits)


class Code:
    """Something that unpickling would have to run code for."""


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    torch.save({"model": Code()}, tmp_path / "code.pth")
    with pytest.raises(StoreError, match=r"only load failed\. Load it where it was made"):
        elsewhere.weights(str(tmp_path / "code.pth"))


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"cannot be read|must be a checkpoint"):
        elsewhere.weights(str(path))


def test_a_checkpoint_without_a_state_dictionary(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(StoreError, match="must hold a state dictionary, itself or under one of"):
        elsewhere.weights(str(tmp_path / "x.pth"))


def test_the_digest_follows_the_files_content(splits: Splits, tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(bytes([number]))
        digests.add(taught(path).digest(splits))
    copy = tmp_path / "copy.pth"
    copy.write_bytes(bytes([1]))
    assert len(digests) == 2
    assert taught(copy, seed=5).digest(splits) in digests


def write(path: Path, columns: dict[str, Any]) -> str:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return str(path)


LISTS = pa.array(TABLE.astype(np.float32).tolist())
FIXED = pa.FixedSizeListArray.from_arrays(pa.array(TABLE.astype(np.float64).reshape(-1)), 3)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
@pytest.mark.parametrize("column", [LISTS, FIXED], ids=["lists", "fixed"])
def test_logits_come_from_either_kind_of_file(tmp_path: Path, name: str, column: pa.Array) -> None:
    path = write(tmp_path / name, {"logits": column})
    assert np.array_equal(elsewhere.logits(path, ROWS, 3), TABLE)


def test_rows_in_any_order_and_more_of_them_are_found(tmp_path: Path) -> None:
    order = [3, 0, 2, 1]
    more = np.concatenate([TABLE[order], np.zeros((1, 3), np.float16)])
    columns = {"logits": pa.array(more.astype(float).tolist()), "row": [*ROWS[order], 11]}
    assert np.array_equal(elsewhere.logits(write(tmp_path / "t.arrow", columns), ROWS, 3), TABLE)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"scores": LISTS}, "must have a column 'logits', but has scores"),
        ({"logits": [1.0, 2.0]}, "must be one list of numbers per example, but is double"),
        ({"logits": pa.array([[1.0, 2.0]] * 4)}, "must hold 3 numbers per example, as the data"),
        ({"logits": LISTS[:3]}, "must hold the logits of all 4 training images, but holds 3"),
        ({"logits": LISTS, "row": [2, 3, 5, 8]}, "1 are missing, the first of row 7"),
        ({"logits": LISTS, "row": [2, 3, 5, 6]}, "1 are missing, the first of row 7"),
    ],
)
def test_logits_that_do_not_fit_say_why(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        elsewhere.logits(write(tmp_path / "t.arrow", columns), ROWS, 3)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"checkpoint": "x.pth"},
        {"model": {"name": "cnn"}, "logits": "x.arrow"},
    ],
)
def test_a_teacher_is_one_thing(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a teacher must be a `model`, a `model` with its"):
        Teacher.model_validate(content)
