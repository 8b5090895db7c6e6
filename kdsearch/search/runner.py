"""Run a study: teacher, signals, search, finals; or go on where an earlier sitting stopped.

storage/
  teachers/  signals/                      shared by all studies
  searches/<study>-<digest>-<n>/
    study.json  journal.jsonl              what was asked, and what happened
    finals/                                their networks, and what they said of the test part
    ray/                                   Tune's own folder, needed by nothing afterwards
"""

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from kdsearch import baselines, data
from kdsearch.errors import NameNotFound
from kdsearch.search import control, finals, fit
from kdsearch.search.cluster import Cluster, connected
from kdsearch.search.jobs import FinalJobs, SearchJobs
from kdsearch.search.plugins import sampler_for, scheduler_for
from kdsearch.search.principled import Principled, Ranked
from kdsearch.search.proposals import Proposals
from kdsearch.search.rungs import replay
from kdsearch.search.schedulers.asha import Halving
from kdsearch.search.stages import Stages
from kdsearch.search.study import Study
from kdsearch.search.teaching import Say, Teaching
from kdsearch.tracking import Journal, Record


class Run:
    """One search of a study, in a folder of its own."""

    def __init__(self, study: Study, folder: Path, storage: Path) -> None:
        """Load the data and hold the study against it; nothing is started.

        Raises:
            StudyError: an objective of the space does not fit the data.
            SettingError: the dataset has no such setting.
            DataError: its files are missing, damaged or wrongly labelled.
        """
        self.study, self.folder, self.storage = study, folder, storage
        self.journal = Journal(folder / "journal.jsonl")
        self.splits = data.load(**study.data.arguments)
        fit.check_objectives(study, self.splits)
        fit.check_networks(study, self.splits)

    def go(self, cluster: Cluster, say: Say) -> Record:
        """Run every stage that is not done yet; returns the finished record.

        Raises:
            Interrupted: Ctrl-C; `resume` goes on.
        """
        stages = Stages(self.study, self.folder, self.storage, self.journal, self.splits, cluster)
        stages.begin("search")
        self._note_published()
        stages.teach(say)
        self._search(stages)
        self._control(stages)
        self._finals(stages)
        self.journal.append("finished")
        return Record.of(self.journal)

    def _note_published(self) -> None:
        if not Record.of(self.journal).papers:
            for row in published_rows(self.study):
                taught = baselines.teacher_top1(row)
                content = {"row": row.model_dump(), "marks": row.marks(), "teacher_top1": taught}
                self.journal.append("paper", **content)

    def _search(self, stages: Stages) -> None:
        record = Record.of(self.journal)
        space = self.study.parsed_space
        principled = Principled(self.study, self.splits, stages.validation)
        published = list(self.study.published())
        chosen = self._principled_first(principled, record)
        warm = self.study.warm()
        proposals = Proposals(space, sampler_for(self.study), [*published, *chosen, *warm])
        trials = self.study.search.trials
        origins = {len(published): "principled"} if chosen else {}
        begin = len(published) + len(chosen)
        origins |= dict.fromkeys(range(begin, begin + len(warm)), "warm")
        jobs = SearchJobs(self.study, proposals, trials, principled.score, origins)
        scheduler = scheduler_for(self.study)
        if isinstance(scheduler, Halving) and "rungs" not in record.facts:
            rungs = {"epochs": scheduler.rungs, "factor": scheduler.factor}
            self.journal.append("fact", name="rungs", value=rungs)
        jobs.replay(self.journal, record.trials)
        replay(scheduler, self.journal)
        ended = sum(trial.status != "running" for trial in record.of_kind("trial"))
        stages.train("search", jobs, trials - ended, scheduler)

    def _control(self, stages: Stages) -> None:
        record = Record.of(self.journal)
        if "control" not in record.facts:
            epochs = control.budget(self.study, record)
            self.journal.append("fact", name="control", value=epochs)
            record.facts["control"] = epochs
        if not (epochs := record.facts["control"]):
            return
        study = control.study_of(self.study)
        proposals = Proposals(study.parsed_space, sampler_for(study))
        # A student has one epoch at least: it is their sum that ends it.
        jobs = SearchJobs(study, proposals, total=epochs, kind="control", epochs=epochs)
        scheduler = scheduler_for(study)
        jobs.replay(self.journal, record.trials)
        replay(scheduler, self.journal, "control")
        if not jobs.done:
            ended = sum(trial.status != "running" for trial in record.of_kind("control"))
            stages.train("control", jobs, epochs - ended, scheduler)

    def _principled_first(self, principled: Principled, record: Record) -> list[dict[str, Any]]:
        """PTLoss with coefficients chosen by the proxy teacher, once per search."""
        if "principled" in record.facts:
            draw = record.facts["principled"]
        else:
            draw = principled.first(principled.ranked())
            self.journal.append("fact", name="principled", value=draw)
        return [draw] if draw else []

    def _finals(self, stages: Stages) -> None:
        record = Record.of(self.journal)
        chosen = finals.rows(self.study, record)
        jobs = FinalJobs(finals.jobs(self.study, chosen), record.trials)
        stages.train("finals", jobs, len(jobs))
        if "teacher_test_accuracy" not in record.facts:
            said, labels = stages.teaching.on_test(), self.splits.labels[self.splits.test]
            stages.outcomes.keep_test(labels, said)
            accuracy = float((said.predicted == labels).mean()) if said else None
            self.journal.append("fact", name="teacher_test_accuracy", value=accuracy)


def ranked_coefficients(
    study: Study, storage: Path, address: str | None, cluster: Path | None, console: Console
) -> Ranked:
    """PTLoss's coefficients from the study's ranges by their proxy teachers, the best first."""
    splits = data.load(**study.data.arguments)
    storage.mkdir(parents=True, exist_ok=True)
    with (
        connected(study.resources, address, file=cluster, code=study.code) as reached,
        tempfile.TemporaryDirectory() as folder,
    ):
        # A journal of its own: this is no search.
        journal = Journal(Path(folder) / "journal.jsonl")
        whole = study.signals == "stored"
        teaching = Teaching(study.teacher, splits, storage, reached.teacher, journal, whole)
        logits = teaching.of_validation(teaching.signals(console.print))
    return Principled(study, splits, logits).ranked()


def published_rows(study: Study) -> list[baselines.Row]:
    """The papers' rows for the study's dataset, teacher and student."""
    dataset = study.data.published
    if dataset is None or not study.teacher.name:
        return []
    try:
        return baselines.query(study.teacher.name, study.student.known_as, dataset)
    except NameNotFound:  # of a network that no paper has published
        return []
