"""The doctor on machines where something is wrong, made so on purpose, and on a real cluster."""

import json
import sqlite3
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from packaging.specifiers import SpecifierSet

from kdsearch.cli import cli
from kdsearch.doctor import environment, examined
from kdsearch.doctor.environment import Surroundings
from kdsearch.doctor.finding import Finding
from kdsearch.search import cluster
from tests.search.driving import free_port, head, kdsearch


def one(findings: Iterator[Finding]) -> Finding:
    (found,) = findings
    return found


@pytest.mark.parametrize(("version", "word"), [("3.10.9", "wrong"), ("3.13.0", "ok")])
def test_python(monkeypatch: pytest.MonkeyPatch, version: str, word: str) -> None:
    monkeypatch.setattr(environment.platform, "python_version", lambda: version)
    assert one(environment.python(Surroundings(Path()))).word == word


def test_packages_too_old_missing_and_with_a_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    real = environment.version
    asked = {"ray": "2.9.3", "mlflow": "3.9.1"}

    def version(name: str) -> str:
        if name == "cmaes":
            raise environment.PackageNotFoundError(name)
        return asked.get(name) or real(name)

    monkeypatch.setattr(environment, "version", version)
    found = list(environment.packages(Surroundings(Path())))
    assert [finding.word for finding in found] == ["wrong", "wrong", "look", "ok"]
    told = "\n".join(finding.said for finding in found)
    assert "cmaes must be >=0.11, but is missing" in told
    assert "ray must be >=2.60, but is 2.9.3" in told
    assert "pip install -U mlflow" in found[2].remedy


def test_the_python_range_is_the_packages_own(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]) == environment.PYTHONS


def test_a_driver_without_a_gpu_for_pytorch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment.torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(environment, "DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert one(environment.gpus(Surroundings(tmp_path))).word == "wrong"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert one(environment.gpus(Surroundings(tmp_path))).word == "look"
    monkeypatch.setattr(environment, "DRIVER", tmp_path / "none")
    assert one(environment.gpus(Surroundings(tmp_path))).word == "ok"


def test_a_storage_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    found = one(environment.storage(Surroundings(tmp_path / "runs")))
    assert found.word == "wrong"
    assert "--storage" in found.remedy
    assert one(environment.storage(Surroundings(tmp_path / "new"))).word == "ok"


@pytest.mark.parametrize(("free", "word"), [(1e8, "wrong"), (5e9, "look"), (1e12, "ok")])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, word: str) -> None:
    usage = environment.shutil.disk_usage(tmp_path)._replace(free=int(free))
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: usage)
    assert one(environment.disk(Surroundings(tmp_path / "not" / "there"))).word == word


class Refusing(BaseHTTPRequestHandler):
    """An MLflow server that was not told its own name."""

    def do_POST(self) -> None:
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"Invalid Host header - possible DNS rebinding attack detected")

    do_GET = do_POST  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Nothing: a test's output is its own."""


def test_trackers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on = Surroundings(tmp_path)
    assert "will be made" in one(environment.tracker(on)).said
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("create table alembic_version (version_num text)")
        store.execute("insert into alembic_version values ('of the future')")
    found = one(environment.tracker(on))
    assert found.word == "wrong"
    assert "A newer MLflow wrote it" in found.remedy
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    assert "plain folders" in one(environment.tracker(on)).remedy
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    assert "Start the server" in one(environment.tracker(on)).remedy
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        found = one(environment.tracker(on))
        assert f"--allowed-hosts 127.0.0.1:{server.server_port}" in found.remedy
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("optuna", "count"), [("4.5.0", 1), (None, 0)])
def test_a_search_that_another_sampler_began(
    tmp_path: Path, optuna: str | None, count: int
) -> None:
    folder = tmp_path / "searches" / "small-0-1"
    folder.mkdir(parents=True)
    began = {"optuna": optuna or environment.version("optuna")}
    event = {"event": "search", "time": 0, "environment": began}
    (folder / "journal.jsonl").write_text(json.dumps(event) + "\n")
    found = list(environment.unfinished(Surroundings(tmp_path)))
    assert len(found) == count
    assert all("--fresh" in finding.remedy for finding in found)


@pytest.mark.parametrize(
    ("gpus", "seen", "version", "problem", "word"),
    [
        (0, 0, environment.__version__, "", "ok"),
        (1, 0, environment.__version__, "", "wrong"),
        (1, 2, environment.__version__, "", "look"),
        (0, 0, "0.0.1", "", "wrong"),
        (0, 0, "", "ModuleNotFoundError: No module named 'kdsearch'", "wrong"),
    ],
)
def test_nodes(gpus: float, seen: int, version: str, problem: str, word: str) -> None:
    assert one(environment._of_node("10.0.0.7", gpus, seen, version, problem)).word == word


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def odd(_: Surroundings) -> Iterator[Finding]:
        raise RuntimeError("the moon is full")
        yield

    def refused(*_: Any) -> None:
        raise environment.KdsearchError("a cluster must answer, but none does.")

    monkeypatch.setattr(environment, "CHECKS", (odd, environment.ray, environment.python))
    monkeypatch.setattr(cluster, "connected", refused)
    found = list(examined(tmp_path))
    assert [(each.word, each.check) for each in found[:2]] == [("wrong", "odd"), ("wrong", "ray")]
    assert "the moon is full" in found[0].said
    assert found[1].said == "a cluster must answer, but none does."
    assert found[2].word == "ok"


def test_a_broken_study_is_told_with_all_of_its_mistakes(
    monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "CHECKS", (environment.python,))
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(content | {"recipe": {"epochs": 0}, "student": {"name": "x"}}))
    result = CliRunner().invoke(cli, ["doctor", str(study), "--storage", str(tmp_path / "runs")])
    assert result.exit_code == 1
    assert "wrong  study           recipe.epochs: epochs >= 1 must hold" in result.output
    assert "wrong  study           student: " in result.output
    assert "ok     python" in result.output
    study.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(cli, ["doctor", str(study), "--storage", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    assert "ok     networks        student and teacher give one logit per class" in result.output


@pytest.mark.slow
def test_every_node_of_a_cluster_is_asked(content: dict[str, Any], tmp_path: Path) -> None:
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(content | {"resources": {"cpu": 3}}))
    with head(tmp_path, gpus=1) as (address, _):
        said = kdsearch("doctor", study, "--storage", tmp_path / "runs", "--address", address,
                        RAY_AUTH_MODE="disabled")  # fmt: skip
    assert said.returncode == 1, said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    assert "has 1 GPU for Ray, but PyTorch sees 0 there" in said.stdout
    assert f"every node reaches {tmp_path / 'runs'}" in said.stdout
    assert "the study asks for 3 CPUs per trial, but there are 2" in said.stdout
    assert list((tmp_path / "runs").iterdir()) == []
