"""The bridge to Tune keeps Tune's contract, for every search algorithm there is.

Driven as Tune's controller drives it: behind the limiter of concurrent trials, three students under
way at a time, results in any order, some weak, some not finite, some lost with their worker.
"""

import json
import random

import pytest
from ray import cloudpickle
from ray.tune.search import ConcurrencyLimiter, Searcher

from kdsearch import catalogue
from kdsearch.search.jobs import SearchJobs
from kdsearch.search.mistakes import ALGORITHMS
from kdsearch.search.plugins import sampler_for
from kdsearch.search.proposals import Proposals
from kdsearch.search.searcher import JobSearcher
from kdsearch.search.study import Study
from kdsearch.tracking import Journal, Record

TRIALS = 14
ENDS = ("finished", "pruned", "not finite", "error", "lost")
RESULT = {
    "epochs": 4,
    "accuracy": 0.5,
    "train_loss": 1.0,
    "loss": 1.0,
    "seconds": 0.1,
    "finite": True,
    "failure": "",
    "out_of_memory": False,
}
every_algorithm = pytest.mark.parametrize("name", catalogue.names(ALGORITHMS))


class Driven:
    """A searcher with what it writes to, and Tune's side of the conversation."""

    def __init__(self, study, folder):
        self.journal = Journal(folder / "journal.jsonl")
        self.proposals = Proposals(study.parsed_space, sampler_for(study), study.published())
        jobs = SearchJobs(study, self.proposals, TRIALS)
        record = Record.of(self.journal)
        jobs.replay(self.journal, record.trials)
        ended = [t for t in record.trials.values() if t.status != "running"]
        known = {t.id: len(t.epochs) for t in record.trials.values()}
        self.bridge = JobSearcher(jobs, TRIALS - len(ended), self.journal, known)
        self.tunes = ConcurrencyLimiter(self.bridge, max_concurrent=3)
        self.running = {}
        self.chance = random.Random(len(ended))
        self.asked = []

    def go(self, until=TRIALS):
        """Ask and answer as Tune does, until so many students have ended."""
        ended = 0
        while ended < until:
            while len(self.running) < 3:
                name = f"tune-{len(self.asked)}-{id(self)}"
                config = self.tunes.suggest(name)
                if config in (None, Searcher.FINISHED):
                    break
                self.asked.append(config)
                self.running[name] = (config, 0)
            if not self.running:
                return
            name = self.chance.choice(list(self.running))
            ended += self.step(name)

    def step(self, name):
        """One epoch of a student; returns whether it has ended."""
        config, epoch = self.running[name]
        number = int(config["job"][1:])
        end, last = ENDS[number % len(ENDS)], epoch + 1 == 4
        result = RESULT | {"epoch": epoch + 1, "accuracy": number / 100 + epoch / 50}
        over = last or (epoch == 1 and end != "finished")
        if not over:
            self.tunes.on_trial_result(name, result)
            self.running[name] = (config, epoch + 1)
            return False
        if end == "not finite":
            result |= {"finite": False, "accuracy": 0.0, "train_loss": float("nan")}
        if end == "error":
            result |= {"failure": "ValueError: on purpose", "finite": False}
        del self.running[name]
        if end == "lost":
            self.tunes.on_trial_complete(name, error=True)
        else:
            self.tunes.on_trial_complete(name, result)
        return True


@pytest.fixture
def study(content):
    def of(name):
        search = {"trials": TRIALS, "algorithm": {"name": name}}
        return Study.of(content | {"search": search})

    return of


@every_algorithm
def test_a_whole_search_leaves_nothing_open(name, study, tmp_path):
    driven = Driven(study(name), tmp_path)
    driven.go()
    assert driven.bridge.complete
    assert driven.tunes.suggest("one-more") == Searcher.FINISHED
    trials = Record.of(driven.journal).trials
    wanted = {"finished": "finished", "pruned": "pruned"}
    for trial in trials.values():
        assert trial.status == wanted.get(ENDS[int(trial.id[1:]) % len(ENDS)], "failed")
    assert len(trials) == TRIALS
    told = [(t.state.name, len(t.intermediate_values)) for t in driven.proposals.optuna_trials]
    assert {state for state, _ in told} == {"COMPLETE", "PRUNED", "FAIL"}
    # The epoch with which a student ends is told as its end, and not as one on the way.
    assert {count for state, count in told if state == "COMPLETE"} == {3}
    assert {count for state, count in told if state == "PRUNED"} == {1}


@every_algorithm
def test_the_published_points_are_run_as_they_were_written(name, study, tmp_path):
    asked = study(name)
    driven = Driven(asked, tmp_path)
    driven.go(3)
    published = [asked.assembled(draw) for draw in asked.published()]
    assert [config["experiment"] for config in driven.asked[: len(published)]] == published


@every_algorithm
def test_configurations_are_plain_and_the_searcher_can_be_pickled(name, study, tmp_path):
    driven = Driven(study(name), tmp_path)
    driven.go(4)
    for config in driven.asked:
        assert json.loads(json.dumps(config)) == config
    assert len(cloudpickle.dumps(driven.bridge)) < 1000  # Tune writes it with every snapshot


@every_algorithm
def test_a_new_process_goes_on_where_the_journal_ends(name, study, tmp_path):
    """The students under way come first, then what an undisturbed searcher would have asked."""
    whole = Driven(study(name), tmp_path)
    whole.go(6)
    open_ = {config["job"] for config, _ in whole.running.values()}
    again = Driven(study(name), tmp_path)
    first = [again.tunes.suggest(f"again-{n}") for n in range(len(open_))]
    assert {config["job"] for config in first} == open_
    following = [jobs.bridge.suggest("following") for jobs in (whole, again)]
    assert following[0] == following[1]
    assert following[0]["job"] not in {config["job"] for config in whole.asked}


def test_a_student_that_repeats_its_epochs_is_written_once(study, tmp_path):
    driven = Driven(study("random"), tmp_path)
    config = driven.tunes.suggest("a")
    for epoch in (1, 2, 1, 2, 3):
        driven.tunes.on_trial_result("a", RESULT | {"epoch": epoch})
    trial = Record.of(driven.journal).trials[config["job"]]
    assert [event["epoch"] for event in driven.journal if event["event"] == "epoch"] == [1, 2, 3]
    assert list(driven.proposals.optuna_trials[0].intermediate_values) == [1, 2, 3]
    assert trial.status == "running"


def test_a_student_that_tune_gives_up_without_a_word_stays_open(study, tmp_path):
    """As at Ctrl-C: it has not ended, and a later sitting goes on with it."""
    driven = Driven(study("random"), tmp_path)
    config = driven.tunes.suggest("a")
    driven.tunes.on_trial_complete("a", result=None, error=False)
    assert Record.of(driven.journal).trials[config["job"]].status == "running"
    assert not driven.bridge.complete
