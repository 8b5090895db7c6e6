"""The terminal: helps, lists and checks quickly; every mistake is a sentence and exit status 1."""

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient

from kdsearch import catalogue
from kdsearch.cli import cli
from kdsearch.errors import KdsearchError
from tests.search.driving import KDSEARCH, Driver, free_port, kdsearch, tree, until


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_help_names_every_command_with_a_sentence() -> None:
    said = run("--help").output
    assert "kdsearch run search_spaces/digits.yaml" in said
    for name, command in cli.commands.items():
        assert f"\n  {name} " in said
        assert command.help is not None
        assert command.help.strip().endswith(".")
        assert run(name, "--help").exit_code == 0


@pytest.mark.parametrize("what", catalogue.FOLDERS)
def test_list_shows_every_name_with_settings(what: str) -> None:
    said = run("list", what).output
    folder, _ = catalogue.FOLDERS[what]
    for name in catalogue.names(folder):
        assert f"\n{name} " in f"\n{said}"
        assert catalogue.describe(folder, name).settings in said


def test_check_shows_the_plan(root: Path) -> None:
    said = run("check", root / "search_spaces" / "digits.yaml").output
    for telling in (
        "15 dimensions:",
        "objective.wttm.weighting_power  uniform: [0, 2]",
        "64 trials of 18 epochs, algorithm tpe, scheduler asha, seed 0",
        "first trials: ce, kd, logit_mse, ttm, wttm, ptloss at their published settings",
        "finals: at most 12 rows x 5 seeds",
        "control: kd alone, until it has had as many student-epochs as the objective that took",
        # 64 trials, as many of the control, and 12 x 5 finals of 18 epochs.
        "at most 3384 student-epochs and 40 teacher-epochs",
        "each trial takes 1 CPU and 0 GPU",
    ):
        assert telling in said


def test_check_with_a_cluster_says_nodes_and_width(
    content: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    study = tmp_path / "small.yaml"
    content["search"]["trials"] = 40
    study.write_text(yaml.safe_dump(content | {"resources": {"cpu": 1, "gpu": 0.25}}))
    said = run("check", study, "--cluster", root / "cluster.yaml").output.splitlines()
    assert said[-10:] == [
        "cluster kdsearch (cluster.yaml): a head and at most 8 workers",
        "  head: 0 CPU, 0 GPU, holds no trial, the head",
        "  gpu_spot: 8 CPU, 1 GPU, 4 trials per node, 4 per GPU, 0 to 8 of them",
        "  gpu_on_demand: 8 CPU, 1 GPU, 4 trials per node, 4 per GPU, 0 to 2 of them",
        "",
        "room for 32 trials at once; the widest useful concurrency of this search is 32",
        "32 trials at once ask for 8 gpu_spot",
        "40 trials are then 2 rounds; a proposal learns from what has ended, so fewer at once"
        " (--max-concurrent) propose better and last longer",
        "finals: at most 8 of 8 at once",
        "the teacher's tasks take 1 CPU and 1 GPU, one at a time: they fit",
    ]
    study.write_text(yaml.safe_dump(content | {"resources": {"cpu": 1, "gpu": "auto"}}))
    said = run("check", study, "--cluster", root / "cluster.yaml").output.splitlines()
    for telling in (
        "each trial takes 1 CPU and the share of a GPU that is measured at the start",
        "the teacher takes 1 CPU and 1 GPU",
        "counted with a whole GPU per trial, which the measured share will divide",
        "room for 8 trials at once; the widest useful concurrency of this search is 8",
    ):
        assert telling in said
    study.write_text(yaml.safe_dump(content | {"resources": {"cpu": 1, "gpu": 2}}))
    result = run("check", study, "--cluster", root / "deploy" / "rayjob.yaml")
    assert isinstance(result.exception, KdsearchError)
    assert "one node must hold a whole trial of 1 CPU and 2 GPU" in str(result.exception)


def test_check_reports_data_algorithm_and_scheduler_together(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["data"] = {"name": "cifar100", "root": str(tmp_path)}
    content["search"] = {
        "algorithm": {"name": "grid", "levels": 0},
        "scheduler": {"name": "asha", "grace_period": 9},
    }
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(content))
    result = run("check", study)
    assert isinstance(result.exception, KdsearchError)
    message = str(result.exception)
    assert f"data: {tmp_path}/cifar-100-python must hold the dataset's files" in message
    assert "search.algorithm: 'grid' cannot be set up" in message
    assert "levels >= 1 must hold, but got 0" in message
    assert "1 <= grace_period < epochs=4 must hold, but got 9" in message


@pytest.mark.parametrize("command", ["leaderboard", "report", "sync", "resume"])
def test_an_empty_storage_says_what_to_do(command: str, tmp_path: Path) -> None:
    result = run(command, "--storage", tmp_path)
    assert isinstance(result.exception, KdsearchError)
    assert "kdsearch " in str(result.exception)


@pytest.mark.slow
def test_ui_serves_the_storage_on_loopback_and_leaves_nothing(tmp_path: Path) -> None:
    port, storage = free_port(), tmp_path / "runs"
    storage.mkdir()
    store = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    page = f"http://127.0.0.1:{port}/#/experiments/{store.create_experiment('small')}/runs"
    words = ["ui", "--port", port, "--storage", storage]
    ui = Driver(tmp_path / "log", [*KDSEARCH, *words], MLFLOW_SERVER_ALLOWED_HOSTS="elsewhere")
    ui.wait_for(lambda: "Tick runs" in ui.said)
    processes = tree(ui.process.pid)
    query = json.dumps({"max_results": 10}).encode()
    for host in (f"127.0.0.1:{port}", "localhost:8123"):  # here, and through a tunnel
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search"
        headers = {"Content-Type": "application/json", "Host": host}
        request = urllib.request.Request(url, query, headers)
        assert b"Default" in urllib.request.urlopen(request, timeout=10).read()
    assert f"  small: all runs {page}\n" in ui.said
    assert f"{page}?workflowType=machine_learning&viewStateShareKey=kdsearch\n" in ui.said
    again = kdsearch(*words)
    assert again.returncode == 1
    assert f"--port {port + 1}" in again.stderr
    code, said = ui.end(signal.SIGTERM)  # as Ctrl-C, which needs no handler of ours
    assert code == 0
    assert said.endswith("MLflow's UI has ended.\n")
    assert len(processes) > 1
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes), 20)


def test_ui_names_a_server_that_the_latest_study_writes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "searches" / "made-1" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    study = {"tracking": {"uri": "http://tracker:5000"}}
    journal.write_text(json.dumps({"event": "search", "time": 0, "study": study}) + "\n")
    assert "open http://tracker:5000" in run("ui", "--storage", tmp_path).output
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://other")
    assert "open https://other" in run("ui", "--storage", tmp_path).output


def test_list_baselines_shows_figures_with_source_and_marks() -> None:
    pair = ("--teacher", "ResNet32x4", "--student", "resnet8x4")
    said = run("list", "baselines", *pair).output
    assert "76.06 +- 0.27 (n=5)" in said
    (dkd,) = [line for line in said.splitlines() if " DKD " in line]
    assert "quoted from" in dkd
    assert "best test epoch" in dkd
    one = run("list", "baselines", *pair, "--method", "wttm").output
    assert all("WTTM" in line for line in one.splitlines())
    assert "are for baselines" in run("list", "objectives", "--teacher", "x").output
