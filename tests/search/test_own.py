"""A user's own network and objective, from the study's folder: the contract of a built-in."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kdsearch import data, models
from kdsearch.errors import KdsearchError, SettingError, StudyError
from kdsearch.objectives import Objective, from_spec, objective
from kdsearch.search.fit import check_networks
from kdsearch.search.study import Study

MODEL = """
from torch import nn

def build(classes, channels, width=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, width), nn.Linear(width, classes))

def wrong_shape(classes, channels):
    return nn.Flatten()

def no_network(classes, channels):
    return 3

def fails(classes, channels):
    raise ValueError("on purpose")
"""
OBJECTIVE = """
from kdsearch.objectives import objective

def mine(temperature=2.0):
    return objective("kd", temperature=temperature, lam=1.0)

def no_objective():
    return "kd"
"""


DATA = """
import numpy as np
from kdsearch.data import Dataset

def load(kind="uint8", top=2):
    images = np.random.default_rng(0).integers(256, size=(40, 1, 4, 4)).astype(kind)
    labels = np.arange(40, dtype=np.int64) % 2
    return Dataset(images, labels, classes=top, test=np.arange(40) >= 30)

def nothing():
    return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_model.py").write_text(MODEL)
    (tmp_path / "my_objective.py").write_text(OBJECTIVE)
    (tmp_path / "my_data.py").write_text(DATA)
    return tmp_path


def load(folder: Path, content: dict[str, Any], **changes: Any) -> Study:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in (content | changes).items() if k != "name"}))
    return Study.load(file)


def student(name: str = "build", **size: int) -> dict[str, Any]:
    return {"file": "my_model.py", "name": name, **size}


def test_own_files_are_found_from_the_studys_folder(folder: Path, content: dict[str, Any]) -> None:
    mine = {"file": "my_objective.py", "name": "mine", "temperature": {"uniform": [1, 4]}}
    space = {"objective": {"choice": [{"name": "ce"}, mine]}}
    study = load(folder, content, student=student(width=5), space=space)
    assert study.student.size["file"] == str(folder / "my_model.py")
    network = models.build(study.student.name, 10, 1, **study.student.size)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert list(study.families) == ["ce", "my_objective.mine"]
    spec = study.families["my_objective.mine"][0]
    assert from_spec(spec) == objective("kd", temperature=spec["temperature"], lam=1.0)
    assert [draw["objective"]["name"] for draw in study.published()] == ["ce", "kd"]


def test_files_in_the_working_folder_are_named_from_there(
    folder: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a study stored on one machine is read on another, in its working folder."""
    monkeypatch.chdir(folder.parent)
    study = load(folder, content, student=student())
    assert study.student.size["file"] == f"{folder.name}/my_model.py"


def test_a_changed_file_is_another_study_and_no_search_goes_on_with_it(
    folder: Path, content: dict[str, Any]
) -> None:
    before = load(folder, content, student=student())
    (folder / "my_model.py").write_text(MODEL + "\n# changed\n")
    assert load(folder, content, student=student()).digest != before.digest
    with pytest.raises(SettingError, match="must stay as it was when this began, but it has chang"):
        models.build(before.student.name, 10, 1, **before.student.size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": student("other")}, "student: .*my_model.py must have a function 'other'"),
        ({"student": student("no_network")}, "must return a torch.nn.Module, but returned int"),
        ({"student": student("fails")}, "must build a network, but: ValueError: on purpose"),
        ({"student": student(depth=3)}, "must build a network, but: TypeError: .*'depth'"),
        ({"student": {"file": "none.py", "name": "build"}}, "none.py cannot be read: No such file"),
        ({"space": {"objective": {"file": "my_objective.py", "name": "no_objective"}}},
         "must return a kdsearch.objectives.Objective, its five parts, but returned str"),
        ({"space": {"objective": {"file": "my_objective.py", "name": "mine", "temperature": -1}}},
         r"mine\(temperature=-1\) must build an objective, but"),
    ],
)  # fmt: skip
def test_a_broken_contract_costs_a_sentence(
    folder: Path, content: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        load(folder, content, **changes)


def test_a_file_that_does_not_import_says_why(folder: Path, content: dict[str, Any]) -> None:
    (folder / "my_model.py").write_text("import nowhere")
    message = (
        "must import, but: ModuleNotFoundError: No module named 'nowhere'. If nowhere lies beside"
        " it, name that folder in PYTHONPATH."
    )
    with pytest.raises(StudyError, match=message):
        load(folder, content, student=student())


def test_a_network_that_does_not_fit_the_data_is_refused_before_anything_starts(
    folder: Path, content: dict[str, Any]
) -> None:
    study = load(folder, content, student=student("wrong_shape"))
    message = r"student: wrong_shape must map \(2, 1, 8, 8\) images to \(2, 10\) logits, but gives"
    with pytest.raises(StudyError, match=message):
        check_networks(study, data.load("digits", validation=0.2))


def test_own_data_are_held_to_the_contract(folder: Path, content: dict[str, Any]) -> None:
    study = load(folder, content, data={"file": "my_data.py", "name": "load", "validation": 0.2})
    splits = data.load(**study.data.arguments)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (24, 6, 10)
    file = str(folder / "my_data.py")
    for settings, message in (
        (
            {"name": "load", "kind": "float32"},
            "images must be uint8 of 4 dimensions or float32 of 2 dimensions, 40",
        ),
        ({"name": "load", "top": 1}, "labels must be 0 to 0, but go from 0 to 1"),
        ({"name": "nothing"}, "must return a kdsearch.data.Dataset, but returned NoneType"),
        ({"name": "load", "size": 3}, "must load a dataset, but: TypeError"),
    ):
        with pytest.raises(KdsearchError, match=message):
            data.load(file=file, validation=0.2, **settings)
    with pytest.raises(StudyError, match=r"data: .*my_data.py must have a function 'other'"):
        load(folder, content, data={"file": "my_data.py", "name": "other"})


def test_an_own_objective_is_a_value_like_any_other(folder: Path) -> None:
    spec = {"file": str(folder / "my_objective.py"), "name": "mine"}
    assert isinstance(from_spec(spec), Objective)
    assert from_spec(spec) == from_spec(spec)
