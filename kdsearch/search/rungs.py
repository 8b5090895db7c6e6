"""A scheduler's memory, brought back from the journal: Tune does not keep it over a restart."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import TrialScheduler

from kdsearch.search.searcher import METRIC
from kdsearch.tracking import Event, Record, TrialRecord


@dataclass(eq=False)
class _Shown:
    """As much of a Tune trial as a scheduler reads."""

    trial_id: str
    status: str = "RUNNING"
    config: dict[str, Any] = field(default_factory=dict)


def replay(scheduler: TrialScheduler, events: Iterable[Event], kind: str = "trial") -> None:
    """Show a fresh scheduler the ended trials of a journal of one kind, in its order.

    Trials that go on show themselves: they repeat their epochs before they train.
    """
    events = list(events)
    ended = {t.id: t for t in Record.of(events).of_kind(kind) if t.status != "running"}
    shown = {name: _Shown(name) for name in ended}
    for event in events:
        name = event.get("id", "")
        if name not in ended:
            continue
        if event["event"] == "trial":
            scheduler.on_trial_add(None, shown[name])
        elif event["event"] == "epoch":
            result = {"training_iteration": event["epoch"], METRIC: event["accuracy"]}
            # Of a trial that is done, Tune shows the last result as its completion.
            done = _done(ended[name], event)
            show = scheduler.on_trial_complete if done else scheduler.on_trial_result
            show(None, shown[name], result)


def _done(trial: TrialRecord, epoch: Event) -> bool:
    by_itself = trial.status == "finished" or epoch.get("train_loss", 0.0) is None
    return by_itself and epoch is trial.epochs[-1]
