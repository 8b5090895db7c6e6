"""The control: which space it searches, and how long."""

from pathlib import Path
from typing import Any

import pytest

from kdsearch.search import control
from kdsearch.search.jobs import SearchJobs
from kdsearch.search.plugins import sampler_for
from kdsearch.search.proposals import Proposals
from kdsearch.search.study import Study
from kdsearch.tracking import Journal, Record
from tests.search.driving import STUDY

KD = {"name": "kd", "temperature": {"log_uniform": [2, 9]}, "lam": {"uniform": [0.5, 1]}}
TTM = {"name": "ttm", "beta": {"log_uniform": [1, 10]}}
RATE = {"learning_rate": {"choice": [0.1, 0.3]}}


def study(objective: Any, until: str = "family", **sections: Any) -> Study:
    search = STUDY["search"] | {"control": until}
    space = {"objective": objective, **sections}
    return Study.of({"name": "small", **STUDY, "space": space, "search": search})


@pytest.mark.parametrize(
    ("objective", "searched"),
    [
        ({"choice": [TTM, KD]}, KD),
        (KD, KD),
        (TTM, control.KD),
        ({"choice": [KD, {**KD, "lam": 1}]}, {"choice": [KD, {**KD, "lam": 1}]}),
        ({"choice": [TTM, {"choice": [KD]}]}, KD),
        (
            {"name": {"choice": ["kd", "ptloss"]}, "lam": {"uniform": [0, 1]}},
            {"name": "kd", "lam": {"uniform": [0, 1]}},
        ),
    ],
)
def test_it_searches_the_studys_own_kd_or_a_plain_one(objective: Any, searched: Any) -> None:
    found = control.study_of(study(objective, recipe=RATE))
    assert found.space == {"objective": searched, "recipe": RATE}
    assert found.search.seed == STUDY["search"].get("seed", 0) + 1
    assert set(found.families) == {"kd"}


def record(**epochs: list[int]) -> Record:
    """Students by objective, each with so many epochs."""
    made = Record()
    for family, lengths in epochs.items():
        for number, length in enumerate(lengths):
            name = f"t-{family}-{number}"
            made.add({"event": "trial", "time": 0.0, "id": name, "kind": "trial",
                      "family": family, "origin": "proposed", "experiment": {}})  # fmt: skip
            for epoch in range(1, length + 1):
                made.add({"event": "epoch", "time": 0.0, "id": name, "epoch": epoch})
    return made


@pytest.mark.parametrize(
    ("until", "owed"), [("family", 12 - 4), ("search", 12 + 4 + 5 - 4), ("none", 0)]
)
def test_kd_gets_what_others_had(until: str, owed: int) -> None:
    past = record(ttm=[4, 4, 4], kd=[1, 3], ce=[5])
    assert control.budget(study({"choice": [TTM, KD]}, until), past) == owed


def test_an_objective_that_had_most_is_owed_nothing() -> None:
    assert control.budget(study(KD), record(kd=[4, 4], ttm=[7])) == 0


def test_its_jobs_end_with_their_epochs() -> None:
    searched = control.study_of(study({"choice": [TTM, KD]}))
    proposals = Proposals(searched.parsed_space, sampler_for(searched))
    jobs = SearchJobs(searched, proposals, total=99, kind="control", epochs=7)
    names = []
    while job := jobs.ask():
        names.append(job.id)
        assert (job.kind, job.family) == ("control", "kd")
        jobs.report(job, 1, 0.5)
        jobs.report(job, 2, 0.5)
        jobs.tell(job, "finished", 0.6)
    assert names == ["c0000", "c0001", "c0002"]  # three epochs each: after two, one is left
    assert jobs.done


def test_a_replayed_control_has_spent_what_its_journal_holds(tmp_path: Path) -> None:
    """An epoch that ended a student is told and not reported: it must not count twice."""
    searched = control.study_of(study({"choice": [TTM, KD]}))

    def fresh() -> SearchJobs:
        proposals = Proposals(searched.parsed_space, sampler_for(searched))
        return SearchJobs(searched, proposals, total=99, kind="control", epochs=7)

    first, journal = fresh(), Journal(tmp_path / "journal.jsonl")
    for _ in range(2):
        job = first.ask()
        assert job is not None
        journal.append("trial", id=job.id, kind="control", family="kd", origin="proposed",
                       experiment=job.experiment)  # fmt: skip
        for epoch in (1, 2, 3):
            journal.append("epoch", id=job.id, epoch=epoch, accuracy=0.5, loss=1.0,
                           train_loss=1.0, seconds=0.1)  # fmt: skip
            if epoch < 3:
                first.report(job, epoch, 0.5)
        first.tell(job, "finished", 0.5)
        journal.append("end", id=job.id, status="finished")
    again = fresh()
    again.replay(journal, Record.of(journal).trials)
    expected, found = first.ask(), again.ask()
    assert expected is not None
    assert found is not None
    assert (found.id, found.experiment) == (expected.id, expected.experiment)
