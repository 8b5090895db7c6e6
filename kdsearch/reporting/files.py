"""A search as files to take along: the leaderboard as Markdown, CSV or Parquet, figures as PNG or
SVG."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kdsearch.errors import SearchError
from kdsearch.files import write_atomically
from kdsearch.reporting.figures import Drawn, figures
from kdsearch.reporting.knowledge import Knowledge
from kdsearch.reporting.leaderboard import as_csv, as_markdown, leaderboard
from kdsearch.tracking import Record

TABLES, PICTURES = ("md", "csv", "parquet"), ("svg", "png")


def write(
    record: Record, beside: Path, kinds: Sequence[str], known: Knowledge | None = None
) -> list[Path]:
    """Write the kinds beside a report: `report.csv`, `report_figures/cost.svg`; returns the paths.

    Raises:
        SearchError: there is no row yet; pictures are wanted, but what draws them is not there.
    """
    rows = leaderboard(record)
    if not rows:
        raise SearchError(
            "tables and pictures need finals, but none has finished. Go on with `kdsearch resume`."
        )
    files = []
    for kind in kinds:
        if kind in PICTURES:
            files += _pictures(
                figures(record, known), beside.with_name(f"{beside.stem}_figures"), kind
            )
            continue
        files.append(beside.with_suffix(f".{kind}"))
        if kind == "parquet":
            import pyarrow as pa
            from pyarrow import parquet

            parquet.write_table(pa.Table.from_pylist([asdict(r) for r in rows]), files[-1])
        else:
            text = as_csv(rows) if kind == "csv" else as_markdown(rows)
            write_atomically(files[-1], text.encode())
    return files


def _pictures(all_drawn: Sequence[Drawn], folder: Path, kind: str) -> list[Path]:
    """Every plot as a picture on white, by the name of its figure and its number there."""
    try:
        import kaleido
    except ImportError:
        raise SearchError(
            "pictures need the extra `figures`, but it is not installed. Install it with"
            " `pip install 'kdsearch[figures]'`."
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    wanted = []
    for drawn in all_drawn:
        for number, (title, plot) in enumerate(drawn.panels, start=1):
            name = drawn.name if len(drawn.panels) == 1 else f"{drawn.name}-{number}"
            plot.update_layout(
                title={"text": title or drawn.title}, paper_bgcolor="white", margin={"t": 80}
            )
            wanted.append({"fig": plot, "path": str(folder / f"{name}.{kind}")})
    try:
        # The library comes from the installed plotly, and formulas there are none: no network.
        kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False})
    except Exception as error:  # noqa: BLE001 - whatever its browser says, it could not draw
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SearchError(
            f"pictures are drawn in an installed Chrome or Chromium, but: {said}. Install one, or"
            " name it in BROWSER_PATH."
        ) from None
    return [Path(each["path"]) for each in wanted]
