"""Teacher files: keyed by what decided them; damage and foreign content are noticed."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch import data, models
from kdsearch.data import Splits
from kdsearch.data.views import Views
from kdsearch.errors import ResourceError, StoreError
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
    values = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float16)
    logits.save(path, values, np.arange(50), "key")
    return path


def test_signals_come_back_exactly_and_read_only(signals: Path) -> None:
    values = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float16)
    loaded = logits.load(signals, np.arange(50), "key")
    assert np.array_equal(loaded, values)
    assert not loaded.flags.writeable


@pytest.mark.parametrize(
    ("rows", "key", "message"),
    [(50, "other", "another teacher, dataset or view"), (49, "key", "other rows")],
)
def test_foreign_signals_are_refused(signals: Path, rows: int, key: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        logits.load(signals, np.arange(rows), key)


@pytest.mark.parametrize("value", [1e5, float("nan"), float("inf")])
def test_logits_that_float16_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(StoreError, match="must be finite and at most 65504, but the largest is"):
        logits.save(tmp_path / "s", np.full((2, 3), value), np.arange(2), "key")


def test_the_key_covers_teacher_data_and_views_but_not_their_number() -> None:
    keys = {
        logits.key(*names)
        for names in (
            ("teacher", "data", Views()),
            ("other", "data", Views()),
            ("teacher", "other", Views()),
            ("teacher", "data", Views(crop=4)),
            ("teacher", "data", Views(crop=4, seed=1)),
        )
    }
    assert len(keys) == 5
    assert logits.key("teacher", "data", Views(crop=4, count=3)) in keys


def test_another_generator_of_random_numbers_is_another_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = logits.key("teacher", "data", Views(crop=4))
    monkeypatch.setattr(logits, "GENERATOR", "another")
    assert logits.key("teacher", "data", Views(crop=4)) != before


def test_a_disk_that_is_too_small_is_refused_with_the_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (tmp_path / "view-00000.arrow").touch()  # is there already, and counts no more
    logits.check_space(tmp_path, views=2, rows=50_000, classes=100)
    with pytest.raises(ResourceError, match=r"2 views x 50000 images x 100 classes x 2 bytes"):
        logits.check_space(tmp_path, views=3, rows=50_000, classes=100)


def test_missing_signals_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        logits.load(tmp_path / "none.arrow", np.arange(3), "key")


@pytest.mark.parametrize("position", [0, 300, 1500, -400, -3])
def test_any_flipped_byte_is_noticed_or_harmless(signals: Path, position: int) -> None:
    """A flip may hit padding; where it does not, the file is refused and never read wrong."""
    expected = logits.load(signals, np.arange(50), "key").copy()
    content = bytearray(signals.read_bytes())
    content[position] ^= 0xFF
    signals.write_bytes(content)
    try:
        loaded = logits.load(signals, np.arange(50), "key")
    except StoreError:
        return
    assert np.array_equal(loaded, expected)


def test_a_flipped_logit_and_a_cut_file_are_refused(signals: Path) -> None:
    whole = signals.read_bytes()
    value = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float16)[7].tobytes()
    signals.write_bytes(whole.replace(value, bytes(20)))
    with pytest.raises(StoreError, match="does not match its checksum"):
        logits.load(signals, np.arange(50), "key")
    signals.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cannot be read as teacher signals"):
        logits.load(signals, np.arange(50), "key")


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


def test_builders_at_the_same_time_never_leave_half_a_file(tmp_path: Path) -> None:
    """Four processes write one view over and over; every read finds a whole one."""
    path, values = tmp_path / "view.arrow", np.random.default_rng(0).normal(size=(2000, 50))
    code = (
        "import sys, pathlib, numpy as np; from kdsearch.teachers import logits;"
        "values = np.random.default_rng(0).normal(size=(2000, 50)); rows = np.arange(2000);"
        "[logits.save(pathlib.Path(sys.argv[1]), values, rows, 'key') for _ in range(30)]"
    )
    builders = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    reads = 0
    while any(builder.poll() is None for builder in builders):
        if path.exists():
            loaded = logits.load(path, np.arange(2000), "key")
            reads += bool(np.array_equal(loaded, values.astype(np.float16)))
    assert [builder.returncode for builder in builders] == [0] * 4
    assert reads > 0
    assert list(tmp_path.iterdir()) == [path]
