"""A study as a job of real Ray heads with a dashboard, with and without token authentication.

Run one trial at a time a study gives the same leaderboard wherever it runs, so jobs that were
killed, stopped and submitted again can be held against a search that was left alone.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from kdsearch import __version__
from kdsearch.errors import Interrupted, KdsearchError, ResourceError, SearchError
from kdsearch.search import storage as store
from kdsearch.search.submission import _end
from kdsearch.tracking import Journal, Record

STUDY: dict[str, Any] = {
    "data": {"name": "digits", "per_class": 30, "test_per_class": 20},
    "teacher": {"model": {"name": "cnn", "width": 8}, "recipe": {"epochs": 2}},
    "student": {"file": "mine.py", "name": "build", "width": 4},
    "recipe": {"epochs": 3, "learning_rate": 0.1},
    "space": {"objective": {"name": "kd", "lam": {"uniform": [0, 1]}}},
    "search": {"trials": 8, "scheduler": {"name": "none"}},
    "final": {"seeds": 2},
}
OWN = """
import time

from torch import nn

def build(classes, channels, width):
    time.sleep(0.3)  # a job can be caught in the midst of its search
    head = nn.Flatten(), nn.Linear(36 * width, classes)
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.ReLU(), *head)
"""
TOKEN = "a-token-that-only-this-head-knows"
KDSEARCH = [sys.executable, "-c", "from kdsearch.cli import main; main()"]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@dataclass(frozen=True)
class Head:
    """A Ray head as a user would start it, with a home folder of its own."""

    address: str
    dashboard: str
    home: Path
    authentication: dict[str, str]

    def run(self, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command in the current folder, as someone who knows the token."""
        env = os.environ | self.authentication | environment
        command = [str(word) for word in words]
        return subprocess.run(command, capture_output=True, text=True, timeout=400, env=env)

    def jobs(self, call: str = "", method: str = "GET") -> Any:
        """What the job server says to a call."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"{self.dashboard}/api/jobs/{call}"
        request = urllib.request.Request(url, headers=headers, method=method)
        return json.loads(urllib.request.urlopen(request, timeout=30).read())


@contextmanager
def started(authentication: dict[str, str], folder: Path) -> Iterator[Head]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    # Found by the job's shell, and the code under test.
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "kdsearch").write_text(f'#!/bin/sh\nexec {sys.executable} -m kdsearch.cli "$@"\n')
    (binaries / "kdsearch").chmod(0o755)
    options = zip(
        ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port"),
        ports,
        strict=True,
    )
    command = [*RAY, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in options]
    environment = {
        "PATH": f"{binaries}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "KDSEARCH_CACHE": str(folder / "cache"),
    }
    with tempfile.TemporaryDirectory(prefix="kds-", ignore_cleanup_errors=True) as short:
        process = subprocess.Popen(
            [*command, f"--temp-dir={short}"],
            stdout=(folder / "head.log").open("w"),
            stderr=subprocess.STDOUT,
            env=os.environ | environment | authentication,
            start_new_session=True,
        )
        address, dashboard = (f"127.0.0.1:{port}" for port in ports[:2])
        head = Head(address, f"http://{dashboard}", folder, authentication)
        try:
            _until(lambda: answers(head), "the head to start")
            yield head
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def answers(head: Head) -> bool:
    try:
        return head.jobs() == []
    except OSError:
        return False


def _until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 180
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def open_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with started({"RAY_AUTH_MODE": "disabled"}, tmp_path_factory.mktemp("open")) as head:
        yield head


@pytest.fixture(scope="module")
def guarded_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with started(authentication, tmp_path_factory.mktemp("guarded")) as head:
        yield head


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study in the current folder, with code of its own."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.py").write_text(OWN)
    (work / "small.yaml").write_text(yaml.safe_dump(STUDY))
    monkeypatch.chdir(work)
    return Path("small.yaml")


def leaderboard(head: Head, storage: Path) -> Any:
    done = head.run(*KDSEARCH, "leaderboard", "--storage", storage, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_job_that_is_killed_and_stopped_is_as_if_nothing_had_happened(
    open_head: Head, study: Path, tmp_path: Path
) -> None:
    """The same leaderboard to the last digit as of `kdsearch run`, nothing lost or doubled."""
    storage, one = tmp_path / "runs", ("--max-concurrent", "1")
    submit = [*KDSEARCH, "submit", study, "--address", open_head.dashboard]
    submit += ["--storage", storage, *one, "--no-wait"]

    said = open_head.run(*submit)
    assert said.returncode == 0, said.stdout + said.stderr
    first = only_job(open_head)
    assert f"Submitted {first}." in said.stdout
    assert f"ray job stop --address {open_head.dashboard} {first}" in said.stdout
    journal = journal_of(storage)
    _until(lambda: ended(journal, "trial") >= 3, "three trials")
    driver = int(open_head.jobs(first)["driver_info"]["pid"])
    os.kill(driver, signal.SIGSTOP)  # it must not end while it is looked at
    again = open_head.run(*submit)
    assert f"{first} runs already." in again.stdout
    assert only_job(open_head) == first
    os.kill(driver, signal.SIGKILL)
    _until(lambda: open_head.jobs(first)["status"] == "FAILED", "the job's end")

    said = open_head.run(*submit)
    second = f"{first[:-1]}2"
    assert f"Submitted {second}." in said.stdout, said.stderr
    _until(lambda: ended(journal, "final") >= 1, "a final")
    open_head.jobs(f"{second}/stop", "POST")
    _until(lambda: open_head.jobs(second)["status"] == "STOPPED", "the job to stop")
    log = open_head.jobs(f"{second}/logs")["logs"]
    assert "Going on with" in log
    assert "was stopped. What is done is kept: `kdsearch resume` goes on." in log

    plain = [*RAY, "job", "submit", "--address", open_head.dashboard, "--working-dir", ".", "--"]
    done = open_head.run(*plain, "kdsearch", "run", study, "--storage", storage, *one)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kd (published)" in done.stdout

    (folder,) = (storage / "searches").glob("small-*")
    assert Record.of(Journal(journal)).finished
    events = [(e["event"], e.get("id"), e.get("epoch")) for e in Journal(journal)]
    once = [event for event in events if event[0] in ("trial", "epoch", "end")]
    assert len(once) == len(set(once))
    assert ended(journal, "trial") == 8
    alone = tmp_path / "alone"
    # Its workers are in another folder: the study's own file goes along.
    there = ("--address", open_head.address)
    done = open_head.run(*KDSEARCH, "run", study, *there, "--storage", alone, *one)
    assert done.returncode == 0, done.stdout + done.stderr
    assert leaderboard(open_head, storage) == leaderboard(open_head, alone)
    assert store.named(alone).name == folder.name


def only_job(head: Head) -> str:
    (job,) = head.jobs()
    return str(job["submission_id"])


def journal_of(storage: Path) -> Path:
    """The journal of the one search in a storage, once it is there."""
    found = _until(lambda: list(storage.glob("searches/*/journal.jsonl")), "a journal")
    return Path(found[0])


def ended(journal: Path, kind: str) -> int:
    return sum(t.status != "running" for t in Record.of(Journal(journal)).of_kind(kind))


@pytest.mark.slow
def test_a_job_on_a_head_with_token_authentication(guarded_head: Head, study: Path) -> None:
    """Followed to its end; without --storage it writes where the copy of the folder is not."""
    small = STUDY | {"search": STUDY["search"] | {"trials": 2}}
    study.write_text(yaml.safe_dump(small))
    done = guarded_head.run(
        *(*KDSEARCH, "submit", study), RAY_API_SERVER_ADDRESS=guarded_head.dashboard
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert f"in {guarded_head.home}/kdsearch." in done.stdout
    assert done.stdout.count("made the best student") == 1
    rows = leaderboard(guarded_head, guarded_head.home / "kdsearch")
    assert {row["name"] for row in rows} == {"ce (published)", "kd (published)"}
    assert TOKEN not in done.stdout + str(guarded_head.jobs())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("authentication", "reason"),
    [
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "wrong"}, "Invalid authentication token"),
        ({"RAY_AUTH_MODE": "disabled"}, "Missing authentication token"),
    ],
)
def test_without_the_token_a_sentence_says_so(
    guarded_head: Head, study: Path, tmp_path: Path, authentication: dict[str, str], reason: str
) -> None:
    """At once, where Ray itself would try for minutes; an address that is given wins."""
    elsewhere = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9", "RAY_ADDRESS": "127.0.0.1:9"}
    submit = [*KDSEARCH, "submit", study, "--address", guarded_head.dashboard]
    refused = guarded_head.run(*submit, **authentication, **elsewhere)
    assert refused.returncode == 1
    assert f"must answer at {guarded_head.dashboard}" in refused.stderr
    assert reason in refused.stderr
    assert "RAY_AUTH_MODE=token" in refused.stderr
    run = [*KDSEARCH, "run", study, "--storage", tmp_path / "runs"]
    refused = guarded_head.run(*run, "--address", guarded_head.address, **authentication)
    assert refused.returncode == 1
    assert "InvalidAuthToken" in refused.stderr
    for line in refused.stderr.splitlines():
        assert line.startswith("kdsearch: ")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "127.0.0.1:9"])
def test_where_nobody_answers_a_sentence_says_so(address: str) -> None:
    from kdsearch.search.submission import Jobs

    with pytest.raises(ResourceError, match=f"must answer at {address}, but: .*refused"):
        Jobs(address)


def test_a_job_says_that_its_storage_would_be_lost_with_it(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a cluster: the place that Ray copies working folders to is known by name."""
    copy = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.parent.mkdir(parents=True)
    study.parent.resolve().rename(copy)
    monkeypatch.chdir(copy)
    head = Head("", "", tmp_path, {"HOME": str(tmp_path)})
    refused = head.run(*KDSEARCH, "run", "small.yaml", "--storage", "runs")
    assert "storage must outlive the job that writes it, but runs lies in" in refused.stderr
    assert head.run(*KDSEARCH, "leaderboard").stderr.startswith(
        f"kdsearch: a search must have been run, but {tmp_path}/kdsearch holds none"
    )
    submitted = head.run(*KDSEARCH, "run", "small.yaml", KDSEARCH_SUBMITTED_BY="0.0.9")
    assert f"it was by 0.0.9 and the cluster has {__version__}" in submitted.stderr


@pytest.mark.parametrize(
    ("status", "code", "message", "raised", "said"),
    [
        ("STOPPED", None, None, Interrupted, "job was stopped"),
        ("FAILED", 130, "log", Interrupted, "job was stopped"),
        ("FAILED", 127, "log", ResourceError, "Install kdsearch"),
        ("FAILED", 1, "log", SearchError, "job must end well, but failed: exit code 1"),
        ("FAILED", None, "No space\nlog", SearchError, "but failed: No space. What"),
        ("FAILED", None, None, SearchError, "but failed: no reason given. What"),
    ],
)
def test_how_a_job_ended(
    status: str, code: int | None, message: str | None, raised: type[KdsearchError], said: str
) -> None:
    details = SimpleNamespace(status=status, driver_exit_code=code, message=message)
    with pytest.raises(raised, match=said):
        _end("job", details)
