"""A scheduler's memory, brought back from the journal: Tune does not keep it over a restart."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import TrialScheduler

from kdsearch.search.searcher import METRIC
from kdsearch.tracking import Event, Record


@dataclass(eq=False)
class _Shown:
    """As much of a Tune trial as a scheduler reads."""

    trial_id: str
    status: str = "RUNNING"
    config: dict[str, Any] = field(default_factory=dict)


def replay(scheduler: TrialScheduler, events: Iterable[Event]) -> None:
    """Show a fresh scheduler the ended trials of a journal, in its order.

    Trials that go on show themselves: they repeat their epochs before they train.
    """
    events = list(events)
    shown = {
        trial.id: _Shown(trial.id)
        for trial in Record.of(events).of_kind("trial")
        if trial.status != "running"
    }
    for event in events:
        trial = shown.get(event.get("id", ""))
        if trial is None:
            continue
        if event["event"] == "trial":
            scheduler.on_trial_add(None, trial)
        elif event["event"] == "epoch":
            result = {"training_iteration": event["epoch"], METRIC: event["accuracy"]}
            scheduler.on_trial_result(None, trial, result)
