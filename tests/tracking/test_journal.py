"""The journal and the record: append-only, whole lines only, folded without repeats."""

import json
import pickle
import resource
from pathlib import Path

import pytest

from kdsearch.errors import StoreError
from kdsearch.tracking import Event, Journal, Record


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def epoch(journal: Journal, name: str, number: int, accuracy: float = 0.5) -> None:
    journal.append(
        "epoch", id=name, epoch=number, accuracy=accuracy, loss=1.0, train_loss=1.0, seconds=2.0
    )


def trial(journal: Journal, name: str, kind: str = "trial") -> None:
    journal.append("trial", id=name, kind=kind, family="kd", origin="proposed", experiment={})


def test_events_come_back_in_order_with_their_time(journal: Journal) -> None:
    heard: list[Event] = []
    journal.listen(heard.append)
    trial(journal, "t0000")
    epoch(journal, "t0000", 1)
    assert list(journal) == heard
    assert [event["event"] for event in heard] == ["trial", "epoch"]
    assert heard[0]["time"] <= heard[1]["time"]


def test_reading_goes_on_from_an_offset(journal: Journal) -> None:
    trial(journal, "t0000")
    first, offset = journal.read()
    assert journal.read(offset) == ([], offset)
    epoch(journal, "t0000", 1)
    later, _ = journal.read(offset)
    assert [*first, *later] == list(journal)


def test_a_half_written_line_is_ignored_and_then_cut_off(journal: Journal) -> None:
    trial(journal, "t0000")
    with journal.path.open("ab") as file:
        file.write(b'{"event":"epo')
    assert [event["event"] for event in journal] == ["trial"]
    journal.mend()
    epoch(journal, "t0000", 1)
    assert [event["event"] for event in journal] == ["trial", "epoch"]
    assert all(json.loads(line) for line in journal.path.read_text().splitlines())


def test_a_full_disk_ends_the_journal_without_a_gap(journal: Journal) -> None:
    """The limit lets half a line through; after it there is room again, and nothing is written."""
    trial(journal, "t0000")
    whole, (soft, hard) = journal.path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 20, hard))
    try:
        with pytest.raises(
            StoreError, match=r"must be written to .*, but: File too large\. The se"
        ):
            epoch(journal, "t0000", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.path.stat().st_size == whole + 20
    with pytest.raises(StoreError, match="File too large"):
        epoch(journal, "t0000", 2)
    again = Journal(journal.path)
    assert [event["event"] for event in again] == ["trial"]
    again.mend()
    epoch(again, "t0000", 1)
    assert [event.get("epoch") for event in again] == [None, 1]


def test_a_pickled_journal_writes_to_the_same_file(journal: Journal) -> None:
    copy = pickle.loads(pickle.dumps(journal))
    trial(copy, "t0000")
    assert len(list(journal)) == 1


def test_the_record_folds_trials_without_repeats(journal: Journal) -> None:
    trial(journal, "t0000")
    for number, accuracy in [(1, 0.3), (2, 0.9), (2, 0.1), (1, 0.1), (3, 0.6)]:
        epoch(journal, "t0000", number, accuracy)
    journal.append("checkpoint", id="t0000", epoch=2, path="p")
    record = Record.of(journal)
    (folded,) = record.of_kind("trial")
    assert [e["accuracy"] for e in folded.epochs] == [0.3, 0.9, 0.6]
    assert (folded.status, folded.accuracy, folded.best_accuracy) == ("running", 0.6, 0.9)
    assert folded.seconds == 6.0
    assert folded.checkpoint is not None
    journal.append("end", id="t0000", status="pruned", reason="weak")
    assert Record.of(journal).trials["t0000"].status == "pruned"


def test_a_student_that_is_not_finite_has_no_loss(journal: Journal) -> None:
    trial(journal, "t0000")
    journal.append(
        "epoch", id="t0000", epoch=1, accuracy=0.0, loss=None, train_loss=None, seconds=1.0
    )
    assert Record.of(journal).trials["t0000"].loss == float("inf")


def test_stage_seconds_add_up_over_sittings(journal: Journal) -> None:
    times = [("begin", 10.0), ("begin", 20.0), ("end", 25.0), ("begin", 30.0), ("end", 31.5)]
    for state, time in times:  # the first sitting died, so its end is missing
        journal.append("stage", name="search", state=state, time=time)
    assert Record.of(journal).stage_seconds("search") == pytest.approx(6.5)
    assert Record.of(journal).stage_seconds("finals") == 0
