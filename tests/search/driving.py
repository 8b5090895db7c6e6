"""kdsearch driven as a user would: the command, its files, MLflow."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from kdsearch.search import storage as store
from kdsearch.tracking import Record

KDSEARCH = [sys.executable, "-c", "from kdsearch.cli import main; main()"]

STUDY: dict[str, Any] = {
    "data": {"name": "digits", "validation": 0.2},
    "teacher": {
        "model": {"name": "cnn", "width": 8},
        "recipe": {"epochs": 3, "learning_rate": 0.1, "schedule": "cosine"},
    },
    "student": {"name": "cnn", "width": 4},
    "recipe": {"epochs": 4, "learning_rate": 0.1, "schedule": "cosine"},
    "space": {
        "objective": {
            "choice": [
                {"name": "ce"},
                {"name": "kd", "lam": {"uniform": [0, 1]}},
                {"name": "ptloss", "epsilons": [{"uniform": [0, 2]}]},
            ]
        },
        "recipe": {"learning_rate": {"choice": [0.1, 0.3, 1e30]}},
    },
    "search": {
        "trials": 12,
        "algorithm": {"name": "tpe", "startup_trials": 4},
        "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 2},
        "control": "none",
    },
    "final": {"seeds": 2},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes))
    return path


def kdsearch(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*KDSEARCH, *map(str, words)]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


def until(reached: Callable[[], Any], seconds: float = 300) -> Any:
    """What `reached` returns, once that is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := reached():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing came in {seconds} s")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def tree(root: int) -> list[int]:
    """A process and all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state = file.read_text().rpartition(") ")[2].split()
            children.setdefault(int(state[1]), []).append(int(file.parent.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def kill(root: int) -> None:
    """SIGKILL to a process and all that descend from it."""
    for process in tree(root):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@contextmanager
def head(folder: Path, **resources: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a Ray head with two CPUs, as a user would start it, once it answers."""
    port = free_port()
    words = f"start --head --block --port={port} --num-cpus=2 --disable-usage-stats"
    options = ["--include-dashboard=false", "--temp-dir", f"/tmp/kds-{port}"]
    options += [f"--num-{name}={count}" for name, count in resources.items()]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *words.split(), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
            start_new_session=True,
        )
    try:
        until(lambda: process.poll() or "Ray runtime started" in (folder / "head.log").read_text())
        assert process.poll() is None, (folder / "head.log").read_text()
        yield f"127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Driver:
    """A kdsearch that runs while a test does something to it or to its neighbours."""

    def __init__(self, log: Path, command: Sequence[str | Path], **environment: str) -> None:
        self.log = log
        with log.open("w") as output:  # no pipe: what Ray leaves behind would hold it open
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                # A shell's background job ignores Ctrl-C, and its children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def wait_for(self, reached: Callable[[], Any]) -> Any:
        """What `reached` returns, once that is something; fails if the driver ends before."""

        def reached_in_time() -> Any:
            gone = self.process.poll() is not None
            found = reached()
            assert found or not gone, f"ended with {self.process.returncode}: {self.said}"
            return found

        return until(reached_in_time)

    def end(self, with_signal: int | None = None, seconds: float = 300) -> tuple[int, str]:
        """The exit status, and all that it said; sent a signal if one is given."""
        if with_signal is not None:
            self.process.send_signal(with_signal)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s: {self.said}") from None
        return code, self.said

    @property
    def said(self) -> str:
        return self.log.read_text()


def leaderboard(storage: Path, *search: str) -> list[dict[str, Any]]:
    done = kdsearch("leaderboard", *search, "--storage", storage, "--format", "json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def mlflow_runs(uri: str, search: str, experiment: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    query = f"tags.search = '{search}'"
    return list(client.search_runs([found.experiment_id], query, max_results=1000))


def assert_mlflow_agrees(storage: Path, folder: Path, uri: str = "") -> None:
    """Every row and every training is one run, apart, with what leaderboard and journal say.

    A training has the journal's status, parameters, and one metric an epoch.
    """
    from mlflow.tracking import MlflowClient

    uri = uri or f"sqlite:///{storage / 'mlflow.db'}"
    client = MlflowClient(uri)
    record = store.record_of(folder)
    runs = mlflow_runs(uri, folder.name, "small")
    (parent,) = [run for run in runs if run.data.tags["kind"] == "search"]
    assert parent.info.status == "FINISHED"
    shown = {run.data.tags["row"]: run.data.metrics for run in runs if run is not parent}
    board = leaderboard(storage, folder.name)
    assert len(runs) == len(board) + 1
    assert set(shown) == {row["name"] for row in board}
    for row in board:
        assert shown[row["name"]]["test_accuracy"] == row["mean"] / 100
        assert shown[row["name"]]["n"] == row["n"]
        low = row["mean_low"]
        assert shown[row["name"]].get("test_accuracy_low") == (low and low / 100)
    trained = mlflow_runs(uri, folder.name, "small trainings")
    by_trial = {run.data.tags["trial_id"]: run for run in trained}
    assert len(trained) == len(by_trial) == len(record.trials)
    states = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
    for name, run in by_trial.items():
        trial, tags = record.trials[name], run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (tags["kind"], tags["objective"]) == (trial.kind, trial.family)
        assert (tags["status"], run.info.status) == (trial.status, states[trial.status])
        assert tags["study_digest"] == record.header["digest"]
        judged = "test_accuracy" if trial.kind == "final" else "val_accuracy"
        history = client.get_metric_history(run.info.run_id, judged)
        logged = [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)]
        assert logged == [(e["epoch"], e["accuracy"]) for e in trial.epochs]
        rate = trial.experiment["recipe"]["learning_rate"]
        assert run.data.params["recipe.learning_rate"] == str(rate)
    artifacts = [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert artifacts == ["journal.jsonl", "report.csv", "report.html", "report.md", "study.json"]


def digest(storage: Path) -> str:
    return str(store.record_of(store.named(storage)).header["digest"])[:8]


def ended(record: Record, kind: str) -> int:
    return sum(trial.status != "running" for trial in record.of_kind(kind))
