"""The bridge to Ray Tune: it hands out jobs, writes the journal, and tells how each job went.

Tune's bundled Optuna searcher tells stopped students as complete, queues one trial at a time and
leaves students that are not finite running for ever. Here every result passes through one place,
in one order: first the journal, then the proposals.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from kdsearch.errors import StoreError
from kdsearch.search.cluster import larger
from kdsearch.search.jobs import Job, Jobs
from kdsearch.search.study import Share
from kdsearch.tracking import Journal

METRIC = "accuracy"
ON_CPU = Share()


class JobSearcher(Searcher):  # type: ignore[misc]
    """Gives a stage's jobs to Tune as configurations `{job: ..., experiment: ...}`."""

    def __init__(
        self,
        jobs: Jobs,
        count: int,
        journal: Journal,
        known: Mapping[str, int],
        trial: Share = ON_CPU,
        keep: Callable[[str, bytes], None] = lambda *_: None,
    ) -> None:
        """At most `count` jobs; `known` are those that the journal holds, with their epochs.

        `trial` is the share that each runs with. What it is too small for ends as `starved`, and is
        told to nobody while there is a larger one. `keep` is given the outcome of each final.
        """
        super().__init__(metric=METRIC, mode="max")
        self._trial, self._larger = trial, larger(trial)
        self.starved: list[Job] = []
        self._jobs, self._left, self._journal, self._known = jobs, count, journal, known
        self._running: dict[str, Job] = {}
        self._epochs: dict[str, int] = {}
        self._unsaved, self._keep = False, keep

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher for a restore of its own, which is never asked for.
        return {}

    @property
    def complete(self) -> bool:
        """Whether every job has come to its end: none is running, and none is left to ask for."""
        return not self._running and self._left == 0

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """Metric and direction are fixed: accuracy, the higher the better."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next job's configuration, or that there is none."""
        job = self._jobs.ask()
        if job is None:
            self._left = 0
            return str(Searcher.FINISHED)
        self._left -= 1
        self._running[trial_id] = job
        self._epochs[job.id] = self._known.get(job.id, 0)
        if job.id not in self._known:
            self._journal.append(
                "trial",
                id=job.id,
                kind=job.kind,
                family=job.family,
                origin=job.origin,
                row=job.row,
                proxy_distance=job.proxy_distance,
                experiment=job.experiment,
            )
        config: dict[str, Any] = {"job": job.id, "kind": job.kind, "experiment": job.experiment}
        if job.checkpoint:
            config["goes_on"] = {"checkpoint": job.checkpoint, "past": job.past}
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An epoch of a student that goes on."""
        job = self._running[trial_id]
        self._write_epoch(job, result)
        self._jobs.report(job, result["epoch"], result[METRIC])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The end of a student; without result or error it was interrupted and will go on later."""
        if trial_id not in self._running or (result is None and not error):
            return
        job = self._running.pop(trial_id)
        status, reason = "failed", "its worker died, and so did every retry"
        if result is not None and not error:
            if result["out_of_memory"] and self._larger:
                self.starved.append(job)
                gpu = {"gpu": self._trial.gpu, "larger": self._larger.gpu}
                self._journal.append("starved", id=job.id, **gpu)
                return
            status, reason = self._verdict(result)
            if not result["failure"]:
                self._write_epoch(job, result)
            self._write_outcome(job, result.get("outcome"))
        accuracy = float(result[METRIC]) if result and status != "failed" else None
        self._jobs.tell(job, status, accuracy)
        self._journal.append("end", id=job.id, status=status, reason=reason)

    def _verdict(self, result: dict[str, Any]) -> tuple[str, str]:
        if result["out_of_memory"]:
            told = "set a smaller batch_size or `precision: bfloat16` in the recipe"
            return "failed", f"{self._trial.gpu:g} GPU has too little memory for it: {told}"
        if result["failure"]:
            return "failed", result["failure"]
        if not result["finite"]:
            return "failed", "the training loss was not finite"
        if result["epoch"] < result["epochs"]:
            return "pruned", f"stopped after epoch {result['epoch']}"
        return "finished", ""

    def _write_outcome(self, job: Job, outcome: bytes | None) -> None:
        """Keep a final's network; that there is no room for it does not undo its result."""
        if outcome is None:
            return
        try:
            self._keep(job.id, outcome)
        except StoreError as error:
            text = f"{job.id} is done, but its network is not kept: {error}"
            self._journal.append("note", id=job.id, text=text)

    def _write_epoch(self, job: Job, result: dict[str, Any]) -> None:
        """Journal an epoch unless it is there: a recovered student repeats itself."""
        if result["epoch"] != self._epochs[job.id] + 1:
            return
        self._epochs[job.id] = result["epoch"]
        values = {key: result[key] for key in ("train_loss", METRIC, "loss", "seconds")}
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self._journal.append("epoch", id=job.id, epoch=result["epoch"], **finite)

        if (reason := result.get("unsaved")) and not self._unsaved:
            self._unsaved = True  # once: where one cannot be written, no other can
            text = (
                f"A checkpoint of {job.id} could not be written ({reason}). Training"
                " goes on; a student whose process dies goes on from an older one, or anew."
            )
            self._journal.append("note", id=job.id, text=text)

    def recovers(self, trial_id: str, epoch: int) -> None:
        """Note that a student's process died, and after which epoch its next one goes on."""
        if job := self._running.get(trial_id):
            where = f"goes on after epoch {epoch}" if epoch else "begins anew"
            text = f"The process of {job.id}, or its node, died: it {where}."
            self._journal.append("note", id=job.id, text=text)

    def checkpointed(self, trial_id: str, epoch: int, path: str) -> None:
        """Note where a running student can go on from."""
        if job := self._running.get(trial_id):
            self._journal.append("checkpoint", id=job.id, epoch=epoch, path=path)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal holds the state, and outlives an upgrade of Ray or Optuna."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""
