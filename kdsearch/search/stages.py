"""Stages: a teacher, then sets of students, on one cluster and in one journal.

stages = Stages(study, folder, storage, journal, splits, cluster)
stages.begin("search")
stages.teach(say)
stages.train("finals", jobs, count=len(jobs))
"""

import logging
import time
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import ray
from ray import tune

from kdsearch.data import Splits
from kdsearch.errors import Interrupted, StoreError
from kdsearch.search import checkpoints
from kdsearch.search.cluster import Cluster, larger
from kdsearch.search.environment import environment
from kdsearch.search.jobs import Jobs, Repeated
from kdsearch.search.searcher import JobSearcher
from kdsearch.search.study import Share, Study
from kdsearch.search.teaching import Say, Teaching
from kdsearch.search.trial import CHECKPOINT_EVERY, Lesson, StudentTrial
from kdsearch.tracking import Journal, Outcomes, Record

# What it says of a dead process is a traceback; the journal's note is a sentence.
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


class Stages:
    """What a search and a diagnosis do alike."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        storage: Path,
        journal: Journal,
        splits: Splits,
        cluster: Cluster,
        whole: bool = False,
    ) -> None:
        """`folder` is the run's own, `storage` what all studies share.

        whole: the teacher's plain logits of all fitted images are wanted, though it runs online.
        """
        self._study, self._folder, self._journal = study, folder, journal
        self._splits, self._cluster = splits, cluster
        _ = splits.normalisation  # computed once here, and not by every worker
        self.outcomes = Outcomes(folder)
        self._whole = whole or study.signals == "stored"
        self.teaching = Teaching(
            study.teacher, splits, storage, cluster.teacher, journal, self._whole
        )

    def begin(self, kind: str) -> None:
        """Open the journal for a sitting of a run of this kind (`search` or `diagnosis`)."""
        self._again = "kdsearch resume" if kind == "search" else "kdsearch diagnose"
        self._journal.mend()
        self._journal.append(
            "search",
            kind=kind,
            study=self._study.model_dump(mode="json"),
            name=self._folder.name,
            digest=self._study.digest,
            data=self._splits.digest,
            sizes={
                part: len(getattr(self._splits, part)) for part in ("train", "validation", "test")
            }
            | {"classes": self._splits.classes},
            inputs=self._inputs(),
            slots=self._cluster.concurrent,
            shares={
                "trial": self._cluster.trial.model_dump(),
                "teacher": self._cluster.teacher.model_dump(),
            },
            environment=environment(),
        )

    def _inputs(self) -> dict[str, Any]:
        """What one input is, and how it is normalised: a student outlives its data."""
        images = self._splits.images
        mean, std = self._splits.normalisation
        kind = str(getattr(images, "dtype", "uint8"))
        return {
            "shape": list(images.shape[1:]),
            "dtype": kind,
            "mean": mean.tolist(),
            "std": std.tolist(),
        }

    def teach(self, say: Say) -> Lesson:
        """Train the teacher or find it; returns what every student is given.

        `validation` are then its plain logits of the validation part.

        Raises:
            ResourceError: the disk is too small for its logits.
        """
        self._mark("teacher", "begin")
        stored = self._study.signals == "stored"
        needed = self._splits.views.needed(self._study.recipe.epochs) if stored else 0
        self.teaching.check_space(needed)
        plain = np.ascontiguousarray(self.teaching.signals(say))
        self.validation = self.teaching.of_validation(plain)
        views = [ray.put(view) for view in self.teaching.views(needed, say)]
        self.lesson = Lesson(
            self.teaching.shared,
            ray.put(plain) if self._whole else None,
            self.teaching.similarity(),
            tuple(views),
            self._study.teacher,
            b"" if stored else self.teaching.weights,
        )
        self._mark("teacher", "end")
        return self.lesson

    def train(self, stage: str, jobs: Jobs, count: int, scheduler: Any = None) -> None:
        """Train a stage's jobs, at most `count`, as Ray Tune trials.

        Students that ran out of memory are trained with a larger share of a GPU once the others
        have ended: Tune gives a trial no other share, and the search hears of them late.

        Raises:
            Interrupted: it was stopped before all had ended.
            StoreError: the journal or the place of checkpoints cannot be written.
        """
        if count == 0:
            return
        self._mark(stage, "begin", trainings=count)
        trial: Share | None = self._cluster.trial
        complete = True
        while complete and count and trial:
            trials = Record.of(self._journal).trials
            known = {name: len(trained.epochs) for name, trained in trials.items()}
            searcher = JobSearcher(jobs, count, self._journal, known, trial, self.outcomes.keep)
            self._fit(stage, searcher, count, trial, scheduler)
            complete, count, trial = searcher.complete, len(searcher.starved), larger(trial)
            jobs = Repeated(searcher.starved, jobs, Record.of(self._journal).trials)
        self._mark(stage, "end")
        if not complete:
            raise Interrupted(
                f"{self._folder.name} was stopped. What is done is kept: `{self._again}` goes on."
            )

    def _fit(
        self, stage: str, searcher: JobSearcher, count: int, trial: Share, scheduler: Any
    ) -> None:
        root, name = self._checkpoints(), f"{stage}-{time.time_ns():x}"
        trainable = tune.with_parameters(
            StudentTrial,
            lesson=self.lesson,
            threads=max(1, int(trial.cpu)),
            share=trial.gpu,
            checkpoints=checkpoints.inside(root, name),
            every=CHECKPOINT_EVERY,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, trial.model_dump()),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=count,
                max_concurrent_trials=min(self._cluster.concurrent, count),
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=root,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=2),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=False),
                callbacks=[_Watch(searcher, root, self._journal)],
            ),
        )
        try:
            tuner.fit()
        except Exception as error:
            if self._journal.problem:  # Tune wraps what a callback raises
                raise self._journal.problem from None
            if not isinstance(error, OSError):
                raise
            raise StoreError(
                f"Tune must be able to write to {root}, but: {str(error).partition(chr(10))[0]}."
                " What is done is kept: make room, then run the same command."
            ) from None

    def _checkpoints(self) -> str:
        """Tune's own folder: beside the journal, or where all nodes reach it."""
        shared = self._cluster.checkpoints
        if shared:
            return checkpoints.inside(shared, self._folder.name)
        return str((self._folder / "ray").resolve())

    def _mark(self, stage: str, state: str, **content: Any) -> None:
        self._journal.append("stage", name=stage, state=state, **content)


class _Watch(tune.Callback):  # type: ignore[misc]
    """Notes what happens to trials, and stops Tune where the journal cannot be written.

    A checkpoint is noted by a path or URI that any node can go on from.
    """

    def __init__(self, searcher: JobSearcher, root: str, journal: Journal) -> None:
        self._searcher, self._root, self._journal = searcher, root, journal

    def on_step_end(self, iteration: int, trials: Any, **_: Any) -> None:
        # Tune takes what a searcher raises for an error of one trial, and would go on.
        if self._journal.problem:
            raise self._journal.problem

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        trial.last_result.pop("outcome", None)  # Tune would hold every network until the end

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        found = trial.latest_checkpoint_result
        self._searcher.recovers(trial.trial_id, found.metrics["epoch"] if found else 0)

    def on_checkpoint(
        self, iteration: int, trials: Any, trial: Any, checkpoint: Any, **_: Any
    ) -> None:
        below = PurePosixPath(checkpoint.path).relative_to(trial.storage.storage_fs_path)
        path = checkpoints.inside(self._root, *below.parts)
        self._searcher.checkpointed(trial.trial_id, trial.last_result["epoch"], path)


def _trial_name(trial: Any) -> str:
    return str(trial.config["job"])
