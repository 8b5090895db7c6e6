"""Faults, each injected for real into a real search: what is lost, what is doubled, what is said.

Every search here is the same one with the same seeds, one trial at a time, so whatever dies in its
middle, its leaderboard must be the undisturbed one's to the last digit. Nothing is timed: a student
waits in the middle of an epoch, where a file tells it to, until the fault has been injected.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
import yaml

from kdsearch.search import storage as store
from kdsearch.tracking import Journal, Record
from tests.search.driving import (
    KDSEARCH,
    STUDY,
    Driver,
    assert_mlflow_agrees,
    free_port,
    head,
    kdsearch,
    kill,
    leaderboard,
    tree,
    until,
)

pytestmark = pytest.mark.slow

STUDENT = '''
"""A small network that waits after as many batches as the file `hold` says, while it is there."""

import os
import time
from pathlib import Path

from torch import nn

from kdsearch import models

FOLDER = Path(__file__).parent


def limit():
    try:
        return int((FOLDER / "hold").read_text())
    except (FileNotFoundError, ValueError):
        return float("inf")


class Waiting(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.batches = network, 0

    def forward(self, images):
        if self.training:
            self.batches += 1
            while self.batches > limit():
                (FOLDER / f"held-{os.getpid()}").touch()
                time.sleep(0.02)
        return self.network(images)


def build(classes, channels, width=4):
    return Waiting(models.build("cnn", classes, channels, width=width))
'''

SMALL: dict[str, Any] = STUDY | {
    "student": {"file": "student.py", "name": "build"},
    "space": {
        "objective": {"choice": [{"name": "ce"}, {"name": "kd", "lam": {"uniform": [0, 1]}}]},
        "recipe": {"learning_rate": {"choice": [0.1, 0.3]}},
    },
    "recipe": STUDY["recipe"] | {"epochs": 6},
    "search": STUDY["search"] | {"trials": 6},
}
EPOCH = 18  # batches of 64 in the 1,149 images that are learned from
OFTEN = """
from kdsearch.cli import main
from kdsearch.search import stages
stages.CHECKPOINT_EVERY = 0.0
main()
"""
IMPATIENT = """
from kdsearch.cli import main
from kdsearch.search import cluster
cluster._AWAY = 1.0
main()
"""


class Bench(NamedTuple):
    """A study in a folder, its storage, and the name of the search that nothing disturbed."""

    folder: Path
    storage: Path
    undisturbed: str

    @property
    def study(self) -> Path:
        return self.folder / "small.yaml"

    def hold(self, batches: int) -> None:
        """From now on every student waits after so many batches."""
        for old in self.folder.glob("held-*"):
            old.unlink()
        (self.folder / "hold").write_text(str(batches))

    def held(self) -> int:
        """The process of a student that waits; 0 where there is none."""
        return next((int(file.name[5:]) for file in self.folder.glob("held-*")), 0)

    def release(self) -> None:
        (self.folder / "hold").unlink(missing_ok=True)

    def run(
        self, *options: str | Path, code: str = KDSEARCH[-1], log: str = "log", **environment: str
    ) -> Driver:
        """The command that every test begins and goes on with."""
        words = ["run", self.study, "--storage", self.storage, "--max-concurrent", "1", *options]
        return Driver(self.folder / log, [*KDSEARCH[:-1], code, *words], **environment)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An undisturbed search; its teacher serves the others."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "student.py").write_text(STUDENT)
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    bench = Bench(folder, folder / "runs", "")
    code, said = bench.run().end()
    assert code == 0, said
    return bench._replace(undisturbed=store.named(bench.storage).name)


@pytest.fixture
def bench(whole: Bench) -> Iterator[Bench]:
    yield whole
    whole.release()


def assert_nothing_happened(bench: Bench, reference: Bench, uri: str = "") -> Record:
    """The search that wrote last is as the undisturbed one: nothing lost and nothing doubled."""
    folder = store.named(bench.storage)
    assert folder != reference.storage / "searches" / reference.undisturbed
    assert leaderboard(bench.storage) == leaderboard(reference.storage, reference.undisturbed)
    record = store.record_of(folder)
    assert record.finished
    assert len(record.of_kind("trial")) == SMALL["search"]["trials"]
    events = [(e["event"], e.get("id"), e.get("epoch")) for e in Journal(folder / "journal.jsonl")]
    once = [event for event in events if event[0] in ("trial", "epoch", "end", "finished")]
    assert len(once) == len(set(once))
    assert_mlflow_agrees(bench.storage, folder, uri)
    return record


def assert_ended(driver: Driver, code: int = 0) -> str:
    """What it said when it ended as expected, in one line however it was wrapped."""
    ended_with, said = driver.end()
    assert ended_with == code, said
    assert "Traceback" not in said
    return " ".join(said.split())


NODES = """
import sys
import time
from pathlib import Path
from threading import Thread

from ray.cluster_utils import Cluster
from rich.console import Console

from kdsearch import commands
from kdsearch.search import stages
from tests.search.driving import kill, tree

stages.CHECKPOINT_EVERY = 0.0
study, storage = map(Path, sys.argv[1:])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]


def fault():
    while not (held := [int(file.name[5:]) for file in study.parent.glob("held-*")]):
        time.sleep(0.05)
    (its,) = (node for node in nodes if held[0] in tree(raylet(node)))
    kill(raylet(its))  # with its workers, as a machine dies: Ray's own call leaves them a while
    cluster.remove_node(its, allow_graceful=False)
    (study.parent / "hold").unlink()


def raylet(node):
    (found,) = node.all_processes["raylet"]
    return found.process.pid


try:
    cluster.wait_for_nodes()
    Thread(target=fault, daemon=True).start()
    commands.run(study, storage, cluster.address, max_concurrent=1, console=Console(width=180))
finally:
    cluster.shutdown()
"""


def test_a_killed_nodes_student_moves_and_goes_on_from_its_checkpoint(bench: Bench) -> None:
    """The head runs no trial, so that the other node has to take it over."""
    bench.hold(2 * EPOCH + 3)
    command = [sys.executable, "-c", NODES, bench.study, bench.storage]
    said = assert_ended(Driver(bench.folder / "log", command, RAY_AUTH_MODE="disabled"))
    assert "The process of t0000, or its node, died: it goes on after epoch 2." in said
    assert_nothing_happened(bench, bench)


def test_a_killed_head_ends_the_driver_and_a_new_one_goes_on(bench: Bench) -> None:
    bench.hold(2 * EPOCH + 3)
    with head(bench.folder) as (address, process):
        driver = bench.run("--address", address, code=IMPATIENT, RAY_AUTH_MODE="disabled")
        driver.wait_for(bench.held)
        kill(process.pid)
    bench.release()
    said = assert_ended(driver, 1)
    assert "the Ray cluster must answer, but its head at" in said
    with head(bench.folder) as (address, _):
        said = assert_ended(bench.run("--address", address, RAY_AUTH_MODE="disabled"))
    assert "Going on with" in said
    assert_nothing_happened(bench, bench)


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An MLflow server on loopback that answers."""
    backend = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *backend, *artifacts, *words],
            stdout=log,
            stderr=log,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield process
    finally:
        kill(process.pid)
        process.wait()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def test_a_paused_and_killed_mlflow_server_costs_the_search_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    bench.hold(2 * EPOCH + 3)
    with server(tmp_path, port) as process:
        driver = bench.run(MLFLOW_TRACKING_URI=uri)
        driver.wait_for(bench.held)
        driver.wait_for(lambda: written(uri))
        for pid in tree(process.pid):
            os.kill(pid, signal.SIGSTOP)
        bench.hold(5 * EPOCH + 3)
        driver.wait_for(bench.held)
        record = store.record_of(store.named(bench.storage))
        assert len(record.trials["t0000"].epochs) == 5  # three of them while nobody listened
        for pid in tree(process.pid):
            os.kill(pid, signal.SIGCONT)
        driver.wait_for(lambda: written(uri) == 5)
    bench.release()
    said = assert_ended(driver)
    assert f"MLflow at {uri} could not be written" in said
    assert "`kdsearch sync` writes it to MLflow once it answers" in said
    with server(tmp_path, port):
        for _ in range(2):
            done = kdsearch("sync", "--storage", bench.storage, MLFLOW_TRACKING_URI=uri)
            assert done.returncode == 0, done.stderr
        assert_nothing_happened(bench, bench, uri)


def written(uri: str) -> int:
    """The epochs of the first student that MLflow holds; 0 before its run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    if (experiment := client.get_experiment_by_name("small trainings")) is None:
        return 0
    runs = client.search_runs([experiment.experiment_id], "tags.trial_id = 't0000'")
    return len(client.get_metric_history(runs[0].info.run_id, "val_accuracy")) if runs else 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, but: int = 0) -> Path:
    """Leave so many bytes; returns the file that takes the others."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(filler, filler.stat().st_size - but)
    return filler


def test_a_full_disk_stops_the_search_before_anything_is_half_written(
    bench: Bench, disk: Path, tmp_path: Path
) -> None:
    """First there is no room for the signals, then, in mid-search, none for the journal."""
    here = bench._replace(storage=disk / "runs")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    shutil.copytree(bench.storage / "teachers", here.storage / "teachers")
    filler = fill(disk, but=6 * 4096)
    said = assert_ended(here.run(MLFLOW_TRACKING_URI=uri), 1)
    assert "plain.arrow cannot be: No space left on device. Make room" in said
    assert not [file for file in (here.storage / "signals").rglob("*") if file.is_file()]

    filler.unlink()
    here.hold(2 * EPOCH + 3)
    driver = here.run(MLFLOW_TRACKING_URI=uri)
    driver.wait_for(here.held)
    fill(disk)
    here.release()
    said = assert_ended(driver, 1)
    assert "journal.jsonl, but: No space left on device. The search has stopped" in said

    filler.unlink()
    assert "Going on with" in assert_ended(here.run(MLFLOW_TRACKING_URI=uri))
    assert_nothing_happened(here, bench, uri)


def test_a_killed_workers_student_goes_on_from_the_checkpoint_that_had_room(
    bench: Bench, disk: Path
) -> None:
    """A full disk refuses those of epochs 3 and 4: it costs time, and first of all no student."""
    bench.hold(2 * EPOCH + 3)
    driver = bench.run("--checkpoints", disk / "kept", code=OFTEN)
    driver.wait_for(bench.held)
    filler = fill(disk)
    bench.hold(4 * EPOCH + 3)
    worker = driver.wait_for(bench.held)
    filler.unlink()
    bench.release()
    os.kill(worker, signal.SIGKILL)
    said = assert_ended(driver)
    assert "A checkpoint of t0000 could not be written" in said
    assert "The process of t0000, or its node, died: it goes on after epoch 2." in said
    record = assert_nothing_happened(bench, bench)
    assert {trial.status for trial in record.trials.values()} == {"finished", "pruned"}


def test_searches_that_begin_at_once_share_a_store(bench: Bench, tmp_path: Path) -> None:
    """Two studies with the same teacher, which neither finds, and one of them twice."""
    here = bench._replace(storage=tmp_path / "runs")
    (tmp_path / "student.py").write_text(STUDENT)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL | {"question": "Another?"}))
    there = here._replace(folder=tmp_path)
    drivers = [here.run(log="first"), here.run(log="second"), there.run(log="third")]
    ended = sorted(driver.end() for driver in drivers)
    assert [code for code, _ in ended] == [0, 0, 1], ended
    assert "a search may have one driver, but small-" in ended[2][1]
    assert "Traceback" not in "".join(said for _, said in ended)
    names = [folder.name for folder in store.searches(here.storage)]
    assert len(names) == 2
    expected = leaderboard(bench.storage, bench.undisturbed)
    for name in names:
        assert leaderboard(here.storage, name) == expected
        assert_mlflow_agrees(here.storage, here.storage / "searches" / name)


def test_ctrl_c_again_and_again_ends_at_once_and_loses_nothing(bench: Bench) -> None:
    bench.hold(2 * EPOCH + 3)
    driver = bench.run()
    driver.wait_for(bench.held)
    for _ in range(1000):
        if driver.process.poll() is not None:
            break
        driver.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    code, said = driver.end()
    # 130, unless Ray, whose shutdown was interrupted, ends the process after the sentence with 1.
    assert code in (130, 1), said
    assert "Traceback" not in said
    assert "`kdsearch resume` goes on" in " ".join(said.split())
    bench.release()
    assert "Going on with" in assert_ended(bench.run())
    assert_nothing_happened(bench, bench)
