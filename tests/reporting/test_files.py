"""What goes beside a report: tables that hold the leaderboard, pictures of every plot."""

import csv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

from kdsearch.errors import SearchError
from kdsearch.reporting import files
from kdsearch.reporting.figures import figures
from kdsearch.reporting.leaderboard import leaderboard
from tests.reporting.made import Made
from tests.reporting.test_page import CHROME, search


def test_tables_hold_the_leaderboard(tmp_path: Path) -> None:
    record = search(5)
    rows = leaderboard(record)
    written = files.write(record, tmp_path / "report.html", ["md", "csv", "parquet"])
    assert [path.name for path in written] == ["report.md", "report.csv", "report.parquet"]
    table = parquet.read_table(written[2]).to_pylist()
    assert [(row["name"], row["mean"], row["tuned_p"]) for row in table] == [
        (row.name, row.mean, row.tuned_p) for row in rows
    ]
    with written[1].open() as lines:
        assert [row["name"] for row in csv.DictReader(lines)] == [row.name for row in rows]
    assert all(f"| {row.name} |" in written[0].read_text() for row in rows)


def test_nothing_is_written_of_a_search_without_finals(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="none has finished"):
        files.write(Made().record, tmp_path / "report.html", ["csv"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not CHROME, reason="needs an installed Chromium or Chrome")
def test_every_plot_is_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", CHROME)
    record = search(3)
    plots = sum(len(drawn.panels) for drawn in figures(record))
    vector = files.write(record, tmp_path / "report.html", ["svg"])
    assert len(vector) == plots
    assert {path.parent.name for path in vector} == {"report_figures"}
    assert all(ElementTree.parse(path).getroot().tag.endswith("svg") for path in vector)
    raster = files.write(record, tmp_path / "report.html", ["png"])
    for path in raster:
        with Image.open(path) as image:
            assert len(image.convert("L").getcolors()) > 3  # not empty


def test_pictures_without_a_browser_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(SearchError, match="installed Chrome or Chromium"):
        files.write(search(1), tmp_path / "report.html", ["png"])
