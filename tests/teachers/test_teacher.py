"""Teacher files: keyed by what decided them; damage and foreign content are noticed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch import data, models
from kdsearch.data import Splits
from kdsearch.errors import StoreError
from kdsearch.files import write_atomically
from kdsearch.teachers import Teacher, logits, teacher


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.2)


TEACHER = Teacher.model_validate(
    {"model": {"name": "cnn", "width": 4}, "recipe": {"epochs": 1, "learning_rate": 0.1}}
)
CHANGES = [
    {"model": {"name": "cnn", "width": 5}},
    {"recipe": {"epochs": 2, "learning_rate": 0.1}},
    {"seed": 1},
    {"objective": {"name": "label_smoothing"}},
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_covers_all_that_decides(change: dict[str, object], splits: Splits) -> None:
    other = Teacher.model_validate(TEACHER.model_dump() | change)
    assert other.digest(splits) != TEACHER.digest(splits)


def test_the_digest_covers_the_data(splits: Splits) -> None:
    assert TEACHER.digest(splits) == TEACHER.digest(data.load("digits", validation=0.2))
    assert TEACHER.digest(splits) != TEACHER.digest(data.load("digits", validation=0.3))


def test_packed_weights_come_back_in_evaluation_mode(splits: Splits) -> None:
    model = models.build("cnn", 10, 1, width=4)
    back = teacher.unpack(teacher.pack(model, TEACHER.digest(splits)), TEACHER, splits)
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(back(images), model.eval()(images))
    assert not back.training


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_damaged_weights_are_refused(cut: int, splits: Splits) -> None:
    content = teacher.pack(models.build("cnn", 10, 1, width=4), TEACHER.digest(splits))
    with pytest.raises(StoreError, match="cannot be read as weights"):
        teacher.unpack(content[:cut], TEACHER, splits)


def test_another_teachers_weights_are_refused(splits: Splits) -> None:
    content = teacher.pack(models.build("cnn", 10, 1, width=4), "0" * 16)
    with pytest.raises(StoreError, match="another teacher"):
        teacher.unpack(content, TEACHER, splits)


@pytest.fixture
def signals(tmp_path: Path) -> Path:
    path = tmp_path / "signals" / "t.arrow"
    values = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    logits.save(path, values, np.arange(50), "teacher", "data")
    return path


def test_signals_come_back_exactly_and_read_only(signals: Path) -> None:
    values = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    loaded = logits.load(signals, np.arange(50), "teacher", "data")
    assert np.array_equal(loaded, values)
    assert not loaded.flags.writeable


@pytest.mark.parametrize(
    ("rows", "taught", "of", "message"),
    [
        (50, "other", "data", "another teacher or dataset"),
        (50, "teacher", "other", "another teacher or dataset"),
        (49, "teacher", "data", "other rows"),
    ],
)
def test_foreign_signals_are_refused(
    signals: Path, rows: int, taught: str, of: str, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        logits.load(signals, np.arange(rows), taught, of)


def test_missing_signals_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        logits.load(tmp_path / "none.arrow", np.arange(3), "teacher", "data")


@pytest.mark.parametrize("position", [0, 300, 1500, -400, -3])
def test_any_flipped_byte_is_noticed_or_harmless(signals: Path, position: int) -> None:
    """A flip may hit padding; where it does not, the file is refused and never read wrong."""
    expected = logits.load(signals, np.arange(50), "teacher", "data").copy()
    content = bytearray(signals.read_bytes())
    content[position] ^= 0xFF
    signals.write_bytes(content)
    try:
        loaded = logits.load(signals, np.arange(50), "teacher", "data")
    except StoreError:
        return
    assert np.array_equal(loaded, expected)


def test_a_flipped_logit_and_a_cut_file_are_refused(signals: Path) -> None:
    whole = signals.read_bytes()
    value = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)[7, 3].tobytes()
    signals.write_bytes(whole.replace(value, b"\0\0\0\0"))
    with pytest.raises(StoreError, match="does not match its checksum"):
        logits.load(signals, np.arange(50), "teacher", "data")
    signals.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cannot be read as teacher signals"):
        logits.load(signals, np.arange(50), "teacher", "data")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


CHAIN = {"objective": {"name": "kd"}, "teacher": TEACHER.model_dump()}


def test_the_digest_covers_the_chain(splits: Splits) -> None:
    changes = [
        CHAIN,
        CHAIN | {"objective": {"name": "kd", "temperature": 2.0}},
        CHAIN | {"teacher": TEACHER.model_dump() | {"seed": 3}},
    ]
    digests = {
        Teacher.model_validate(TEACHER.model_dump() | change).digest(splits) for change in changes
    }
    assert len(digests | {TEACHER.digest(splits)}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": {"name": "kd"}}, "kd'} and no teacher"),
        ({"teacher": TEACHER.model_dump()}, "ce'} and a teacher"),
        ({"objective": {"name": "kdd"}}, "Did you mean 'kd'"),
    ],
)
def test_a_broken_chain_costs_a_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Teacher.model_validate(TEACHER.model_dump() | change)
