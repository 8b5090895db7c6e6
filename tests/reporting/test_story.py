"""The story of a row and of a training: what a reader asks next is in it."""

import pytest

from kdsearch import baselines
from kdsearch.errors import SearchError
from kdsearch.reporting.story import story
from kdsearch.tracking import Record
from tests.reporting.test_page import search


@pytest.fixture(scope="module")
def record() -> Record:
    return search(8)


def test_a_row_tells_where_it_is_from_and_how_sure_it_is(record: Record) -> None:
    (row, *_) = baselines.query("resnet32x4", "resnet8x4", method="wttm")
    record.add({"event": "paper", "row": row.model_dump(), "marks": ()})
    said = "\n".join(story(record, "wttm (found)"))
    assert said.startswith("wttm (found), row 1 of made-1")
    for telling in (
        "95 % interval",
        "against tuned kd: +",
        "against labels alone: +",
        "not comparable (240 epochs, ours 12)",
        "objective:\n  name: wttm",
        'kdsearch export made-1 --row "wttm (found)"',
    ):
        assert telling in said
    assert said.count("\nfinal: f003-") == 3


def test_a_training_tells_its_course(record: Record) -> None:
    (name,) = (t.id for t in record.of_kind("trial")[:1])
    trial = record.trials[name]
    said = story(record, name)
    assert said[0].startswith(f"{name} {trial.family}, ")
    assert f"{100 * trial.accuracy:.2f} % validation after {len(trial.epochs)} epochs" in said[0]
    shown = [line.split() for line in said if line.strip()[:1].isdigit()]
    shown = [line for line in shown if len(line) == 4 and line[0].isdigit()]
    assert shown[-1][:2] == [str(len(trial.epochs)), f"{100 * trial.accuracy:.2f}"]


def test_what_the_search_has_not_is_told(record: Record) -> None:
    with pytest.raises(SearchError, match=r"got 'nobody'. Rows: wttm \(found\)"):
        story(record, "nobody")
