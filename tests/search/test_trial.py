"""A student as a trial: going on from checkpoints wherever they are, and what it holds of memory.

Trials of one node share its data and signals: what each holds of its own is counted.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from kdsearch import data
from kdsearch.data import Splits
from kdsearch.data.views import Views
from kdsearch.search.trial import Lesson, StudentTrial
from kdsearch.teachers import Teacher

ROLLUP = Path("/proc/self/smaps_rollup")
SIDE, CLASSES, HELD_OUT, EPOCHS = 200, 10_000, 20, 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROLLUP.exists(), reason="Linux alone counts memory in this way"),
]

STUDENT = """
from torch import nn


def pooled(classes, channels):
    return nn.Sequential(nn.AvgPool2d(50), nn.Flatten(), nn.Linear(16 * channels, classes))
"""


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Counted(StudentTrial):
    """A trial whose process counts what it has allocated; shared memory is none of that."""

    def __init__(self) -> None:
        """Without Tune, which would set it up once."""

    def allocated_by(self, config: dict[str, Any], lesson: Lesson) -> int:
        """The bytes of its process after all epochs on this lesson."""
        self.setup(config, lesson)
        for _ in range(config["experiment"]["recipe"]["epochs"]):
            assert self.step()["failure"] == ""
        (line,) = (line for line in ROLLUP.read_text().splitlines() if "Anonymous" in line)
        return int(line.split()[1]) * 1024


def lesson_of(images: int, views: Views) -> tuple[Lesson, int]:
    """Random images and signals, and the bytes of the smallest part that could be copied."""
    random, rows = np.random.default_rng(0), np.arange(images)
    splits = Splits(
        images=random.integers(256, size=(images, 1, SIDE, SIDE), dtype=np.uint8),
        labels=random.integers(CLASSES, size=images),
        classes=CLASSES,
        train=rows[2 * HELD_OUT :],
        validation=rows[:HELD_OUT],
        test=rows[HELD_OUT : 2 * HELD_OUT],
        views=views,
    )
    _ = splits.normalisation
    table = random.random((len(splits.fitted), CLASSES), dtype=np.float32).astype(np.float16)
    stored = tuple(ray.put(table) for _ in range(views.needed(EPOCHS)))
    teacher = Teacher(logits="elsewhere.parquet")
    lesson = Lesson(ray.put(splits), ray.put(table), None, stored, teacher, b"")
    return lesson, min(table.nbytes, splits.images.nbytes)


def test_trials_hold_no_copy_of_data_or_signals(tmp_path: Path) -> None:
    (tmp_path / "student.py").write_text(STUDENT)
    config = {
        "kind": "trial",
        "experiment": {
            "model": {"name": "pooled", "file": str(tmp_path / "student.py")},
            "objective": {"name": "kd"},
            "recipe": {"epochs": EPOCHS, "batch_size": 32},
        },
    }
    trials = [ray.remote(num_cpus=0)(Counted).remote() for _ in range(2)]
    for views in (Views(), Views(crop=4, flip=True)):
        few, _ = lesson_of(300, views)
        many, least = lesson_of(3000, views)  # so that a copy stands out of what batches need
        before = ray.get([trial.allocated_by.remote(config, few) for trial in trials])
        after = ray.get([trial.allocated_by.remote(config, many) for trial in trials])
        for first, second in zip(before, after, strict=True):
            assert second - first < least / 2


def test_what_a_trial_is_sent_is_small() -> None:
    lesson, _ = lesson_of(100, Views())
    assert len(ray.cloudpickle.dumps(lesson)) < 10_000


WHOLE = 4
EXPERIMENT = {
    "model": {"name": "cnn", "width": 4},
    "recipe": {"epochs": WHOLE, "learning_rate": 0.1, "schedule": "cosine"},
    "objective": {"name": "ce"},
    "seed": 0,
}
TEACHER = Teacher.model_validate({"model": {"name": "cnn"}, "recipe": {"epochs": 1}})


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.2)


@pytest.fixture
def begun(splits: Splits) -> Callable[..., StudentTrial]:
    """A trial as an actor would have it."""

    def begin(goes_on: dict[str, Any] | None = None, **settings: Any) -> StudentTrial:
        trial = StudentTrial.__new__(StudentTrial)
        config = {"kind": "trial", "experiment": EXPERIMENT, "goes_on": goes_on}
        lesson = Lesson(ray.put(splits), None, None, (), TEACHER, b"")
        trial.setup(config, lesson, **settings)
        return trial

    return begin


def told(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[key] for key in ("epoch", "train_loss", "accuracy", "loss"))


@pytest.mark.parametrize("kind", ["{}", "file://{}"])
def test_a_student_goes_on_from_a_folder_or_a_uri(
    kind: str, begun: Callable[..., StudentTrial], tmp_path: Path
) -> None:
    trial = begun()
    whole = [trial.step() for _ in range(2)]
    trial.save_checkpoint(str(tmp_path))
    whole += [trial.step() for _ in range(WHOLE - 2)]
    goes_on = {"checkpoint": kind.format(tmp_path), "past": whole[:2]}

    again = begun(goes_on)
    assert again._training.epoch == 2  # nothing was trained to repeat the two
    assert [told(again.step()) for _ in range(WHOLE)] == [told(each) for each in whole]

    shutil.rmtree(tmp_path)
    lost = begun(goes_on)
    assert lost._training.epoch == 0
    assert [told(lost.step()) for _ in range(WHOLE)] == [told(each) for each in whole]


@pytest.mark.parametrize(("place", "reached"), [("", True), ("gone", False), ("uri", True)])
def test_a_node_without_the_drivers_disk_keeps_no_checkpoint(
    place: str, reached: bool, begun: Callable[..., StudentTrial], tmp_path: Path
) -> None:
    where = "s3://bucket/search" if place == "uri" else str(tmp_path / place)
    trial = begun(checkpoints=where, every=0.0)
    assert [trial.step().get("should_checkpoint", False) for _ in range(WHOLE)] == [
        *[reached] * (WHOLE - 1),
        False,
    ]
