"""Real searches on a real Ray cluster, driven as a user would: the command, its files, MLflow.

One small study ends in all three ways: students that finish, that ASHA stops, and whose loss is
not finite. Run one trial at a time it is reproducible to the last digit, so a search that was
interrupted or killed can be held against one that was not.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdsearch import data, models
from kdsearch.reporting.figures import plotlyjs
from kdsearch.reporting.rungs import Curves
from kdsearch.search import storage as store
from kdsearch.tracking import Journal, Outcomes, Record
from kdsearch.training import part, predict
from tests.search.driving import (
    KDSEARCH,
    STUDY,
    Driver,
    assert_mlflow_agrees,
    digest,
    ended,
    kdsearch,
    leaderboard,
    mlflow_runs,
    write,
)

pytestmark = pytest.mark.slow

PLOTS = ("levels", "calibration", "entropy", "rescaling")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The storage of an undisturbed search, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    study = write(folder, search=STUDY["search"] | {"control": "search"})
    done = kdsearch("run", study, "--storage", folder / "runs", "--max-concurrent", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return folder / "runs", done.stdout


def test_a_search_ends_in_all_three_ways(whole: tuple[Path, str]) -> None:
    record = store.record_of(store.named(whole[0]))
    statuses = Counter(trial.status for trial in record.of_kind("trial"))
    assert sum(statuses.values()) == 12
    assert set(statuses) == {"finished", "pruned", "failed"}
    for trial in record.of_kind("trial"):
        expected = {"finished": 4, "failed": 1}.get(trial.status, len(trial.epochs))
        assert len(trial.epochs) == expected
    failed = [trial for trial in record.of_kind("trial") if trial.status == "failed"]
    assert {trial.experiment["recipe"]["learning_rate"] for trial in failed} == {1e30}
    assert {trial.reason for trial in failed} == {"the training loss was not finite"}


def test_kd_alone_is_searched_as_long_as_all_others(whole: tuple[Path, str]) -> None:
    record = store.record_of(store.named(whole[0]))
    control, trials = record.of_kind("control"), record.of_kind("trial")
    assert {trial.family for trial in control} == {"kd"}
    others = sum(len(t.epochs) for t in trials if t.family != "kd")
    tuned = sum(len(t.epochs) for t in record.searched if t.family == "kd")
    assert record.facts["control"] == others
    assert others <= tuned - sum(len(t.epochs) for t in trials if t.family == "kd") < others + 4
    (row,) = [row for row in leaderboard(whole[0]) if row["name"] == "kd (found)"]
    assert row["student_epochs"] == tuned + 2 * 4


def test_every_finals_network_is_kept_with_what_it_said(whole: tuple[Path, str]) -> None:
    folder = store.named(whole[0])
    record, outcomes = store.record_of(folder), Outcomes(folder)
    splits = data.load(**STUDY["data"])
    labels, teacher = outcomes.test() or pytest.fail("nothing was kept")
    assert np.array_equal(labels, splits.labels[splits.test])
    assert teacher is not None
    right = float((teacher.predicted == labels).mean())
    assert right == record.facts["teacher_test_accuracy"]
    judge = part(splits, splits.test)
    for final in record.of_kind("final"):
        said = outcomes.said(final.id)
        assert said is not None
        assert float((said.predicted == labels).mean()) == pytest.approx(final.accuracy)
        network = models.build("cnn", splits.classes, 1, width=4)
        network.load_state_dict(outcomes.weights(final.id))
        again = predict(network.eval(), judge)
        assert np.array_equal(again.argmax(dim=1).numpy(), said.predicted)


def test_trials_share_data_without_carrying_it(whole: tuple[Path, str]) -> None:
    """What Tune writes of a training is small beside the 115 kB of images that it reads."""
    folder = store.named(whole[0])
    trainings = len(store.record_of(folder).trials)
    written = sum(file.stat().st_size for file in (folder / "ray").rglob("*") if file.is_file())
    assert written / trainings < 30_000


def test_the_published_points_come_first(whole: tuple[Path, str]) -> None:
    record = store.record_of(store.named(whole[0]))
    origins = [(trial.family, trial.origin) for trial in record.of_kind("trial")]
    assert origins[:3] == [("ce", "published"), ("kd", "published"), ("ptloss", "published")]
    assert origins[3] == ("ptloss", "principled")
    assert {origin for _, origin in origins[4:]} == {"proposed"}


def test_every_ptloss_trial_carries_the_score_of_its_coefficients(whole: tuple[Path, str]) -> None:
    trials = store.record_of(store.named(whole[0])).of_kind("trial")
    for trial in trials:
        assert (trial.proxy_distance is None) == (trial.family != "ptloss")
    published, principled = (trial.proxy_distance for trial in trials[2:4])
    assert principled <= published


def test_the_terminal_tells_answer_and_account(whole: tuple[Path, str]) -> None:
    said = whole[1]
    assert "made the best student" in said
    assert "vs kd (published)" in said
    assert "neither teacher nor student training" in said


def test_the_leaderboard_is_ranked_and_counts_epochs(whole: tuple[Path, str]) -> None:
    rows = leaderboard(whole[0])
    names = [row["name"] for row in rows]
    assert {"ce (published)", "kd (published)"} <= set(names)
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
    assert {row["n"] for row in rows} == {2}
    reference = next(row for row in rows if row["name"] == "kd (published)")
    assert reference["difference"] is None
    assert reference["student_epochs"] == 8
    for row in rows:
        if row is not reference:
            assert row["difference"] == pytest.approx(row["mean"] - reference["mean"])


def test_replaying_its_own_rungs_is_what_the_search_did(whole: tuple[Path, str]) -> None:
    record = store.record_of(store.named(whole[0]))
    curves = Curves(record)
    assert [rung.epoch for rung in curves.rungs()] == [1, 2]
    trials = [t for t in record.of_kind("trial") if t.status != "failed"]
    own = curves.replays()[0]
    assert (own.kept, own.lost, own.unknown) == (len(curves.finished), 0.0, 0)
    failed = sum(len(t.epochs) for t in record.of_kind("trial") if t.status == "failed")
    assert own.epochs - failed == sum(len(trial.epochs) for trial in trials)
    assert sum(rung.stopped for rung in curves.rungs()) == sum(t.status == "pruned" for t in trials)
    done = kdsearch("rungs", "--storage", whole[0])
    assert "Other rungs on the same curves" in done.stdout
    assert "nobody knows" in done.stdout


@pytest.mark.parametrize(
    ("format", "telling"),
    [
        ("csv", "rank,name,objective,"),
        ("markdown", "| # | student |"),
        ("table", "student-epochs"),
    ],
)
def test_every_format_shows_the_rows(whole: tuple[Path, str], format: str, telling: str) -> None:
    done = kdsearch("leaderboard", "--storage", whole[0], "--format", format)
    assert telling in done.stdout
    assert done.stdout.count("(published)") >= 2


def test_the_report_is_one_page_without_network(whole: tuple[Path, str], tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    done = kdsearch("report", "--storage", whole[0], "--output", output)
    assert done.returncode == 0, done.stderr
    page = output.read_text()
    assert page == (store.named(whole[0]) / "report.html").read_text()
    assert "kd (published)" in page
    assert "the training loss was not finite" in page
    own = page.replace(plotlyjs(), "")
    assert "http://" not in own
    assert "https://" not in own


def test_mlflow_holds_what_the_journal_holds(whole: tuple[Path, str]) -> None:
    assert_mlflow_agrees(whole[0], store.named(whole[0], "small-" + digest(whole[0]) + "-1"))


def test_syncing_twice_doubles_nothing(whole: tuple[Path, str]) -> None:
    folder = store.named(whole[0], f"small-{digest(whole[0])}-1")
    for _ in range(2):
        done = kdsearch("sync", folder.name, "--storage", whole[0])
        assert done.returncode == 0, done.stderr
    assert_mlflow_agrees(whole[0], folder)


def test_a_row_is_reproduced_from_mlflow_alone(whole: tuple[Path, str], tmp_path: Path) -> None:
    uri = f"sqlite:///{whole[0] / 'mlflow.db'}"
    (run,) = [
        run.info.run_id
        for run in mlflow_runs(uri, store.named(whole[0]).name, "small")
        if run.data.tags.get("row") == "kd (published)"
    ]
    options = ("--storage", tmp_path / "elsewhere")
    done = kdsearch("reproduce", run, *options, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "over 2 seeds; the largest difference of a seed is 0.00 points" in done.stdout
    assert "Reproduced to the last digit." in done.stdout
    unknown = kdsearch("reproduce", "0" * 32, *options, MLFLOW_TRACKING_URI=uri)
    assert unknown.returncode == 1
    assert f"must have the run {'0' * 32}" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def stop_when(
    words: list[str | Path], journal: Path, reached: Callable[[Record], bool], with_signal: int
) -> tuple[int, str]:
    """Start kdsearch, and send it a signal once its journal has come far enough."""
    driver = Driver(journal.parents[3] / "log", [*KDSEARCH, *words])
    driver.wait_for(lambda: reached(Record.of(Journal(journal))))
    return driver.end(with_signal, 60)


def test_an_interrupted_and_killed_search_is_as_if_nothing_had_happened(
    whole: tuple[Path, str],
) -> None:
    """Same leaderboard to the last digit, nothing lost, nothing doubled, no second teacher."""
    storage, study = whole[0], whole[0].parent / "small.yaml"
    options: list[str | Path] = ["--storage", storage, "--max-concurrent", "1"]
    first, second = (f"small-{digest(storage)}-{number}" for number in (1, 2))
    journal = storage / "searches" / second / "journal.jsonl"
    kept = [*(storage / "teachers").iterdir(), *(storage / "signals").iterdir()]
    stamps = [file.stat().st_mtime_ns for file in kept]

    run = ["run", study, *options]
    code, said = stop_when(run, journal, lambda r: ended(r, "trial") >= 5, signal.SIGINT)
    assert code == 130, said
    assert "neither trained nor run again" in said
    assert "`kdsearch resume` goes on" in said
    code, said = stop_when(run, journal, lambda r: ended(r, "control") >= 2, signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    assert f"Going on with {second}" in said
    done = kdsearch("resume", *options)
    assert done.returncode == 0, done.stdout + done.stderr

    assert leaderboard(storage, second) == leaderboard(storage, first)
    events = [(e["event"], e.get("id"), e.get("epoch")) for e in Journal(journal)]
    once = [event for event in events if event[0] in ("trial", "epoch", "end")]
    assert len(once) == len(set(once))
    assert_mlflow_agrees(storage, journal.parent)
    assert [file.stat().st_mtime_ns for file in kept] == stamps
    assert not store.record_of(journal.parent).of_kind("teacher")
    again = kdsearch("resume", *options)
    assert again.returncode == 1
    assert "no unfinished one" in again.stderr


TWO_NODES = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from kdsearch import commands
from kdsearch.search import stages
stages.CHECKPOINT_EVERY = 0.0
study, storage, place = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
try:
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    commands.run(study, Path(storage), cluster.address, checkpoints=place)
finally:
    cluster.shutdown()
"""


def test_students_of_another_node_keep_checkpoints_in_a_shared_place(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    """A head that runs no trial, one worker, a URI: the same leaderboard as on one machine."""
    storage, place = tmp_path / "runs", f"file://{tmp_path / 'shared'}"
    words = [str(whole[0].parent / "small.yaml"), str(storage), place]
    log = tmp_path / "log"
    with log.open("w") as output:  # no pipe: its nodes' processes would hold it open
        done = subprocess.run(
            [sys.executable, "-c", TWO_NODES, *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=300,
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        )
    assert done.returncode == 0, log.read_text()
    folder = store.named(storage)
    assert leaderboard(storage) == leaderboard(whole[0], f"small-{digest(storage)}-1")
    assert not (folder / "ray").exists()
    kept = [each for each in Journal(folder / "journal.jsonl") if each["event"] == "checkpoint"]
    last = {each["id"]: each["path"] for each in kept}
    trials = store.record_of(folder).trials.values()
    # Whether one that a rung stops after an epoch has kept it is a matter of moments.
    assert {t.id for t in trials if len(t.epochs) > 1} - {"teacher"} <= set(last)
    assert set(last) <= {t.id for t in trials if t.epochs}
    for path in last.values():
        assert path.startswith(f"{place}/{folder.name}/")
        assert (Path(path.removeprefix("file://")) / "student.pt").is_file()


def test_a_diagnosis_trains_every_level_and_keeps_its_figures(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    """In the storage of a search of the same study: its teacher is not trained again."""
    done = kdsearch("diagnose", write(tmp_path), "--storage", whole[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "neither trained nor run again" in done.stdout
    (folder,) = (whole[0] / "diagnoses").glob("diagnosis-*")
    record = store.record_of(folder)
    levels = Counter(trial.family for trial in record.of_kind("level"))
    assert levels == dict.fromkeys(["ce", "label_smoothing", "kd_sim", "kd_pt", "kd"], 2)
    first, last = record.facts["watched"]
    assert (first["epoch"], last["epoch"]) == (1, 4)
    assert first["correlation"] > 0.3  # early on, the surer teacher pulls more
    assert (folder / "diagnosis.md").read_text().startswith("# Diagnosis of small")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{whole[0]}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'diagnosis'")
    (parent,) = runs
    assert parent.data.metrics["teacher_validation_accuracy"] > 0.5
    names = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert names == {"diagnosis.md", *(f"{p}.png" for p in PLOTS)}
    searches = client.search_runs([experiment.experiment_id], "tags.kind = 'search'")
    assert len(searches) == len(store.searches(whole[0]))
