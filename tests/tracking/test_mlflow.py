"""MLflow as a copy of the journal: writing events again, by whatever search, doubles nothing."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from kdsearch.tracking import Conclusion, Journal
from kdsearch.tracking import follower as following
from kdsearch.tracking.follower import MlflowFollower, sync
from kdsearch.tracking.mlflow import MlflowWriter, tracking_uri
from tests.tracking.made import outcome, search

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    MlflowClient(tracking_uri(folder)).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def uri(empty: Path, tmp_path: Path) -> str:
    """A store of the test's own."""
    shutil.copy(empty, tmp_path / "mlflow.db")
    return tracking_uri(tmp_path)


def runs(uri: str, query: str = "", experiment: str = "pair") -> list[Any]:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], query))


def trainings(uri: str, query: str = "") -> list[Any]:
    return runs(uri, query, "pair trainings")


def everything(uri: str) -> list[Any]:
    """All that MLflow holds of every run, histories too, in an order of its own."""
    client = MlflowClient(uri)
    return sorted(
        (
            run.info.run_name,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            sorted(run.data.tags.items()),
            sorted(run.data.params.items()),
            [(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs],
            [
                (metric.key, metric.step, metric.timestamp, metric.value)
                for key in sorted(run.data.metrics)
                for metric in client.get_metric_history(run.info.run_id, key)
            ],
        )
        for run in [*runs(uri), *trainings(uri)]
    )


def test_a_study_opens_on_its_rows_and_trainings_stand_apart(uri: str, tmp_path: Path) -> None:
    journal = search(Journal(tmp_path / "j.jsonl"))
    report = tmp_path / "report.html"
    report.write_text("page")
    said = outcome(journal)
    sync(journal, uri, tmp_path, Conclusion(said.standings, said.figures, said.words, (report,)))
    kinds = [run.data.tags["kind"] for run in runs(uri)]
    assert sorted(kinds) == ["paper", "paper", "row", "row", "search"]

    (wttm,) = runs(uri, "tags.row = 'wttm (found)'")
    low, mean, high = (wttm.data.metrics[f"test_accuracy{end}"] for end in ("_low", "", "_high"))
    assert mean == pytest.approx((0.75 + 0.765 + 0.758) / 3)
    # Student's t of three seeds: 4.3027 standard errors to each side.
    assert (mean - low, high - mean) == pytest.approx((0.018643, 0.018643), abs=1e-5)
    assert wttm.data.metrics["over_published_kd"] == pytest.approx(mean - 2.196 / 3)
    assert wttm.data.metrics["n"] == 3
    assert wttm.data.params["objective.temperature"] == "4.0"
    assert "seed" not in wttm.data.params
    assert wttm.data.tags["verdict"] == "not comparable with WTTM 76.06 (zheng2024ttm)"
    assert "240 epochs, the last one counts" in wttm.data.tags["protocol"]
    client = MlflowClient(uri)
    history = client.get_metric_history(wttm.info.run_id, "test_accuracy")
    assert [metric.step for metric in history] == [240]
    (used,) = wttm.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("cifar100", "0123456789abcdef")

    (whole,) = runs(uri, "tags.kind = 'search'")
    assert whole.data.tags["mlflow.note.content"] == "The answer."
    assert whole.data.metrics["student_epochs"] == 17
    assert [file.path for file in client.list_artifacts(whole.info.run_id)] == ["report.html"]
    students = {run.data.tags["trial_id"]: run for run in trainings(uri)}
    assert len(students) == 9
    assert {run.data.tags["mlflow.parentRunId"] for run in students.values()} == {whole.info.run_id}
    states = {name: (run.info.status, run.data.tags["status"]) for name, run in students.items()}
    assert states["t0000"] == ("KILLED", "pruned")
    assert states["t0001"] == ("FAILED", "failed")
    assert states["c0000"] == states["f000-0"] == ("FINISHED", "finished")
    assert students["t0001"].data.tags["reason"] == "the training loss was not finite"
    assert students["c0000"].data.metrics["val_accuracy"] == 0.6
    assert students["f000-0"].data.metrics["test_accuracy"] == 0.73


def test_writing_again_changes_nothing_at_all(uri: str, tmp_path: Path) -> None:
    journal = search(Journal(tmp_path / "j.jsonl"))
    sync(journal, uri, tmp_path, outcome(journal))
    once = everything(uri)
    sync(journal, uri, tmp_path, outcome(journal))
    assert everything(uri) == once


def test_what_ended_is_not_sent_again(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that going on with a search of a thousand trials does not begin by writing them."""
    journal = search(Journal(tmp_path / "j.jsonl"), finished=False)
    MlflowWriter(uri).write(journal)
    writer, sent = MlflowWriter(uri), []
    monkeypatch.setattr(writer._client, "log_batch", lambda run, *_: sent.append(run))
    writer.write(journal)
    (running,) = trainings(uri, "attributes.status = 'RUNNING'")
    assert running.data.tags["trial_id"] == "t0002"
    assert sent == [running.info.run_id]


def test_a_row_is_brought_to_what_is_said_of_it_now(uri: str, tmp_path: Path) -> None:
    """As when a later version judges otherwise; the old figure stays in its history."""
    journal = search(Journal(tmp_path / "j.jsonl"))
    sync(journal, uri, tmp_path, outcome(journal))
    first = outcome(journal).standings[0]
    metrics = {**first.metrics, "test_accuracy_low": 0.01}
    changed = replace(first, metrics=metrics, tags={**first.tags, "verdict": "other"})
    sync(journal, uri, tmp_path, Conclusion((changed,)))
    (run,) = runs(uri, f"tags.row = '{first.name}'")
    assert run.data.metrics["test_accuracy_low"] == 0.01
    assert run.data.tags["verdict"] == "other"


def test_a_writer_that_is_killed_anywhere_is_made_good_by_the_next(
    uri: str, empty: Path, tmp_path: Path
) -> None:
    """SIGKILL at the 24th call to the client, until there are none left."""
    journal = search(Journal(tmp_path / "j.jsonl"))
    whole = f"sqlite:///{shutil.copy(empty, tmp_path / 'whole.db')}"
    sync(journal, whole, tmp_path, outcome(journal))
    deaths = 0
    while True:
        words = [sys.executable, "-c", DYING, str(journal.path), uri, "24"]
        done = subprocess.run(words, env=os.environ, timeout=120)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        deaths += 1
    assert deaths

    def timeless(uri: str) -> list[Any]:
        """Without when a figure of a row was taken, which is when it was written."""
        return [(*run[:-1], [(m[0], m[1], m[3]) for m in run[-1]]) for run in everything(uri)]

    def children(of: list[Any]) -> list[Any]:
        return [[[tag for tag in run[4] if tag[0] != "mlflow.parentRunId"], *run[5:]] for run in of]

    assert children(timeless(uri)) == children(timeless(whole))


DYING = """
import os, signal, sys
from pathlib import Path
from kdsearch.tracking import Journal
from kdsearch.tracking.mlflow import MlflowWriter
from tests.tracking.made import outcome

writer, left = MlflowWriter(sys.argv[2]), [int(sys.argv[3])]

def mortal(call):
    def called(*given, **named):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)
    return called

for name in ("create_run", "log_batch", "set_terminated", "set_tag", "log_inputs"):
    setattr(writer._client, name, mortal(getattr(writer._client, name)))
journal = Journal(Path(sys.argv[1]))
writer.write(journal)
writer.conclude(outcome(journal))
"""


def test_the_description_and_its_view_are_the_users_once_they_are_there(
    uri: str, tmp_path: Path
) -> None:
    journal = search(Journal(tmp_path / "j.jsonl"))
    MlflowWriter(uri).write(journal)
    client = MlflowClient(uri)
    made = client.get_experiment_by_name("pair")
    assert f"#/experiments/{made.experiment_id}/runs" in made.tags["mlflow.note.content"]
    client.set_experiment_tag(made.experiment_id, "mlflow.note.content", "Mine.")
    MlflowWriter(uri).write(journal)
    assert client.get_experiment_by_name("pair").tags["mlflow.note.content"] == "Mine."


def test_trainings_that_an_earlier_version_kept_beside_rows_are_not_doubled(
    uri: str, tmp_path: Path
) -> None:
    journal = search(Journal(tmp_path / "j.jsonl"))
    client = MlflowClient(uri)
    experiment = client.create_experiment("pair")
    tags = {"search": "pair-1", "trial_id": "t0000", "kind": "trial", "status": "running"}
    client.create_run(experiment, tags=tags)
    sync(journal, uri, tmp_path, outcome(journal))
    (old,) = runs(uri, "tags.trial_id = 't0000'")
    assert old.data.tags["status"] == "pruned"
    assert not trainings(uri, "tags.trial_id = 't0000'")
    assert len(trainings(uri)) == 8


def test_papers_stand_once_beside_the_runs_of_every_search(uri: str, tmp_path: Path) -> None:
    for name in ("pair-1", "pair-2", "pair-2"):
        path = tmp_path / f"{name}.jsonl"
        journal = Journal(path) if path.exists() else search(Journal(path), name)
        MlflowWriter(uri).write(journal)
    papers = runs(uri, "tags.kind = 'paper'")
    assert len(papers) == 2
    wttm = next(run for run in papers if run.data.tags["objective"] == "wttm")
    assert wttm.data.metrics["test_accuracy"] == pytest.approx(0.7606)
    assert wttm.data.params["n"] == "5"
    assert "arXiv:2402.11148" in wttm.data.tags["source"]
    kd = next(run for run in papers if run.data.tags["objective"] == "kd")
    assert "quoted from" in kd.data.tags["marks"]
    assert len(trainings(uri, "tags.trial_id = 't0000'")) == 2
    assert len(runs(uri, "tags.kind = 'search'")) == 2
    (trial,) = trainings(uri, "tags.trial_id = 't0000' and tags.search = 'pair-2'")
    history = MlflowClient(uri).get_metric_history(trial.info.run_id, "val_accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5)]
    assert "train_loss" not in trial.data.metrics
    assert trial.data.tags["status"] == "pruned"


def test_a_server_that_is_away_is_a_sentence_and_nothing_worse(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    follower = MlflowFollower(journal, "http://127.0.0.1:9")
    follower.start()
    written = list(search(journal))
    problem = follower.stop(outcome(journal))
    assert problem
    assert "\n" not in problem
    assert list(journal) == written


def test_the_end_does_not_wait_for_a_server_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that listens and says nothing, as one that is paused."""
    monkeypatch.setattr(following, "_PATIENCE", 0.5)
    journal = search(Journal(tmp_path / "journal.jsonl"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        follower = MlflowFollower(journal, f"http://127.0.0.1:{silent.getsockname()[1]}")
        follower.start()
        assert follower.stop() == "it has not taken everything within 0.5 s"


@pytest.mark.parametrize(
    ("environment", "own", "expected"),
    [
        ("http://a", "http://b", "http://a"),
        ("", "http://b", "http://b"),
        ("", None, "sqlite:///{}/mlflow.db"),
    ],
)
def test_the_environment_decides_then_the_study_then_the_storage(
    environment: str,
    own: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if environment:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert tracking_uri(tmp_path, own) == expected.format(tmp_path.resolve())


def test_a_sitting_in_another_environment_changes_no_parameter(uri: str, tmp_path: Path) -> None:
    journal = search(Journal(tmp_path / "j.jsonl"))
    first = next(iter(journal))
    journal.append(**{**first, "environment": {"commit": "later"}})
    MlflowWriter(uri).write(journal)
    (whole,) = runs(uri, "tags.kind = 'search'")
    assert whole.data.params["commit"] == "c"
