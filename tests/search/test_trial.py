"""Trials of one node share its data and signals: what each holds of its own is counted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

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
        few, _ = lesson_of(100, views)
        many, least = lesson_of(1000, views)
        before = ray.get([trial.allocated_by.remote(config, few) for trial in trials])
        after = ray.get([trial.allocated_by.remote(config, many) for trial in trials])
        for first, second in zip(before, after, strict=True):
            assert second - first < least / 2


def test_what_a_trial_is_sent_is_small() -> None:
    lesson, _ = lesson_of(100, Views())
    assert len(ray.cloudpickle.dumps(lesson)) < 10_000
