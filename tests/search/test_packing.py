"""What travels with a job: Ray's own choice of files, a size that the dashboard takes, and nothing
that the study needs left behind. No cluster is started."""

import os
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from kdsearch.errors import KdsearchError, SearchError, SettingError, StudyError
from kdsearch.search.packing import EXCLUDES, LIMIT, check_size, packed
from kdsearch.search.study import Study
from kdsearch.search.submission import Order, prepared

OWN = """
from torch import nn

def build(classes, channels, width):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))
"""


@pytest.fixture
def folder(tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder: a study in a folder of its own that extends another, with own code."""
    work = tmp_path / "work"
    write(work / "studies" / "base.yaml", yaml.safe_dump(content))
    write(work / "code" / "mine.py", OWN)
    student = {"file": "../code/mine.py", "name": "build", "width": 3}
    write(work / "studies" / "small.yaml", yaml.safe_dump({"extends": "base.yaml"}))
    write(
        work / "studies" / "own.yaml",
        yaml.safe_dump({"extends": "base.yaml", "student": student}),
    )
    monkeypatch.chdir(work)
    return work


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def changed(folder: Path, **changes: Any) -> Path:
    """A study that differs from the base."""
    text = yaml.safe_dump({"extends": "base.yaml", **changes})
    return write(folder / "studies" / "small.yaml", text)


@pytest.mark.parametrize("all_files", ["0", "1"])
def test_what_is_packed_is_what_ray_packs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_files: str
) -> None:
    from ray._private.runtime_env.packaging import create_package

    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", all_files)
    for name in (".git/HEAD", "runs/a", ".venv/b", "code/__pycache__/c", "mlruns/d", "mlflow.db"):
        write(folder / name, "never")
    for name in ("code/runs/e", "big/f.bin", "big/keep/g.txt", "h.log", "deep/i.log"):
        write(folder / name, "perhaps")
    write(folder / ".gitignore", "*.log\n")
    write(folder / ".rayignore", "/big/*.bin\n")
    write(folder / "big" / ".gitignore", "keep\n")
    create_package(str(folder), tmp_path / "whole.zip", all_files == "0", excludes=list(EXCLUDES))
    with ZipFile(tmp_path / "whole.zip") as package:
        expected = {Path(i.filename): i.file_size for i in package.infolist() if not i.is_dir()}
    found = packed(folder)
    assert found == expected
    assert Path("code/runs/e") in found
    assert (Path("h.log") in found) == (Path("big/keep/g.txt") in found) == (all_files == "1")
    assert not any("never" in (folder / path).read_text() for path in found)


def test_the_size_is_that_of_the_package(folder: Path, tmp_path: Path) -> None:
    """Refused is what lies one byte over the limit, and not what lies on it."""
    from ray._private.runtime_env.packaging import create_package

    create_package(str(folder), tmp_path / "whole.zip", True, excludes=list(EXCLUDES))
    room = LIMIT - (tmp_path / "whole.zip").stat().st_size - 76 - 2 * len("a")
    (folder / "a").touch()
    os.truncate(folder / "a", room)
    check_size(folder, packed(folder))
    os.truncate(folder / "a", room + 1)
    with pytest.raises(SearchError, match=r"must have at most 100\.0 MiB to be uploaded"):
        check_size(folder, packed(folder))


def test_a_working_folder_that_is_too_large_names_its_largest_files(folder: Path) -> None:
    for name, mib in {"data/train.bin": 90, "data/test.bin": 30, "notes.txt": 1}.items():
        write(folder / name)
        os.truncate(folder / name, mib * 2**20)
    with pytest.raises(SearchError) as refused:
        prepared(folder / "studies" / "small.yaml", folder)
    said = str(refused.value)
    assert f"but {folder} has 121.0 MiB in 7 files" in said
    assert "The largest: data/train.bin (90.0 MiB), data/test.bin (30.0 MiB), notes.txt" in said
    assert f"List in {folder}/.rayignore what the study does not need" in said
    write(folder / ".rayignore", "data\n")
    prepared(folder / "studies" / "small.yaml", folder)


@pytest.mark.parametrize("study", ["small", "own"])
def test_a_study_is_the_same_in_the_jobs_copy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: str
) -> None:
    order, _ = prepared(folder / "studies" / f"{study}.yaml", folder)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.joinpath("x").mkdir()
    monkeypatch.chdir(copy)
    assert Study.load(order.file).digest == order.study.digest


def test_the_working_folder_may_be_another_than_the_current_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = prepared(folder / "studies" / "own.yaml", folder)
    monkeypatch.chdir(tmp_path)
    there, _ = prepared(Path("work/studies/own.yaml"), Path("work"))
    assert there == here
    assert there.file == Path("studies/own.yaml")
    assert Path.cwd() == tmp_path


def refusal(folder: Path, study: Path, **options: Any) -> str:
    with pytest.raises(KdsearchError) as refused:
        prepared(study, folder, **options)
    return str(refused.value)


def test_files_that_would_stay_behind_are_told_together(folder: Path, tmp_path: Path) -> None:
    write(folder / "studies" / "teacher.pt")
    write(folder / "data" / "cifar-100-python" / "train")
    shutil.move(folder / "studies" / "base.yaml", tmp_path / "base.yaml")
    outside = write(tmp_path / "mine.py", OWN)
    write(folder / ".gitignore", "*.pt\n/data\n")
    study = changed(
        folder,
        extends="../../base.yaml",
        data={"name": "cifar100"},
        teacher={"model": {"name": "cnn"}, "checkpoint": "teacher.pt"},
        student={"file": str(outside), "name": "build", "width": 2},
    )
    said = refusal(folder, study)
    assert "small.yaml has 4 mistakes" in said
    assert f"extends: must lie in the working folder {folder}" in said
    assert "student.file: must lie in the working folder" in said
    assert "teacher.checkpoint: must travel with the job, but 'studies/teacher.pt' is left" in said
    assert "data: must travel with the job, but './data' is left out" in said


def test_data_beside_the_working_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "data" / "cifar-100-python" / "train")
    study = changed(folder, data={"name": "cifar100", "root": "../data"})
    assert "data: must lie in the working folder" in refusal(folder, study)


def test_absolute_paths_and_uris_are_for_the_cluster_to_find(folder: Path) -> None:
    """Here they may be missing, and `check` says so."""
    data = {"name": "image_parquet", "train": "/shared/a-*.parquet", "test": "s3://b/c.parquet"}
    teacher = {"model": {"name": "cnn"}, "checkpoint": "/shared/teacher.pt"}
    study = changed(folder, data=data, teacher=teacher)
    order, foreign = prepared(study, folder)
    assert foreign == ["/shared/teacher.pt", "/shared/a-*.parquet", "s3://b/c.parquet"]
    with pytest.raises(StudyError, match=r"teacher\.checkpoint: must be a file"):
        Study.load(study)
    assert order.study.teacher.checkpoint == "/shared/teacher.pt"


def test_data_that_the_job_downloads_need_not_be_here(folder: Path) -> None:
    study = changed(folder, data={"name": "cifar100", "download": True})
    assert prepared(study, folder)[1] == []


def test_mistakes_of_the_study_are_told_before_anything_else(folder: Path) -> None:
    (folder / "large").touch()
    os.truncate(folder / "large", 2 * LIMIT)
    study = changed(folder, data={"name": "cifar100"}, search={"algorithm": {"name": "gird"}})
    said = refusal(folder, study)
    assert "search.algorithm.name: a name must be one of the algorithms, but got 'gird'" in said
    study = changed(folder, data={"name": "cifar100"})
    assert "cifar-100-python must hold the dataset's files" in refusal(folder, study)


def test_a_storage_that_goes_with_the_job_is_refused(folder: Path) -> None:
    said = refusal(folder, folder / "studies" / "small.yaml", storage=Path("runs"))
    assert "must be an absolute path on the cluster, but got runs" in said


def test_a_study_outside_the_working_folder_is_refused(folder: Path) -> None:
    said = refusal(folder / "code", folder / "studies" / "small.yaml")
    assert "Name one that holds it with --working-dir" in said


@pytest.mark.parametrize(
    ("uri", "sent"),
    [
        ("http://tracking:5000", "http://tracking:5000"),
        ("https://tracking/x", "https://tracking/x"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
        ("sqlite:////home/me/mlflow.db", None),
        ("/home/me/mlruns", None),
        ("", None),
    ],
)
def test_only_a_servers_tracking_uri_goes_with_the_job(
    folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str, sent: str | None
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    order, _ = prepared(folder / "studies" / "small.yaml", folder)
    assert order.environment["env_vars"].get("MLFLOW_TRACKING_URI") == sent
    assert "secret" not in str(order.environment)


def test_a_password_is_never_written_into_a_jobs_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracking")
    with pytest.raises(SettingError, match="MLFLOW_TRACKING_PASSWORD in the environment of the"):
        prepared(folder / "studies" / "small.yaml", folder)


def test_the_command_survives_a_shell(folder: Path) -> None:
    study = write(folder / "my study; $(x).yaml", (folder / "studies" / "base.yaml").read_text())
    order, _ = prepared(study, folder, Path("/a b"), 3, fresh=True)
    assert order.entrypoint == (
        "kdsearch run 'my study; $(x).yaml' --storage '/a b' --max-concurrent 3 --fresh"
    )


def test_a_jobs_name_holds_only_what_a_url_may(folder: Path) -> None:
    study = Study.load(folder / "studies" / "small.yaml")
    named = study.model_copy(update={"name": "my study/2"})
    order = Order(folder, Path("x.yaml"), named, None, None, False)
    assert order.stem == f"kdsearch-my-study-2-{named.digest[:8]}-"
