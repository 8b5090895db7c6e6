"""Published rows beside ours: verdicts where the protocols agree, and reasons where they don't."""

from typing import Any

import pytest

from kdsearch import baselines
from kdsearch.reporting.html import report
from kdsearch.reporting.leaderboard import leaderboard
from kdsearch.reporting.published import HEADINGS, Judged, judged
from kdsearch.tracking import Record
from tests.reporting.made import Made

TTM = [93.0, 93.4, 93.2, 93.1, 93.3]


@pytest.fixture
def record() -> Record:
    made = Made()
    for seed, accuracy in enumerate(TTM):
        made.training(f"f0-{seed}", "kd (published)", [0.5, 0.6, 0.90], seed=seed)
        curve = [0.5, 0.96, accuracy / 100]
        made.training(f"f1-{seed}", "ttm (found)", curve, seed=seed, origin="found")
    return made.record


def paper(method: str = "ttm", **changes: Any) -> dict[str, Any]:
    """A published row under the record's own protocol, changed where it is said."""
    (row, *_) = baselines.query("resnet32x4", "resnet8x4", method=method)
    same = {"epochs": 3, "epoch": "last", "split": "test", "selection": "mean", "std": None}
    return row.model_dump() | same | {"n": None} | changes


def stands(record: Record, *rows: dict[str, Any]) -> list[Judged]:
    for row in rows:
        record.add({"event": "paper", "row": row, "marks": ()})
    return judged(record)


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"top1": 90.0}, "above"),
        ({"top1": 93.1}, "consistent"),
        ({"top1": 96.0}, "below"),
        ({"top1": 93.6, "std": 0.1, "n": 5}, "below"),
        ({"top1": 93.6, "std": 2.0, "n": 3}, "consistent"),
        ({"top1": 93.6}, "consistent"),  # one run, which may be off by as much as ours
    ],
)
def test_a_row_of_the_same_protocol_gets_a_verdict(
    row: dict[str, Any], word: str, record: Record
) -> None:
    (found,) = stands(record, paper(**row))
    assert (found.ours, found.word, found.reason) == ("ttm (found)", word, "")
    assert found.p is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 240}, "240 epochs, ours 3"),
        ({"epochs": None}, "an unknown number of epochs, ours 3"),
        ({"split": "val"}, "accuracy on val"),
        ({"subset": "zeta=0.1"}, "on a part of the data, zeta=0.1"),
    ],
)
def test_another_protocol_is_not_comparable_however_large_the_difference(
    changes: dict[str, Any], reason: str, record: Record
) -> None:
    (found,) = stands(record, paper(top1=10.0, **changes))
    assert (found.word, found.reason, found.p) == ("not comparable", reason, None)


@pytest.mark.parametrize(
    ("ours", "word", "reason"),
    [
        (0.7942, "above", ""),
        (0.7850, "above", ""),
        (0.7800, "not comparable", "a teacher of 79.42 %, ours 78.00 %"),
        (0.8100, "not comparable", "a teacher of 79.42 %, ours 81.00 %"),
        (None, "above", ""),
    ],
)
def test_students_of_teachers_far_apart_are_not_compared(
    ours: float | None, word: str, reason: str, record: Record
) -> None:
    record.add({"event": "fact", "name": "teacher_test_accuracy", "value": ours})
    row = paper(top1=90.0)
    record.add({"event": "paper", "row": row, "marks": ("copied",), "teacher_top1": 79.42})
    (found,) = judged(record)
    assert (found.word, found.reason) == (word, reason)
    assert found.marks == ("copied", "its teacher has 79.42 %")


@pytest.mark.parametrize(
    "flattered", [{"selection": "best of 3 runs"}, {"epoch": "best_test"}, {"epoch": "unknown"}]
)
def test_a_flattered_figure_can_only_be_passed(flattered: dict[str, Any], record: Record) -> None:
    low, high = stands(record, paper(top1=90.0, **flattered), paper(top1=96.0, **flattered))[::-1]
    assert low.word == "above"
    assert high.word == "not comparable"


def test_verdicts_are_corrected_for_how_many_there_are(record: Record) -> None:
    """A row that alone is called below is consistent among many that are."""
    row = paper(top1=93.75)
    (alone,) = stands(record, row)
    assert alone.word == "below"
    several = stands(record, *[paper(top1=93.2)] * 30)
    assert {each.word for each in several} == {"consistent"}


def test_a_method_that_was_not_searched_is_shown_without_verdict(record: Record) -> None:
    (found,) = stands(record, paper("dkd"))
    assert (found.ours, found.word, found.p) == ("", "", None)


def test_published_rows_stand_beside_ours_with_their_marks(record: Record) -> None:
    assert "Published" not in report(record)
    for row in baselines.query("resnet32x4", "resnet8x4"):
        record.add({"event": "paper", "row": row.model_dump(), "marks": row.marks()})
    shown = [each.cells() for each in judged(record)]
    figures = [float(cell[1]) for cell in shown]
    assert figures == sorted(figures, reverse=True)
    assert {len(cell) for cell in shown} == {len(HEADINGS)}
    (dkd,) = [cell for cell in shown if cell[0] == "DKD"]
    assert "best test epoch" in dkd[6]
    assert "best test epoch" in report(record)
    assert leaderboard(record)[0].name == "ttm (found)"
