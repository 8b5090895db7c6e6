"""The record: what a journal says, folded into one value to read from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kdsearch.tracking.journal import Event


@dataclass
class TrialRecord:
    """One training: the teacher (`kind` teacher), a student of the search (trial) or of its control
    (control), a level of a diagnosis (level) or a final.

    status: running, finished, pruned (stopped early as weak) or failed (not finite, or an error).
    epochs: one event per epoch, in order, without repeats.
    """

    id: str
    kind: str
    family: str
    origin: str
    experiment: dict[str, Any]
    started: float
    row: str = ""
    proxy_distance: float | None = None
    status: str = "running"
    reason: str = ""
    ended: float | None = None
    checkpoint: Event | None = None
    epochs: list[Event] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds spent in its epochs, by the trainer's own clock."""
        return float(sum(epoch["seconds"] for epoch in self.epochs))

    @property
    def accuracy(self) -> float:
        """Accuracy in [0, 1] after the last epoch that was reported; 0 before the first."""
        return float(self.epochs[-1]["accuracy"]) if self.epochs else 0.0

    @property
    def best_accuracy(self) -> float:
        """The highest accuracy of any epoch; never ranked, see the protocol."""
        return max((float(epoch["accuracy"]) for epoch in self.epochs), default=0.0)

    @property
    def loss(self) -> float:
        """Cross entropy after the last epoch; infinite before the first or when not finite."""
        loss = self.epochs[-1]["loss"] if self.epochs else None
        return float("inf") if loss is None else float(loss)


def by_end(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those that were judged at least once, in the order of their last epochs."""
    return sorted((t for t in trials if t.epochs), key=lambda t: t.epochs[-1]["time"])


@dataclass
class Record:
    """A search as far as its journal goes."""

    header: Event = field(default_factory=dict)
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    stages: list[Event] = field(default_factory=list)
    signals: list[Event] = field(default_factory=list)
    papers: list[Event] = field(default_factory=list)
    finished: bool = False

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Record":
        """Fold events in order."""
        record = cls()
        for event in events:
            record.add(event)
        return record

    def of_kind(self, kind: str) -> list[TrialRecord]:
        """The trainings of one kind, in the order of their start."""
        return [trial for trial in self.trials.values() if trial.kind == kind]

    @property
    def searched(self) -> list[TrialRecord]:
        """The students that settings were chosen by: of the search, and of its control."""
        return self.of_kind("trial") + self.of_kind("control")

    def stage_seconds(self, *names: str) -> float:
        """Wall seconds between begin and end of the named stages, over all sittings."""
        total, begun = 0.0, {}
        for event in self.stages:
            if event["name"] not in names:
                continue
            if event["state"] == "begin":
                begun[event["name"]] = event["time"]
            elif event["name"] in begun:
                total += event["time"] - begun.pop(event["name"])
        return total

    def add(self, event: Event) -> None:
        """Take one more event into account; events of unknown kinds are ignored."""
        match event["event"]:
            case "search":
                self.header = event
            case "trial":
                known = {k: v for k, v in event.items() if k in TrialRecord.__dataclass_fields__}
                self.trials[event["id"]] = TrialRecord(started=event["time"], **known)
            case "epoch":
                trial = self.trials[event["id"]]
                if event["epoch"] == len(trial.epochs) + 1:
                    trial.epochs.append(event)
            case "checkpoint":
                self.trials[event["id"]].checkpoint = event
            case "end":
                trial = self.trials[event["id"]]
                trial.status, trial.ended = event["status"], event["time"]
                trial.reason = event.get("reason", "")
            case "stage":
                self.stages.append(event)
            case "signals":
                self.signals.append(event)
            case "paper":
                self.papers.append(event)
            case "fact":
                self.facts[event["name"]] = event["value"]
            case "finished":
                self.finished = True
