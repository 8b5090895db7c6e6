"""The teacher's stage on a real Ray: made once, found again, made anew where a file is damaged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch

from kdsearch import data
from kdsearch.data import Splits
from kdsearch.errors import DataError, StoreError
from kdsearch.search.study import Resources
from kdsearch.search.teaching import Teaching
from kdsearch.teachers import Teacher, logits, teacher
from kdsearch.tracking import Journal, Record
from kdsearch.training import part, predict
from tests.data.small import photographs

pytestmark = pytest.mark.slow

TEACHER = Teacher.model_validate(
    {"model": {"name": "cnn", "width": 4}, "recipe": {"epochs": 2, "learning_rate": 0.1}}
)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.2)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Sitting:
    """One process' view of the stage: its own journal, and what it said."""

    def __init__(self, splits: Splits, storage: Path, name: str) -> None:
        self.said: list[str] = []
        journal = Journal(storage / f"{name}.jsonl")
        self.teaching = Teaching(TEACHER, splits, storage, Resources(cpu=1), journal)
        self.signals = self.teaching.signals(self.said.append)
        self.trained = bool(Record.of(journal).of_kind("teacher"))


def test_made_once_then_found_then_mended(splits: Splits, tmp_path: Path) -> None:
    first = Sitting(splits, tmp_path, "first")
    assert (first.trained, first.said) == (True, [])
    assert first.signals.shape == (len(splits.fitted), 10)

    found = Sitting(splits, tmp_path, "found")
    assert not found.trained
    assert "neither trained nor run again" in found.said[0]
    assert np.array_equal(found.signals, first.signals)

    ((stored,),) = (folder.iterdir() for folder in (tmp_path / "signals").iterdir())
    stored.write_bytes(stored.read_bytes()[:5000])
    mended = Sitting(splits, tmp_path, "mended")
    assert not mended.trained
    assert f"{stored.name} is made anew, because it cannot be read" in mended.said[0]
    assert np.array_equal(mended.signals, first.signals)

    (weights,) = (tmp_path / "teachers").iterdir()
    weights.write_bytes(b"no weights")
    anew = Sitting(splits, tmp_path, "anew")
    assert anew.trained
    assert f"{weights.name} is made anew, because it cannot be read" in anew.said[0]
    assert np.array_equal(anew.signals, first.signals)


def test_signals_and_what_it_says_of_test_are_the_stored_networks_own(
    splits: Splits, tmp_path: Path
) -> None:
    sitting = Sitting(splits, tmp_path, "one")
    (weights,) = (tmp_path / "teachers").iterdir()
    network = teacher.unpack(weights.read_bytes(), TEACHER, splits)
    expected = predict(network, part(splits, splits.fitted))
    assert sitting.signals == pytest.approx(expected.numpy(), abs=5e-3)  # float16
    test = part(splits, splits.test)
    confidence, predicted = predict(network, test).softmax(dim=1).max(dim=1)
    said = sitting.teaching.on_test()
    assert said is not None
    assert np.array_equal(said.predicted, predicted.numpy())
    assert said.confidence == pytest.approx(confidence.numpy(), abs=5e-3)  # float16


def test_each_view_is_stored_and_an_interrupted_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = data.load("digits", validation=0.2, views={"crop": 1, "flip": True})
    sitting = Sitting(splits, tmp_path, "first")
    (weights,) = (tmp_path / "teachers").iterdir()
    network = teacher.unpack(weights.read_bytes(), TEACHER, splits)
    save, written = logits.save, []

    def until_the_third(path: Path, *content: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        save(path, *content)

    monkeypatch.setattr(logits, "save", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        sitting.teaching.views(4, sitting.said.append)
    assert written == ["view-00000.arrow", "view-00001.arrow"]
    monkeypatch.setattr(
        logits, "save", lambda path, *c: (written.append(path.name), save(path, *c))
    )
    stored = sitting.teaching.views(4, sitting.said.append)
    assert written[2:] == ["view-00002.arrow", "view-00003.arrow"]
    for view, table in enumerate(stored):
        expected = predict(network, part(splits, splits.fitted), view).numpy()
        np.testing.assert_allclose(table, expected, rtol=2**-10, atol=2e-3)
    assert not np.array_equal(stored[0], stored[1])


def test_a_chain_is_taught_from_the_largest_down_and_each_link_is_stored(
    splits: Splits, tmp_path: Path
) -> None:
    """The middle network learns from the largest one's logits, not from the labels."""
    recipe = {"epochs": 2, "learning_rate": 0.1}
    middle = Teacher.model_validate(
        {
            "model": {"name": "cnn", "width": 4},
            "recipe": recipe,
            "objective": {"name": "kd", "lam": 1.0},
            "teacher": TEACHER.model_dump(),
        }
    )
    journal = Journal(tmp_path / "chain.jsonl")
    said: list[str] = []
    resources = Resources(cpu=1)
    signals = Teaching(middle, splits, tmp_path, resources, journal).signals(said.append)
    teachers = Record.of(journal).of_kind("teacher")
    assert {t.id: t.family for t in teachers} == {"teacher": "kd", "teacher's teacher": "ce"}
    assert len(list((tmp_path / "signals").glob("*/plain.arrow"))) == 2
    largest = Sitting(splits, tmp_path, "again")  # the chain has stored it for others
    assert not largest.trained
    own = torch.from_numpy(largest.signals[splits.fitted.searchsorted(splits.train)].copy())
    training = middle.training(splits, signals=own)
    list(training)
    expected = predict(training.model, part(splits, splits.fitted)).numpy()
    assert signals == pytest.approx(expected, abs=5e-3)


def _teaching(taught: Teacher, splits: Splits, tmp_path: Path) -> Teaching:
    return Teaching(taught, splits, tmp_path, Resources(cpu=1), Journal(tmp_path / "own.jsonl"))


def test_a_teacher_that_runs_online_tells_its_logits_of_validation_alone(
    splits: Splits, tmp_path: Path
) -> None:
    whole = Sitting(splits, tmp_path, "whole")
    journal = Journal(tmp_path / "part.jsonl")
    teaching = Teaching(TEACHER, splits, tmp_path, Resources(cpu=1), journal, whole=False)
    found = teaching.signals([].append)
    assert found.shape == (len(splits.validation), 10)
    assert np.array_equal(found, whole.teaching.of_validation(whole.signals))
    assert np.array_equal(found, teaching.of_validation(found))
    assert not Record.of(journal).of_kind("teacher")  # it was trained by the first
    assert len(list((tmp_path / "signals").iterdir())) == 2


LIBRARY = """
import torch
from kdsearch import models

def build(classes, channels, weights):
    network = models.build("cnn", classes, channels, width=4)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network
"""


def test_a_teacher_that_comes_trained_is_used_as_it_is(splits: Splits, tmp_path: Path) -> None:
    training = TEACHER.training(splits)
    accuracy = list(training)[-1].accuracy
    torch.save(training.model.state_dict(), tmp_path / "taught.pth")
    (tmp_path / "library.py").write_text(LIBRARY)
    model = {
        "name": "build",
        "file": str(tmp_path / "library.py"),
        "weights": str(tmp_path / "taught.pth"),
    }
    taught = Teacher.model_validate({"model": model, "trained": True, "accuracy": accuracy})
    assert taught.epochs == 0
    said: list[str] = []
    signals = _teaching(taught, splits, tmp_path).signals(said.append)
    expected = predict(training.model, part(splits, splits.fitted)).numpy()
    assert signals == pytest.approx(expected, abs=0.02, rel=2e-3)
    assert said[-1] == "Teacher: build with the weights of its library."
    with pytest.raises(ValueError, match="trained in its library or have a `checkpoint`"):
        Teacher.model_validate({"model": model, "trained": True, "checkpoint": "x"})


def test_a_teacher_from_elsewhere_is_not_trained_and_must_know_the_data(
    splits: Splits, tmp_path: Path
) -> None:
    """First its checkpoint, then its logits alone: the same signals as where it was trained."""
    model = TEACHER.model
    learned = Teacher.model_validate(
        {"model": model, "recipe": {"epochs": 12, "learning_rate": 0.1, "schedule": "cosine"}}
    )
    training = learned.training(splits)
    accuracy = list(training)[-1].accuracy
    state = training.model.state_dict()
    torch.save({"model": state}, tmp_path / "taught.pth")
    said: list[str] = []
    checkpoint = Teacher(model=model, checkpoint=str(tmp_path / "taught.pth"), accuracy=accuracy)
    signals = _teaching(checkpoint, splits, tmp_path).signals(said.append)
    expected = predict(training.model, part(splits, splits.fitted)).numpy()
    assert signals == pytest.approx(expected, abs=0.02, rel=2e-3)
    assert said[-1].startswith("Teacher: cnn with the weights of")
    assert not Record.of(Journal(tmp_path / "own.jsonl")).of_kind("teacher")

    (stored,) = (tmp_path / "signals").glob("*/plain.arrow")
    alone = Teacher(logits=str(stored))
    teaching = _teaching(alone, splits, tmp_path)
    assert np.array_equal(teaching.signals(said.append), signals)
    assert (teaching.similarity(), teaching.on_test()) == (None, None)

    better = checkpoint.model_copy(update={"accuracy": min(1.0, accuracy + 0.01)})
    with pytest.raises(StoreError, match=r"must have at least .* on validation, but has"):
        _teaching(better, splits, tmp_path).signals(said.append)
    last = list(state)[-1]
    state[last[: -len("bias")] + "weight"] = state[last[: -len("bias")] + "weight"].roll(1, 0)
    torch.save(state, tmp_path / "renumbered.pth")
    other = Teacher(model=model, checkpoint=str(tmp_path / "renumbered.pth"))
    with pytest.raises(StoreError, match="classes may be numbered in another order"):
        _teaching(other, splits, tmp_path).signals(said.append)


@pytest.mark.parametrize(("classes", "least"), [(2, 0.75), (3, 2 / 3), (8, 0.25)])
def test_a_teacher_without_a_claim_must_be_far_from_chance(
    classes: int, least: float, tmp_path: Path
) -> None:
    """Of two classes twice chance would be all right, which no honest teacher is."""
    splits = data.load("digits", validation=0.2, classes=classes)
    right = np.eye(classes)[splits.labels[splits.fitted]]
    wrong = np.flatnonzero(np.isin(splits.fitted, splits.validation))
    for share, refused in ((1 - least - 0.04, False), (1 - least + 0.04, True)):
        told = right.copy()
        mistaken = wrong[: round(share * len(wrong))]
        told[mistaken] = np.roll(told[mistaken], 1, axis=1)
        file = tmp_path / f"{refused}.parquet"
        pq.write_table(pa.table({"logits": told.tolist()}), file)
        teaching = _teaching(Teacher(logits=str(file)), splits, tmp_path)
        if not refused:
            teaching.signals([].append)
            continue
        message = rf"at least {least:.2%} accuracy on validation.*`teacher: {{accuracy: \.\.\.}}`"
        with pytest.raises(StoreError, match=message):
            teaching.signals([].append)


def test_a_damaged_picture_of_a_stream_costs_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    for file in photographs(tmp_path / "pictures")[1:18:2]:
        file.write_bytes(file.read_bytes()[:-300])
    damaged = data.load(
        "image_folder",
        validation=0.34,
        root=str(tmp_path / "pictures"),
        size=8,
        stream=True,
        normalisation={"mean": [0.5] * 3, "std": [0.2] * 3},
    )
    with pytest.raises(DataError, match=r"decodable, but .*JPEG is not") as caught:
        _teaching(TEACHER, damaged, tmp_path).signals([].append)
    assert "Traceback" not in str(caught.value)
