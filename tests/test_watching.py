"""Watching: a journal that others write is shown as far as it goes, and to its end."""

import io
import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kdsearch import watching
from kdsearch.tracking import Event, Journal, Record
from kdsearch.watching import Watch, batches, follow, span
from tests.search.driving import KDSEARCH, Driver


def trial(id: str, family: str, time: float, curve: list[float], status: str = "") -> list[Event]:
    """A student of 10 s per epoch."""
    kind = "final" if id.startswith("f") else "trial"
    experiment = {"objective": {"name": family}, "recipe": {"learning_rate": 0.1}, "seed": 0}
    about = {"kind": kind, "family": family, "origin": "proposed", "experiment": experiment}
    events: list[Event] = [{"event": "trial", "time": time, "id": id, **about}]
    for epoch, accuracy in enumerate(curve, start=1):
        figures = {"accuracy": accuracy, "loss": 1.0, "train_loss": 1.0, "seconds": 10.0}
        when = time + 10 * epoch
        events.append({"event": "epoch", "time": when, "id": id, "epoch": epoch, **figures})
    ends = {"event": "end", "time": time + 10 * len(curve), "id": id, "status": status}
    return [*events, ends] if status else events


def searching() -> list[Event]:
    """A search of 8 students of 3 epochs, after 40 s: two ended, two train."""
    study = {"name": "made", "question": "Q?", "recipe": {"epochs": 3}, "teacher": {}}
    row = {"method": "WTTM", "objective": "wttm", "top1": 76.06, "source": "Table 1"}
    kd = {"method": "KD", "objective": "kd", "top1": 73.33, "source": "Table 1"}
    return [
        {"event": "search", "time": 0.0, "name": "made-1", "study": study},
        {"event": "paper", "time": 0.0, "row": kd, "marks": []},
        {"event": "paper", "time": 0.0, "row": row, "marks": []},
        {"event": "fact", "time": 0.0, "name": "rungs", "value": {"epochs": [1], "factor": 2}},
        {"event": "stage", "time": 0.0, "name": "search", "state": "begin", "trainings": 8},
        *trial("t0000", "kd", 0.0, [0.3, 0.5, 0.7], "finished"),
        *trial("t0001", "ttm", 0.0, [0.1], "pruned"),
        *trial("t0002", "wttm", 10.0, [0.4, 0.6]),
        *trial("t0003", "dkd", 30.0, []),
        {"event": "note", "time": 40.0, "id": "t0003", "text": "A node died."},
    ]


def shown(events: list[Event], terminal: bool = True) -> str:
    log = io.StringIO()
    console = Console(file=log, width=120, force_terminal=terminal, color_system=None)
    watch = Watch(console, Record())
    for event in events:
        watch(event)
    console.print(watch._picture())
    return log.getvalue()


def test_a_terminal_shows_students_rungs_best_papers_and_what_is_left() -> None:
    said = [" ".join(line.split()) for line in shown(searching()).splitlines()]
    assert "made-1 Q?" in said
    assert any(line.startswith("search 2/8") for line in said)
    assert "t0002 wttm lr 0.1 2/3 60.00" in said
    assert "t0003 dkd lr 0.1 0/3" in said
    # Met at 0.3, 0.1 and 0.4: the better half begins at the median.
    assert "1 3 1 30.00" in said
    assert "best: kd 70.00 % validation (lr 0.1; t0000)" in said
    assert "papers' best: WTTM 76.06 % test, Table 1" in said
    assert "papers' kd: KD 73.33 % test, Table 1" in said
    # Two in 40 s, so six in 120 s; they took 40 s of slots, so six take 120 s.
    assert said[-1] == (
        "spent: 6 student-epochs, 60 s of slot time;"
        " left: about 2 min, 2 min of slot time, then the finals"
    )


def test_finals_are_compared_by_their_test_means() -> None:
    events = searching()
    events += [
        {"event": "stage", "time": 50.0, "name": "search", "state": "end"},
        {"event": "stage", "time": 50.0, "name": "finals", "state": "begin", "trainings": 3},
    ]
    for id, row, accuracy in [("f0", "kd (published)", 0.8), ("f1", "wttm (found)", 0.9)]:
        first, *rest = trial(id, row.split()[0], 50.0, [accuracy], "finished")
        events += [first | {"row": row}, *rest]
    events[0] |= {"data": "0123", "digest": "d"}
    events[0]["study"]["data"] = {"name": "digits"}
    said = shown(events).splitlines()
    assert "best: wttm (found) 90.00 % test, n = 1" in said
    assert "best kd: kd (published) 80.00 % test, n = 1" in said


def test_a_half_written_line_comes_whole_with_a_later_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "journal.jsonl"
    text = "".join(json.dumps(event) + "\n" for event in [*searching(), {"event": "finished"}])
    cuts = iter([text[:700], text[:1234], text[:-2], text])
    file.write_text(next(cuts))
    monkeypatch.setattr(watching.time, "sleep", lambda _: file.write_text(next(cuts)))
    found = list(batches(Journal(file)))
    assert len(found) == 4
    assert [event for batch in found for event in batch] == [*searching(), {"event": "finished"}]


def test_plain_lines_while_another_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, log = Journal(tmp_path / "journal.jsonl"), io.StringIO()
    monkeypatch.setattr(watching, "_EVERY", 0.01)

    def write() -> None:
        for event in [*searching(), {"event": "finished", "time": 41.0}]:
            content: dict[str, Any] = {k: v for k, v in event.items() if k not in ("event", "time")}
            journal.append(event["event"], **content)

    writer = threading.Thread(target=write)
    writer.start()
    follow(Journal(tmp_path / "journal.jsonl"), Console(file=log, width=120))
    writer.join()
    assert "A node died." in log.getvalue().splitlines()
    assert "\x1b" not in log.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.25, "4.25 s"), (89, "89 s"), (90, "1.5 min"), (9000, "2.5 h")]
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_ctrl_c_ends_the_watching_alone(tmp_path: Path) -> None:
    journal = tmp_path / "searches" / "made-1" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("".join(json.dumps(event) + "\n" for event in searching()) + '{"event": "e')
    before = journal.read_bytes()
    watch = Driver(tmp_path / "log", [*KDSEARCH, "watch", "--storage", tmp_path])
    watch.wait_for(lambda: "A node died." in watch.said)
    code, said = watch.end(signal.SIGINT)
    assert (code, "the search goes on" in said) == (0, True)
    assert journal.read_bytes() == before
    journal.write_bytes(before.rpartition(b"\n")[0] + b'\n{"event": "finished", "time": 50}\n')
    ended = Driver(tmp_path / "log", [*KDSEARCH, "watch", "made-1", "--storage", tmp_path])
    code, said = ended.end()
    assert (code, "made-1 has finished" in said) == (0, True)
