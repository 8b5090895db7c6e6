"""Were the rungs fair? On curves made by hand, whose answers are known."""

from typing import Any

import pytest

from kdsearch.reporting.rungs import Curves, Replay
from kdsearch.tracking import Record


def record(curves: dict[str, list[float]], rungs: Any = ((1, 2), 2), epochs: int = 4) -> Record:
    """One student after the other; those with fewer epochs were stopped early."""
    events: list[dict[str, Any]] = [{"event": "search", "study": {"recipe": {"epochs": epochs}}}]
    if rungs:
        value = {"epochs": list(rungs[0]), "factor": rungs[1]}
        events.append({"event": "fact", "name": "rungs", "value": value})
    clock = 0
    for name, curve in curves.items():
        events.append({"event": "trial", "id": name, "kind": "trial", "family": "kd", "time": 0.0,
                       "origin": "proposed", "experiment": {}})  # fmt: skip
        for number, accuracy in enumerate(curve, start=1):
            clock += 1
            events.append({"event": "epoch", "id": name, "epoch": number, "accuracy": accuracy,
                           "loss": 1.0, "train_loss": 1.0, "time": clock})  # fmt: skip
        status = "finished" if len(curve) == epochs else "pruned"
        events.append({"event": "end", "id": name, "status": status, "time": clock})
    return Record.of(events)


def test_an_early_student_that_better_ones_followed_was_treated_leniently() -> None:
    weak_first = record({
        "slow": [0.1, 0.2, 0.3, 0.9],
        "fast": [0.5, 0.6, 0.6, 0.6],
        "third": [0.6, 0.7, 0.7, 0.7],
        "late": [0.2],
    })  # fmt: skip
    first, second = Curves(weak_first).rungs()
    assert (first.met, first.stopped, first.lenient) == (4, 1, 1)
    assert (first.place, first.kept) == (4, False)
    assert first.correlation == pytest.approx(-0.5)  # 0.1 0.5 0.6 against 0.9 0.6 0.7
    assert (second.met, second.stopped, second.lenient) == (3, 0, 1)
    said = Curves(weak_first).sentences()
    assert "after epoch 1 it is number 4 of 4" in said[0]
    assert said[1].startswith("2 passed a rung before")


def test_a_replay_counts_what_would_have_been_spent_and_lost() -> None:
    curves = Curves(record({
        "a": [0.5, 0.5, 0.5, 0.6],
        "b": [0.4, 0.8, 0.8, 0.8],
        "c": [0.6, 0.6, 0.6, 0.7],
    }, rungs=None))  # fmt: skip
    assert curves.rungs() == []
    strict = curves.replay((1,), 2)
    # b is stopped at once; c passes and ends 0.1 below it.
    assert strict == Replay((1,), 2, 4 + 1 + 4, 2, 3, pytest.approx(10.0), 0)
    later = curves.replay((2,), 2)
    # c, at 0.6, meets 0.5 and 0.8 there, whose median is 0.65.
    assert later == Replay((2,), 2, 4 + 4 + 2, 2, 3, pytest.approx(0.0), 0)
    assert next(replay.rungs for replay in curves.replays()) == ()


def test_what_lies_beyond_a_stopped_curve_is_not_known() -> None:
    curves = Curves(record({"a": [0.5, 0.5, 0.5, 0.6], "b": [0.4], "c": [0.3]}))
    assert curves.replay((1, 2), 2).unknown == 0
    lax = curves.replay((), 1)
    assert (lax.unknown, lax.epochs, lax.kept) == (2, 6, 1)
    assert lax.cells()[2] == "at least 6"


def test_nobody_finished_nothing_is_said() -> None:
    assert Curves(record({"a": [0.5]})).replays() == []
    assert Curves(record({"a": [0.5]})).sentences() == []
