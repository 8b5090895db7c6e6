"""Jobs: refused combinations cost no student, and a replayed journal ends where it stopped."""

import pytest

from kdsearch.errors import SearchError, StudyError
from kdsearch.objectives import from_spec
from kdsearch.objectives.guard import refusal
from kdsearch.search.jobs import SearchJobs
from kdsearch.search.plugins import sampler_for
from kdsearch.search.proposals import Proposals
from kdsearch.search.study import Study
from kdsearch.tracking import Journal, Record

PARTS = {
    "teacher": {"choice": [{"kind": "identity"}, {"kind": "true_class"}]},
    "divergence": {"choice": [{"kind": "kl"}, {"kind": "mse"}]},
    "balance": {"hard": {"uniform": [0, 1]}},
}


def jobs(content, objective=PARTS, trials=20, algorithm="random"):
    space = {**content["space"], "objective": objective}
    search = {"trials": trials, "algorithm": {"name": algorithm}}
    study = Study.of(content | {"space": space, "search": search})
    proposals = Proposals(study.parsed_space, sampler_for(study), study.published())
    return SearchJobs(study, proposals, trials)


def test_every_job_means_something_and_all_are_handed_out(content):
    source = jobs(content)
    asked = [source.ask() for _ in range(20)]
    assert source.ask() is None
    objectives = [from_spec(job.experiment["objective"]) for job in asked]
    assert [refusal(objective) for objective in objectives] == [""] * 20
    kinds = {(o.teacher.kind, o.divergence.kind) for o in objectives[2:]}
    assert kinds == {("identity", "kl"), ("identity", "mse"), ("true_class", "kl")}
    assert len({job.id for job in asked}) == 20


def test_a_space_without_meaning_is_a_mistake_of_the_study(content):
    nothing = {"divergence": {"kind": "mse"}, "teacher": {"kind": "true_class"}}
    with pytest.raises(StudyError, match="at least one combination must mean something"):
        jobs(content, nothing)


def written(journal, source, count, ended):
    """Ask `count` jobs as a search would, the first `ended` of which run to an end."""
    for number in range(count):
        job = source.ask()
        journal.append("trial", id=job.id, kind="trial", family=job.family, origin=job.origin,
                       experiment=job.experiment)  # fmt: skip
        for epoch in (1, 2):
            source.report(job, epoch, 0.1 * number)
            journal.append("epoch", id=job.id, epoch=epoch, accuracy=0.1 * number, loss=1.0,
                           train_loss=1.0, seconds=0.1)  # fmt: skip
        if number < ended:
            source.tell(job, "finished", 0.1 * number)
            journal.append("end", id=job.id, status="finished")


@pytest.mark.parametrize("algorithm", ["random", "tpe", "quasi_random", "grid"])
def test_a_replay_goes_on_with_the_same_jobs(algorithm, content, tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    first = jobs(content, algorithm=algorithm)
    written(journal, first, count=6, ended=5)
    again = jobs(content, algorithm=algorithm)
    again.replay(journal, Record.of(journal).trials)
    unfinished = list(Record.of(journal).trials)[-1]
    assert again.ask().id == unfinished
    for _ in range(3):
        assert again.ask() == first.ask()


def test_a_journal_of_other_proposals_is_refused(content, tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    written(journal, jobs(content), count=6, ended=5)
    with pytest.raises(SearchError, match="start anew with `kdsearch run --fresh`"):
        jobs(content, algorithm="quasi_random").replay(journal, Record.of(journal).trials)
