"""Real searches in other circumstances: a running cluster, views, streamed pictures, refusals."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from kdsearch.search import storage as store
from kdsearch.tracking import Record
from tests.data.small import photographs
from tests.search.driving import STUDY, head, kdsearch, write

pytestmark = pytest.mark.slow

PLAIN = {"scheduler": {"name": "none"}, "algorithm": {"name": "random"}, "control": "none"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray head with two CPUs and one logical GPU."""
    with head(tmp_path, gpus=1) as (address, _):
        yield address


SOCIABLE = """
import os
import time
from pathlib import Path

from torch import nn

from kdsearch import models


class Sociable(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        if self.training:
            there = Path(__file__).parent / "there"
            there.mkdir(exist_ok=True)
            (there / str(os.getpid())).touch()
            patience = time.monotonic() + 60
            while len(list(there.iterdir())) < 2 and time.monotonic() < patience:
                time.sleep(0.02)
        return self.network(images)


def build(classes, channels):
    return Sociable(models.build("cnn", classes, channels, width=4))
"""


def test_a_running_cluster_is_used_and_left_running(cluster: str, tmp_path: Path) -> None:
    """Half-GPU trials run side by side; the address comes from the environment.

    The first student waits in its first batch for another process that trains.
    """
    (tmp_path / "sociable.py").write_text(SOCIABLE)
    student = {"file": "sociable.py", "name": "build"}
    search = PLAIN | {"trials": 4}
    study = write(tmp_path, search=search, resources={"cpu": 1, "gpu": 0.5}, student=student)
    storage = tmp_path / "runs"
    environment = {"RAY_ADDRESS": cluster, "RAY_AUTH_MODE": "disabled"}
    done = kdsearch("run", study, "--storage", storage, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    record = store.record_of(store.named(storage))
    assert record.header["slots"] == 2
    assert most_at_once(record) >= 2
    still = subprocess.run(
        [sys.executable, "-c", f"import ray; ray.init('{cluster}'); print('alive')"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
    )
    assert "alive" in still.stdout, still.stderr


def most_at_once(record: Record) -> int:
    """The largest number of students that were between two of their epochs at one time."""
    spans = [(t.epochs[0]["time"], t.epochs[-1]["time"]) for t in record.of_kind("trial")]
    return max(sum(low <= start <= high for low, high in spans) for start, _ in spans)


def test_a_gpu_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    study = write(tmp_path, resources={"cpu": 1, "gpu": 64})
    done = kdsearch("run", study, "--storage", tmp_path / "runs")
    assert done.returncode == 1
    assert "asks for 64 GPU per trial" in done.stderr
    assert "To run on CPUs, set `resources: {cpu: 1, gpu: 0}`" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "teachers").exists()
    assert not store.record_of(store.named(tmp_path / "runs")).header


def test_a_study_with_mistakes_starts_nothing(tmp_path: Path) -> None:
    study = write(tmp_path, student={"name": "cnn", "wide": 3}, final={"seeds": 1}, extra=1)
    done = kdsearch("run", study, "--storage", tmp_path / "runs")
    assert done.returncode == 1
    assert "small.yaml has" in done.stderr
    for telling in ("final.seeds: seeds >= 2 must hold, but got 1.", "extra: there is no setting"):
        assert telling in done.stderr
    assert not (tmp_path / "runs").exists()


def test_students_of_views_learn_from_the_teachers_logits_of_the_same_views(tmp_path: Path) -> None:
    """Stored and online, one search each: the same proposals, the same accuracies but rounding."""
    views = {"crop": 1, "flip": True, "count": 3}
    changes = {
        "data": STUDY["data"] | {"views": views},
        "search": PLAIN | {"trials": 3},
    }
    found = {}
    for signals in ("stored", "online"):
        storage = tmp_path / signals
        study = write(tmp_path, signals=signals, **changes)
        done = kdsearch("run", study, "--storage", storage, "--max-concurrent", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        record = store.record_of(store.named(storage))
        found[signals] = [t.epochs[0]["train_loss"] for t in record.of_kind("trial")]
        files = {file.name for file in (storage / "signals").rglob("*.arrow")}
        assert ("view-00002.arrow" in files) == (signals == "stored")
    assert found["stored"] == pytest.approx(found["online"], rel=1e-3)


def test_pictures_are_streamed_and_the_teacher_runs_beside_every_student(tmp_path: Path) -> None:
    """Of the teacher's logits only those that principled selection reads are kept."""
    photographs(tmp_path / "pictures", each=12, sides=(20, 40))
    pictures = {"name": "image_folder", "root": str(tmp_path / "pictures"), "size": 16}
    space = {"objective": {"name": "ptloss", "epsilons": [{"uniform": [0, 2]}]}}
    study = write(
        tmp_path,
        data=pictures | {"stream": True, "validation": 0.25, "views": {"area": 0.3, "flip": True}},
        signals="online",
        space=space,
        recipe={"epochs": 2, "batch_size": 8},
        search=PLAIN | {"trials": 5},
    )
    storage = tmp_path / "runs"
    done = kdsearch("run", study, "--storage", storage)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = store.named(storage)
    record = store.record_of(folder)
    trials = record.of_kind("trial")
    assert {trial.status for trial in trials} == {"finished"}
    assert "principled" in {trial.origin for trial in trials}
    (signals,) = (storage / "signals").rglob("*.arrow")
    with pa.memory_map(str(signals)) as source:
        assert pa.ipc.open_file(source).read_all().num_rows == record.header["sizes"]["validation"]
    written = sum(file.stat().st_size for file in (folder / "ray").rglob("*") if file.is_file())
    assert written / len(record.trials) < 30_000
