"""MLflow as a copy of the journal: writing events again, by whatever search, doubles nothing."""

import socket
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from kdsearch import baselines
from kdsearch.tracking import Journal, mlflow
from kdsearch.tracking.mlflow import MlflowFollower, MlflowWriter, tracking_uri

pytestmark = pytest.mark.slow


def events(journal: Journal, name: str) -> Journal:
    """A search that has met two published rows and trained one student."""
    study = {"name": "pair", "question": "Q?"}
    journal.append("search", study=study, name=name, digest="d", data="e",
                   environment={"commit": "c"})  # fmt: skip
    for row in baselines.query("resnet32x4", "resnet8x4", method="kd")[:1]:
        journal.append("paper", row=row.model_dump(), marks=row.marks())
    for row in baselines.query("resnet32x4", "resnet8x4", method="wttm")[:1]:
        journal.append("paper", row=row.model_dump(), marks=row.marks())
    experiment = {"objective": {"name": "kd"}, "recipe": {"learning_rate": 0.1}}
    journal.append("trial", id="t0000", kind="trial", family="kd", origin="published", row="",
                   experiment=experiment)  # fmt: skip
    journal.append("epoch", id="t0000", epoch=1, accuracy=0.5, loss=1.0, train_loss=None,
                   seconds=0.1)  # fmt: skip
    journal.append("end", id="t0000", status="pruned", reason="stopped after epoch 1")
    journal.append("finished")
    return journal


def runs(uri: str, query: str = "") -> list[Any]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("pair")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], query))


def test_papers_stand_once_beside_the_runs_of_every_search(tmp_path: Path) -> None:
    uri = tracking_uri(tmp_path)
    for name in ("pair-1", "pair-2", "pair-2"):
        path = tmp_path / f"{name}.jsonl"
        journal = Journal(path) if path.exists() else events(Journal(path), name)
        MlflowWriter(uri).write(journal)
    papers = runs(uri, "tags.kind = 'paper'")
    assert len(papers) == 2
    wttm = next(run for run in papers if run.data.tags["objective"] == "wttm")
    assert wttm.data.metrics["test_accuracy"] == pytest.approx(0.7606)
    assert wttm.data.params["n"] == "5"
    assert "arXiv:2402.11148" in wttm.data.tags["source"]
    kd = next(run for run in papers if run.data.tags["objective"] == "kd")
    assert "quoted from" in kd.data.tags["marks"]
    assert len(runs(uri, "tags.kind = 'trial'")) == 2
    assert len(runs(uri, "tags.kind = 'search'")) == 2
    (trial,) = runs(uri, "tags.kind = 'trial' and tags.search = 'pair-2'")
    history = MlflowClient(uri).get_metric_history(trial.info.run_id, "val_accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5)]
    assert "train_loss" not in trial.data.metrics
    assert trial.data.tags["status"] == "pruned"


def test_a_server_that_is_away_is_a_sentence_and_nothing_worse(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    follower = MlflowFollower(journal, "http://127.0.0.1:9")
    follower.start()
    events(journal, "pair-1")
    problem = follower.stop()
    assert problem
    assert "\n" not in problem
    assert len(list(journal)) == 7


def test_the_end_does_not_wait_for_a_server_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that listens and says nothing, as one that is paused."""
    monkeypatch.setattr(mlflow, "_PATIENCE", 0.5)
    journal = events(Journal(tmp_path / "journal.jsonl"), "pair-1")
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


def test_a_run_that_a_killed_writer_left_without_parameters_gets_them(tmp_path: Path) -> None:
    uri, journal = tracking_uri(tmp_path), events(Journal(tmp_path / "j.jsonl"), "pair-1")
    writer = MlflowWriter(uri)
    writer._log = lambda *_: None  # type: ignore[method-assign]
    writer.write(list(journal))
    assert not any("recipe.learning_rate" in run.data.params for run in runs(uri))
    MlflowWriter(uri).write(journal)
    (trial,) = runs(uri, "tags.kind = 'trial'")
    assert trial.data.params["recipe.learning_rate"] == "0.1"
    (search,) = runs(uri, "tags.kind = 'search'")
    assert search.data.params["commit"] == "c"


def test_a_sitting_in_another_environment_changes_no_parameter(tmp_path: Path) -> None:
    uri, journal = tracking_uri(tmp_path), events(Journal(tmp_path / "j.jsonl"), "pair-1")
    first = next(iter(journal))
    journal.append(**{**first, "environment": {"commit": "later"}})
    MlflowWriter(uri).write(journal)
    (search,) = runs(uri, "tags.kind = 'search'")
    assert search.data.params["commit"] == "c"
