"""First points from the past: the likest pair first, in the study's own space, tried as told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kdsearch import commands
from kdsearch.errors import SearchError, StudyError
from kdsearch.search import past
from kdsearch.search.jobs import Jobs
from kdsearch.search.plan import plan
from kdsearch.search.runner import Run
from kdsearch.search.study import Study

Draw = dict[str, Any]


def kd(temperature: float, lam: float = 0.9) -> Draw:
    return {"name": "kd", "temperature": temperature, "lam": lam}


def searched(
    storage: Path, content: Draw, students: list[tuple[Draw, float, float, str]], classes: int = 10
) -> None:
    """A past search of a study: objective, learning rate, accuracy and status of its students."""
    study = Study.of(content)
    folder = storage / "searches" / f"{study.name}-1"
    folder.mkdir(parents=True)
    header = {"name": folder.name, "study": study.model_dump(mode="json")}
    events: list[Draw] = [{"event": "search", **header, "sizes": {"classes": classes}}]
    for number, (objective, rate, accuracy, status) in enumerate(students):
        id = f"t{number:04d}"
        experiment = study.assembled({"objective": objective, "recipe": {"learning_rate": rate}})
        about = {"kind": "trial", "family": objective["name"], "origin": "proposed"}
        figures = {"epoch": 1, "accuracy": accuracy, "loss": 1.0, "seconds": 1.0}
        events += [
            {"event": "trial", "id": id, "experiment": experiment, **about},
            {"event": "epoch", "id": id, **figures},
            {"event": "end", "id": id, "status": status},
        ]
    text = "".join(json.dumps({"time": 0, **event}) + "\n" for event in events)
    (folder / "journal.jsonl").write_text(text)


def test_the_likest_search_comes_before_the_highest_accuracy(content: Draw, tmp_path: Path) -> None:
    other = {"model": {"name": "resnet20"}, "recipe": {"epochs": 2}}
    searched(tmp_path, content | {"name": "same"}, [(kd(3.0), 0.1, 0.70, "finished")])
    near = content | {"name": "near", "student": {"name": "cnn", "width": 9}}
    searched(tmp_path, near, [(kd(5.0), 0.1, 0.80, "finished")])
    far = content | {"name": "far", "teacher": other, "student": {"name": "resnet8"}}
    searched(tmp_path, far, [(kd(7.0), 0.1, 0.90, "finished")], classes=100)
    found = past.suggestions(Study.of(content), tmp_path, most=5)
    assert [each.search for each in found] == ["same-1", "near-1", "far-1"]
    assert [each.draw["objective"]["temperature"] for each in found] == [3.0, 5.0, 7.0]
    assert found[0].reason == (
        "kd: 70.00 % on validation in same-1 (t0000); the same data, the same teacher, the same"
        " student"
    )
    assert found[1].reason.endswith("the same teacher, a student of the same family")
    assert found[2].reason.endswith("other data, another teacher, another student")
    assert len(past.suggestions(Study.of(content), tmp_path)) == 1


def test_only_what_finished_lies_in_the_space_and_is_new(content: Draw, tmp_path: Path) -> None:
    students = [
        (kd(30.0), 0.1, 0.99, "finished"),  # outside
        (kd(3.0, lam=0.5), 0.1, 0.98, "finished"),  # lam is fixed at 0.9
        (kd(3.0), 0.5, 0.97, "finished"),  # the learning rate lies outside
        (kd(4.0), 0.1, 0.96, "finished"),  # what is published
        (kd(5.0), 0.1, 0.95, "pruned"),
        ({"name": "ttm", "temperature": 3.0, "beta": 1.0}, 0.1, 0.94, "finished"),
        (kd(6.0), 0.2, 0.80, "finished"),
        (kd(6.0), 0.2, 0.79, "finished"),
        ({"name": "ce"}, 0.2, 0.70, "finished"),
    ]
    searched(tmp_path, content | {"name": "old"}, students)
    found = past.suggestions(Study.of(content), tmp_path, most=2)
    assert [(each.family, each.accuracy) for each in found] == [("kd", 0.80), ("ce", 0.70)]
    assert found[0].draw == {"objective": kd(6.0), "recipe": {"learning_rate": 0.2}}


def test_nothing_to_suggest_is_a_sentence(content: Draw, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"must have finished and lie in the study's space"):
        commands.suggest(Study.of(content), tmp_path)


def test_what_is_suggested_is_imported_in_one_line(content: Draw, tmp_path: Path) -> None:
    searched(tmp_path, content | {"name": "old"}, [(kd(1e1 / 3), 0.05, 0.9, "finished")])
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(content))
    plain = Study.load(tmp_path / "base.yaml")
    (tmp_path / "warm.yaml").write_text(commands.suggest(plain, tmp_path))
    study = tmp_path / "small.yaml"
    study.write_text("extends: [base.yaml, warm.yaml]\n")
    warm = Study.load(study)
    assert warm.warm() == [{"objective": kd(1e1 / 3), "recipe": {"learning_rate": 0.05}}]
    assert "then 1 of the study's own points" in plan(warm)
    assert warm.search.trials == plain.search.trials
    assert warm.digest != plain.digest
    study.write_text("extends: [base.yaml, small.yaml]\n")
    with pytest.raises(StudyError, match=r"must not lead back to 'small\.yaml'"):
        Study.load(study)


def test_a_study_without_points_keeps_its_digest(content: Draw) -> None:
    assert Study.of(content).digest == Study.of(content | {"search": content["search"] | {
        "points": []}}).digest  # fmt: skip


def test_points_are_completed_held_to_the_space_and_not_tried_twice(content: Draw) -> None:
    def of(*points: Draw) -> Study:
        return Study.of(content | {"search": content["search"] | {"points": list(points)}})

    own = {"learning_rate": content["recipe"]["learning_rate"]}
    assert of({"objective": kd(7.0)}).warm() == [{"objective": kd(7.0), "recipe": own}]
    assert of({"objective": {"name": "ce"}}).warm() == []
    with pytest.raises(StudyError) as caught:
        of({"objective": kd(7.0)}, {"objective": kd(70.0)}, {"recipe": own})
    assert [problem.path for problem in caught.value.problems] == [
        "search.points.1",
        "search.points.2",
    ]
    assert "a first point must lie in the space" in str(caught.value)


class Asked:
    """In the place of the stages: it trains nothing, and keeps what was to be trained."""

    def __init__(self, run: Run) -> None:
        self.validation = np.zeros((len(run.splits.validation), run.splits.classes), np.float16)

    def train(self, stage: str, jobs: Jobs, count: int, scheduler: object) -> None:
        self.jobs = [jobs.ask() for _ in range(count)]


def test_a_search_tries_them_after_the_published_ones(content: Draw, tmp_path: Path) -> None:
    content["search"] |= {"trials": 5, "points": [{"objective": kd(7.0)}, {"objective": kd(9.0)}]}
    run = Run(Study.of(content), tmp_path, tmp_path)
    stages = Asked(run)
    run._search(stages)  # type: ignore[arg-type]
    jobs = [job for job in stages.jobs if job]
    told = ["published", "published", "warm", "warm", "proposed"]
    assert [job.origin for job in jobs] == told
    assert [job.experiment["objective"].get("temperature") for job in jobs[1:4]] == [4.0, 7.0, 9.0]
