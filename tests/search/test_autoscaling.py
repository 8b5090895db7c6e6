"""A cluster that grows: Ray's own autoscaler, whose nodes are processes of this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray
import yaml

from kdsearch.search import storage as store
from kdsearch.tracking import Journal

pytestmark = pytest.mark.slow

KDSEARCH = [sys.executable, "-c", "from kdsearch.cli import main; main()"]
HEAD = "f" * 51 + "00000"  # the name that the provider knows its head by
PATIENCE = 240.0  # seconds, for what takes some ten on an idle machine

STUDENT = """
import time
from pathlib import Path
import ray
from torch import nn


class Slow(nn.Sequential):
    def forward(self, images):
        time.sleep(0.01)
        return super().forward(images)


def slow(classes, channels):
    if ray.is_initialized():
        with (Path(__file__).parent / "nodes").open("a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\\n")
    return Slow(nn.Flatten(), nn.LazyLinear(classes))
"""


class Growing(NamedTuple):
    """A running head, the file that it grows by, and what its processes need to know."""

    address: str
    file: Path
    environment: dict[str, str]


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    """A head with one CPU and no GPU, and up to two nodes with a GPU each, gone when idle."""
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    address = f"{ray.util.get_node_ip_address()}:{port}"
    file = tmp_path / "cluster.yaml"
    file.write_text(json.dumps(_cluster(address)))
    session = tempfile.mkdtemp(prefix="kds-")  # short: the paths of Unix sockets are
    environment = {
        "RAY_AUTH_MODE": "disabled",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    }
    words = f"start --head --block --port={port} --num-cpus=1 --num-gpus=0 --temp-dir={session}"
    options = ["--object-store-memory=100000000", "--include-dashboard=false"]
    options += ["--disable-usage-stats", f"--autoscaling-config={file}"]
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *words.split(), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )
    try:
        yield Growing(address, file, {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": address})
    finally:
        head.send_signal(signal.SIGTERM)
        with_patience(lambda: head.poll() is not None)
        for process in _of_session(session):  # nodes that the autoscaler started outlive it
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(session, ignore_errors=True)


def _cluster(address: str) -> dict[str, Any]:
    """A cluster file for the provider that Ray tests its autoscaler with."""
    module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    gpu = {"CPU": 2, "GPU": 1, "object_store_memory": 80 * 2**20}
    head = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    commands = "setup head_setup worker_setup head_start_ray worker_start_ray initialization"
    return {
        "cluster_name": "growing",
        "max_workers": 4,
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": 0.2,
        "provider": {
            "type": "external",
            "module": module,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": HEAD,
            "gcs_address": address,
        },
        "available_node_types": {
            "ray.head.default": head,  # as the provider names it
            "gpu": {"resources": gpu, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        **{f"{name}_commands": [] for name in commands.split()},
        **{name: {} for name in ("file_mounts", "auth", "docker")},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        "file_mounts_sync_continuously": False,
    }


def _of_session(folder: str) -> list[int]:
    """The processes whose command line names a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder.encode() in place.read_bytes() and place.parent.name != str(os.getpid()):
                found.append(int(place.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def with_patience(reached: Callable[[], bool]) -> bool:
    """Whether it was reached in time."""
    deadline = time.monotonic() + PATIENCE
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.2)
    return reached()


def test_nodes_start_for_a_search_are_used_and_let_go(
    growing: Growing,
    content: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head without GPU teaches; two trials of a GPU each wait together for two nodes."""
    for name, value in growing.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "student.py").write_text(STUDENT)
    study = content | {
        "student": {"name": "slow", "file": "student.py"},
        "resources": {"cpu": 1, "gpu": 1, "teacher": {"gpu": 0}},
        "search": {"trials": 2, "scheduler": {"name": "none"}, "algorithm": {"name": "random"}},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    words = ["run", tmp_path / "small.yaml", "--storage", tmp_path / "runs"]
    words += ["--cluster", growing.file]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*KDSEARCH, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )

    done = run()
    deadline = time.monotonic() + PATIENCE
    while "cluster must answer" in done.stderr and time.monotonic() < deadline:
        done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    folder = store.named(tmp_path / "runs")
    record = store.record_of(folder)
    assert record.header["slots"] == 2
    assert {trial.status for trial in record.trials.values()} == {"finished"}

    # Both were asked for before the first had a node: one pending trial would start one node.
    of_trials = {trial.id for trial in record.of_kind("trial")}
    events = Journal(folder / "journal.jsonl")
    of_search = [event["event"] for event in events if event.get("id") in of_trials]
    assert of_search[:3] == ["trial"] * 2 + ["epoch"]

    ran_on = set((tmp_path / "nodes").read_text().split()) - {HEAD}
    assert len(ran_on) == 2

    ray.init(growing.address, log_to_driver=False)
    try:
        assert with_patience(lambda: "GPU" not in ray.cluster_resources())
    finally:
        ray.shutdown()
