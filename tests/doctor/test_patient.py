"""The doctor finds what was done to a study's data and teacher on purpose, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from kdsearch import data
from kdsearch.data import Splits
from kdsearch.data.normalisation import Normalisation
from kdsearch.doctor import patient
from kdsearch.doctor.finding import Finding
from kdsearch.doctor.patient import Patient
from kdsearch.errors import ResourceError
from kdsearch.search.study import Study
from kdsearch.teachers import logits, teacher


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.4)


def known(content: dict[str, Any], splits: Splits, folder: Path, said: np.ndarray) -> Patient:
    """A patient whose teacher is known by logits (len(fitted), 10) alone."""
    table = {"row": splits.fitted, "logits": list(said.astype(np.float32))}
    pa.parquet.write_table(pa.table(table), folder / "t.parquet")
    study = Study.of(content | {"teacher": {"logits": str(folder / "t.parquet")}})
    return Patient(study, splits, folder)


def saying(said: np.ndarray, wrong: float = 0.0, classes: int = 10) -> np.ndarray:
    """Logits whose argmax are these classes, a share of them any class."""
    random = np.random.default_rng(0)
    any_class = random.integers(classes, size=len(said))
    chosen = np.where(random.random(len(said)) < wrong, any_class, said)
    return 8.0 * np.eye(classes)[chosen] + random.normal(size=(len(said), classes))


def one(findings: Any) -> Finding:
    (found,) = findings
    assert isinstance(found, Finding)
    return found


@pytest.mark.parametrize(
    ("its", "told"),
    [
        (np.roll(np.arange(10), 1), "a shift by one"),
        (np.array([3, 1, 2, 0, 4, 5, 6, 7, 8, 9]), "2 of 10 classes otherwise"),
        (np.random.default_rng(1).permutation(10), "of 10 classes otherwise"),
    ],
)
def test_a_permuted_class_map_is_told_with_the_permutation(
    content: dict[str, Any], splits: Splits, tmp_path: Path, its: np.ndarray, told: str
) -> None:
    labels = splits.labels[splits.fitted]
    found = one(patient.class_map(known(content, splits, tmp_path, saying(its[labels], 0.1))))
    assert found.word == "wrong"
    assert told in found.said
    assert str(its.tolist()) in found.remedy


def test_classes_sorted_as_text_are_recognised() -> None:
    names = sorted(map(str, range(12)))
    its = np.array([names.index(str(label)) for label in range(12)])
    assert "sorted as text" in patient._habit(its)
    assert patient._habit(np.arange(12)[::-1]) == ""


@pytest.mark.parametrize("wrong", [0.0, 0.5, 1.0])
def test_a_teacher_that_only_errs_has_no_other_class_map(
    content: dict[str, Any], splits: Splits, tmp_path: Path, wrong: float
) -> None:
    """At chance some permutation always fits the images that it was found on better."""
    labels = splits.labels[splits.fitted]
    on = known(content, splits, tmp_path, saying(labels, wrong))
    assert one(patient.class_map(on)).word == "ok"
    knows = one(patient.teacher_knows(on))
    assert knows.word == {0.0: "look", 0.5: "ok", 1.0: "wrong"}[wrong]


def test_a_claim_is_held_against_the_teacher(
    content: dict[str, Any], splits: Splits, tmp_path: Path
) -> None:
    labels = splits.labels[splits.fitted]
    on = known(content, splits, tmp_path, saying(labels, 0.5))
    proud = on.study.teacher.model_copy(update={"accuracy": 0.9})
    found = one(patient.teacher_knows(replace(on, study=on.study.model_copy(
        update={"teacher": proud}))))  # fmt: skip
    assert found.word == "wrong"
    assert "must have 90.00%" in found.said


def test_logits_that_cannot_be_stored_are_wrong(
    content: dict[str, Any], splits: Splits, tmp_path: Path
) -> None:
    said = saying(splits.labels[splits.fitted])
    said[splits.fitted.searchsorted(splits.validation[3]), 0] = np.nan
    found = one(patient.teacher_knows(known(content, splits, tmp_path, said)))
    assert (found.word, "not finite" in found.said) == ("wrong", True)


def test_a_teacher_of_another_normalisation_is_told_which(
    content: dict[str, Any], splits: Splits, tmp_path: Path
) -> None:
    given = Normalisation(mean=(0.5,), std=(0.5,))
    taught = Study.of(content).teacher
    images = 15 * splits.images  # to 240: as bright as photographs
    other = replace(splits, images=images, given=given)
    training = taught.training(other)
    list(training)
    torch.save(training.evaluated.state_dict(), tmp_path / "t.pt")
    here = content | {"teacher": content["teacher"] | {"checkpoint": str(tmp_path / "t.pt")}}
    far = replace(other, given=Normalisation(mean=(1.0,), std=(0.05,)))
    found = list(patient.normalisation(Patient(Study.of(here), far, tmp_path)))
    assert [finding.word for finding in found] == ["look", "wrong"]
    assert "off centre" in found[0].said
    assert "mean: [0.5], std: [0.5]" in found[1].remedy
    assert found[1].said.count("%") == 2
    found = list(patient.normalisation(Patient(Study.of(here), other, tmp_path)))
    assert found[-1].word == "ok"


def test_images_in_two_parts_are_counted(
    content: dict[str, Any], splits: Splits, tmp_path: Path
) -> None:
    study = Study.of(content)
    assert one(patient.duplicates(Patient(study, splits, tmp_path))).word == "ok"
    images, labels = splits.images.copy(), splits.labels.copy()
    images[splits.test[:20]] = images[splits.train[:20]]
    labels[splits.test[:20]] = labels[splits.train[:20]]
    images[splits.validation[0]] = images[splits.train[30]]
    labels[splits.validation[0]] = (labels[splits.train[30]] + 1) % 10
    found = list(patient.duplicates(Patient(study, replace(splits, images=images, labels=labels),
                                            tmp_path)))  # fmt: skip
    assert [finding.word for finding in found] == ["wrong", "look", "look"]
    assert f"20 of {len(splits.test)} test images" in found[0].said
    assert "1 of " in found[1].said
    assert "1 images are there several times with different labels" in found[2].said


def test_a_teacher_that_is_not_trained_yet_and_one_that_is(
    content: dict[str, Any], splits: Splits, tmp_path: Path
) -> None:
    study = Study.of(content)
    on = Patient(study, splits, tmp_path)
    assert "to be trained" in one(patient.teacher_knows(on)).said
    digest = study.teacher.digest(splits)
    (tmp_path / "teachers").mkdir()
    packed = teacher.pack(teacher.network(study.teacher, splits), digest)
    (tmp_path / "teachers" / f"{digest}.pt").write_bytes(packed)
    assert "validation images" in one(patient.teacher_knows(Patient(study, splits, tmp_path))).said


def test_signals_that_do_not_fit_on_the_disk_are_wrong(
    content: dict[str, Any], splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content["data"] |= {"views": {"crop": 1, "count": 5}}
    study = Study.of(content)
    on = Patient(study, data.load(**study.data.arguments), tmp_path)
    assert "4 views" in one(patient.signals(on)).said
    free = logits.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(logits.shutil, "disk_usage", lambda _: free)
    with pytest.raises(ResourceError, match="teacher signals need 4 views"):
        list(patient.signals(on))
