"""Jobs: the trainings of a stage, asked for one at a time.

The search asks its proposals, the finals a fixed list. Both answer with a `Job`, hear how it goes,
and can be brought to where a journal stopped: what ended stays ended, what was under way is handed
out again first, from its last checkpoint if it has one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kdsearch.errors import SearchError
from kdsearch.objectives import family, from_spec
from kdsearch.objectives.guard import refusal
from kdsearch.search.proposals import Proposal, Proposals
from kdsearch.search.study import Study
from kdsearch.tracking import Event, TrialRecord

_PATIENCE = 1000  # refused proposals in a row, after which the space is taken to hold no others


@dataclass(frozen=True)
class Job:
    """One training to run: its name in the journal, what it is, and where it goes on."""

    id: str
    kind: str
    family: str
    origin: str
    experiment: dict[str, Any]
    row: str = ""
    proxy_distance: float | None = None
    checkpoint: str | None = None
    past: list[Event] = field(default_factory=list)

    def resumed(self, trial: TrialRecord) -> "Job":
        """The same job, going on from the trial's last checkpoint."""
        if trial.checkpoint is None:
            return self
        epoch = trial.checkpoint["epoch"]
        return Job(
            **{**vars(self), "checkpoint": trial.checkpoint["path"], "past": trial.epochs[:epoch]}
        )


class Jobs(Protocol):
    """What a stage asks and tells."""

    def ask(self) -> Job | None:
        """The next job; None when there is no further one."""

    def report(self, job: Job, epoch: int, accuracy: float) -> None:
        """An epoch of a job that goes on."""

    def tell(self, job: Job, status: str, accuracy: float | None) -> None:
        """How a job ended."""


class SearchJobs:
    """A search's jobs: proposals made into experiments, `total` of them."""

    def __init__(
        self,
        study: Study,
        proposals: Proposals,
        total: int,
        score: Callable[[Mapping[str, Any]], float | None] = lambda _: None,
        origins: Mapping[int, str] | None = None,
        kind: str = "trial",
        epochs: int | None = None,
    ) -> None:
        """`score` gives an objective's proxy distance; `origins` name proposals by their number.

        `kind` is what the journal calls them: `trial`, or `control`. Once their students have had
        so many `epochs` together there is no further one.
        """
        self._study, self._proposals, self._total = study, proposals, total
        self._score, self._origins = score, origins or {}
        self._kind, self._epochs = kind, epochs
        self._numbers: dict[str, int] = {}
        self._spent: dict[str, int] = {}
        self._again: deque[Job] = deque()

    @property
    def done(self) -> bool:
        """Whether there is no further job."""
        full = self._epochs is not None and sum(self._spent.values()) >= self._epochs
        return not self._again and (full or len(self._numbers) >= self._total)

    def ask(self) -> Job | None:
        if self._again:
            return self._again.popleft()
        if self.done:
            return None
        proposal = self._meaningful()
        if proposal is None:
            return None
        job = Job(
            id=f"{self._kind[0]}{proposal.number:04d}",
            kind=self._kind,
            family=family(proposal.drawn["objective"]),
            origin=self._origins.get(proposal.number, proposal.origin),
            experiment=self._study.assembled(proposal.drawn),
            proxy_distance=self._score(proposal.drawn["objective"]),
        )
        self._numbers[job.id] = proposal.number
        return job

    def _meaningful(self) -> Proposal | None:
        """The next proposal that the guard lets pass; the sampler hears of the others as failed."""
        for _ in range(_PATIENCE):
            proposal = self._proposals.ask()
            if proposal is None or not refusal(from_spec(proposal.drawn["objective"])):
                return proposal
            self._proposals.tell(proposal.number, "failed")
        return None

    def report(self, job: Job, epoch: int, accuracy: float) -> None:
        self._spent[job.id] = epoch
        self._proposals.report(self._numbers[job.id], epoch, accuracy)

    def tell(self, job: Job, status: str, accuracy: float | None) -> None:
        self._spent[job.id] = self._spent.get(job.id, 0) + 1  # its last epoch is not reported
        self._proposals.tell(self._numbers[job.id], status, accuracy)

    def replay(self, events: Iterable[Event], trials: dict[str, TrialRecord]) -> None:
        """Ask, report and tell again what a journal holds, in its order.

        Raises:
            SearchError: the proposals differ from the journal's, as after an upgrade of Optuna.
        """
        running: dict[str, Job] = {}
        seen: dict[str, int] = {}
        epochs, self._epochs = self._epochs, None  # what the journal holds was asked for
        for event in events:
            name = event.get("id", "")
            if event["event"] == "trial" and event["kind"] == self._kind:
                job = self.ask()
                if job is None or (job.id, job.experiment) != (name, event["experiment"]):
                    raise SearchError(
                        f"a continued search must propose what its journal holds, but {name}"
                        " would now be another point. The code, Optuna or the study's algorithm"
                        " has changed: start anew with `kdsearch run --fresh`."
                    )
                running[name] = job
            elif event["event"] == "epoch" and name in running:
                trial = trials[name]
                ends_next = trial.status != "running" and event["epoch"] == len(trial.epochs)
                if event["epoch"] == seen.get(name, 0) + 1 and not ends_next:
                    self.report(running[name], event["epoch"], event["accuracy"])
                seen[name] = event["epoch"]
            elif event["event"] == "end" and name in running:
                trial = trials[name]
                self.tell(running.pop(name), trial.status, trial.accuracy)
        self._epochs = epochs
        self._again.extend(job.resumed(trials[name]) for name, job in running.items())


class FinalJobs:
    """The finals' jobs: a fixed list, without those that have ended."""

    def __init__(self, jobs: Iterable[Job], trials: dict[str, TrialRecord]) -> None:
        def ended(job: Job) -> bool:
            return job.id in trials and trials[job.id].status != "running"

        self._jobs = deque(
            job.resumed(trials[job.id]) if job.id in trials else job
            for job in jobs
            if not ended(job)
        )

    def __len__(self) -> int:
        return len(self._jobs)

    def ask(self) -> Job | None:
        return self._jobs.popleft() if self._jobs else None

    def report(self, job: Job, epoch: int, accuracy: float) -> None:
        """Finals are not searched: nothing learns from them."""

    def tell(self, job: Job, status: str, accuracy: float | None) -> None:
        """Finals are not searched: nothing learns from them."""


class Repeated:
    """Jobs that are handed out once more; those whom they came from hear how they go."""

    def __init__(self, jobs: Iterable[Job], of: Jobs, trials: dict[str, TrialRecord]) -> None:
        self._jobs = deque(job.resumed(trials[job.id]) for job in jobs)
        self.report, self.tell = of.report, of.tell

    def ask(self) -> Job | None:
        return self._jobs.popleft() if self._jobs else None
