"""Progress as plain lines: often enough to be watched, seldom enough for a job's log."""

import io

import pytest
from rich.console import Console

from kdsearch import progress
from kdsearch.progress import Display
from kdsearch.tracking import Record


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(60, 10, 13), (3600, 90, 190), (86400, 250, 360)]
)
def test_a_long_stage_does_not_flood_a_log(
    monkeypatch: pytest.MonkeyPatch, seconds: int, least: int, most: int
) -> None:
    clock = 1e6
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    log = io.StringIO()
    display = Display(Console(file=log, width=180), Record())
    header = {"study": {"teacher": {}, "name": "x"}}
    display({"event": "search", "time": clock, **header})
    with display:
        display(
            {"event": "stage", "name": "search", "state": "begin", "trainings": 9, "time": clock}
        )
        while clock < 1e6 + seconds:
            clock += 1
            display({"event": "fact", "name": "epoch", "value": clock, "time": clock})
    lines = log.getvalue().splitlines()
    assert least <= len(lines) <= most
    assert set(lines) == {"search: 0/9 0 finished, 0 running"}
