"""Interactive figures of a search, as plotly's: what the tables cannot show.

A figure is made of panels, each narrow enough for a telephone; the page sets them side by side
where there is room. Objectives keep one colour (Okabe and Ito's, which colour-blind eyes tell
apart) and one symbol throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, cycle
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from kdsearch.reporting.dimensions import Dimension, Dimensions
from kdsearch.reporting.knowledge import Knowledge
from kdsearch.reporting.leaderboard import Row, leaderboard
from kdsearch.tracking import Record, TrialRecord, by_end

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star")
GREY = "#8a93a1"  # reads on white and on black
MANY = 20_000  # points, above which the browser's graphics card draws them


class Panel(NamedTuple):
    """One plot, with a title that the page sets above it so that it wraps."""

    title: str
    plot: go.Figure


@dataclass(frozen=True)
class Drawn:
    """A figure: its name as a file's, its title, what to see in it, and its panels."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class _Search:
    """A record with what several figures need."""

    record: Record
    rows: list[Row]
    dimensions: Dimensions

    @property
    def students(self) -> dict[str, list[TrialRecord]]:
        return self.dimensions.families

    @property
    def names(self) -> list[str]:
        """Every objective, in the order in which it was first met."""
        trials = self.record.searched + self.record.of_kind("final")
        return list(dict.fromkeys(trial.family for trial in trials))

    def colour(self, family: str) -> str:
        return dict(zip(self.names, cycle(COLOURS), strict=False))[family]

    def symbol(self, family: str) -> str:
        return dict(zip(self.names, cycle(SYMBOLS), strict=False))[family]


def figures(record: Record, known: Knowledge | None = None) -> list[Drawn]:
    """Those that a record has the trainings for; `known` is of its winner."""
    search = _Search(record, leaderboard(record), Dimensions(record))
    drawn = [draw(search) for draw in _FIGURES] + ([_knowledge(known)] if known else [])
    return [each for each in drawn if each.panels]


def _standings(search: _Search) -> Drawn:
    figure = _empty("test accuracy, %", "", height=90 + 34 * len(search.rows))
    for row in reversed(search.rows):
        finals = [t for t in search.record.of_kind("final") if t.row == row.name]
        each = [100 * t.accuracy for t in finals if t.status == "finished"]
        look = {"color": search.colour(row.objective), "symbol": search.symbol(row.objective)}
        half = row.mean_high - row.mean if row.mean_high is not None else 0
        label = _marked(row)
        figure.add_scatter(
            x=[row.mean],
            y=[label],
            error_x={"array": [half], "color": look["color"], "thickness": 2},
            marker={**look, "size": 11},
            text=[f"{row.name}<br>{row.settings}"],
            hovertemplate=f"%{{text}}<br>%{{x:.2f}} % ± {half:.2f}<extra></extra>",
            showlegend=False,
        )
        figure.add_scatter(
            x=each,
            y=[label] * len(each),
            mode="markers",
            marker={"color": look["color"], "symbol": "line-ns-open", "size": 12},
            hovertemplate="one seed: %{x:.2f} %<extra></extra>",
            showlegend=False,
        )
    teacher = search.record.facts.get("teacher_test_accuracy")
    if teacher is not None:
        figure.add_vline(100 * teacher, line={"color": GREY, "dash": "dot"})
        figure.add_annotation(
            x=100 * teacher, y=1, yref="paper", text="teacher", showarrow=False, yanchor="bottom"
        )
    return Drawn(
        "standings",
        "Who stands where",
        "Mean of the finals with its 95 % interval; a stroke is one seed.",
        (Panel("", figure),) if search.rows else (),
    )


_REFERENCES = {
    "tuned_": "kd as well as the search tuned it",
    "": "kd at its published settings",
    "plain_": "labels alone",
}
"""What differences are taken to, by the prefix of their fields in a row."""


def _gains(search: _Search) -> Drawn:
    panels = []
    for prefix, words in _REFERENCES.items():
        rows = [r for r in reversed(search.rows) if getattr(r, f"{prefix}difference") is not None]
        if not rows:
            continue
        figure = _empty("points", "", height=110 + 34 * len(rows))
        figure.add_vline(0, line={"color": GREY})
        for row in rows:
            gain, high = getattr(row, f"{prefix}difference"), getattr(row, f"{prefix}high")
            p = getattr(row, f"{prefix}p")
            sure = p is not None and p < 0.05
            colour = search.colour(row.objective)
            symbol = search.symbol(row.objective) + ("" if sure else "-open")
            figure.add_scatter(
                x=[gain],
                y=[_marked(row)],
                error_x={"array": [high - gain if high is not None else 0], "color": colour},
                marker={"color": colour, "symbol": symbol, "size": 11},
                hovertemplate=f"{row.name}: %{{x:+.2f}} points<extra></extra>",
                showlegend=False,
            )
        panels.append(Panel(f"Over {words}", figure))
    return Drawn(
        "gains",
        "By how much, and how surely",
        "Paired differences over the same seeds with their 95 % intervals. A filled mark is a"
        " difference that stays below p = 0.05 when corrected for all rows.",
        tuple(panels),
    )


def _cost(search: _Search) -> Drawn:
    figure = _empty("student-epochs spent on the search", "best validation accuracy so far, %")
    ended = by_end(search.record.searched)
    spent = list(accumulate(len(t.epochs) for t in ended))
    tuned = [t if t.family == "kd" else None for t in ended]
    for name, chosen, colour in (("all", ended, "#0072B2"), ("kd alone", tuned, "#D55E00")):
        best, points = 0.0, []
        for cost, trial in zip(spent, chosen, strict=True):
            if trial and trial.status == "finished" and trial.accuracy > best:
                best = trial.accuracy
                points.append((cost, 100 * best, trial))
        if not points:
            continue
        points.append((spent[-1], 100 * best, points[-1][2]))
        figure.add_scatter(
            x=[cost for cost, _, _ in points],
            y=[value for _, value, _ in points],
            text=[f"{trial.id} {trial.family}" for _, _, trial in points],
            mode="lines+markers",
            line={"shape": "hv", "color": colour},
            name=name,
            hovertemplate="%{text}<br>%{y:.2f} % after %{x} epochs<extra></extra>",
        )
    teacher = search.record.trials.get("teacher")
    if teacher and teacher.epochs:
        figure.add_hline(100 * teacher.accuracy, line={"color": GREY, "dash": "dot"})
        figure.add_annotation(
            x=1, xref="paper", y=100 * teacher.accuracy, text="teacher", showarrow=False,
            yanchor="bottom",
        )  # fmt: skip
    return Drawn(
        "cost",
        "What the search bought",
        "Of students that finished, the best so far over what all of them together had cost.",
        (Panel("", figure),) if figure.data else (),
    )


def _curves(search: _Search) -> Drawn:
    figure = _empty("epoch", "validation accuracy, %", height=480)
    trials = [t for each in search.students.values() for t in each]
    finished = {t.family for t in trials if t.status == "finished"}
    many = sum(len(t.epochs) for t in trials) > MANY
    kind = go.Scattergl if many else go.Scatter
    for family, students in search.students.items():
        for status, name in (("pruned", f"{family}, stopped early"), ("finished", family)):
            chosen = [t for t in students if (t.status == "finished") == (status == "finished")]
            if not chosen:
                continue
            # One trace per objective, with gaps between students: hundreds stay quick.
            x: list[int | None] = []
            y: list[float | None] = []
            text: list[str] = []
            for t in chosen:
                x += [*(e["epoch"] for e in t.epochs), None]
                y += [*(100 * e["accuracy"] for e in t.epochs), None]
                text += [f"{t.id} {t.family}, {t.status}"] * (len(t.epochs) + 1)
            faint = status == "pruned"
            figure.add_trace(
                kind(
                    x=x,
                    y=y,
                    text=text,
                    name=name,
                    legendgroup=family,
                    showlegend=name == family or family not in finished,
                    mode="lines+markers" if max(len(t.epochs) for t in chosen) < 2 else "lines",
                    opacity=0.45 if faint else 1.0,
                    line={
                        "color": search.colour(family),
                        "width": 1 if faint else 2,
                        "dash": "dot" if faint else "solid",
                    },
                    hovertemplate="%{text}<br>epoch %{x}: %{y:.2f} %<extra></extra>",
                )
            )
    for epoch in search.record.facts.get("rungs", {}).get("epochs", ()):
        figure.add_vline(epoch, line={"color": GREY, "dash": "dash", "width": 1})
    return Drawn(
        "curves",
        "How they learnt",
        "Every student of the search; dashed lines are the rungs, where weak ones were stopped."
        " Click an objective to hide it, twice to see it alone.",
        (Panel("", figure),) if trials else (),
    )


def _slices(search: _Search) -> Drawn:
    panels = []
    for family, students in search.students.items():
        for dimension in search.dimensions.of(students):
            panel = _slice(search, family, students, dimension)
            panels.append(Panel(f"{family}: {dimension.path}", panel))
    return Drawn(
        "slices",
        "Accuracy over each setting",
        "One point per student of the search: filled where it finished, open where it was stopped"
        " early, at its last accuracy.",
        tuple(panels),
    )


def _slice(
    search: _Search, family: str, students: list[TrialRecord], dimension: Dimension
) -> go.Figure:
    figure = _empty("", "validation accuracy, %", height=280)
    symbol = search.symbol(family)
    for finished in (False, True):
        chosen = [
            (value, t)
            for value, t in zip(dimension.values, students, strict=True)
            if value is not None and (t.status == "finished") == finished
        ]
        figure.add_scatter(
            x=[value if dimension.numeric else str(value) for value, _ in chosen],
            y=[100 * t.accuracy for _, t in chosen],
            text=[t.id for _, t in chosen],
            mode="markers",
            marker={
                "color": search.colour(family),
                "symbol": symbol if finished else f"{symbol}-open",
                "size": 9 if finished else 7,
            },
            hovertemplate="%{text}<br>%{x}: %{y:.2f} %<extra></extra>",
            showlegend=False,
        )
    if dimension.log:
        figure.update_xaxes(type="log", dtick="D2")
    return figure


def _importance(search: _Search) -> Drawn:
    panels = []
    for family, students in search.students.items():
        shares, epoch, count = search.dimensions.importance(students)
        if not shares:
            continue
        figure = _empty("share of the variance", "", height=100 + 30 * len(shares))
        figure.add_bar(
            x=list(shares.values())[::-1],
            y=list(shares)[::-1],
            orientation="h",
            marker={"color": search.colour(family)},
            hovertemplate="%{y}: %{x:.0%}<extra></extra>",
            showlegend=False,
        )
        figure.update_xaxes(range=[0, 1], tickformat=".0%")
        panels.append(Panel(f"{family}, after epoch {epoch} (n = {count})", figure))
    return Drawn(
        "importance",
        "Which setting mattered",
        "fANOVA by Optuna, per objective, after the last epoch that half of its students reached."
        " Of few students it is a hint, no more.",
        tuple(panels),
    )


def _parallel(search: _Search) -> Drawn:
    panels = []
    for family, students in search.students.items():
        columns = [d for d in search.dimensions.of(students) if d.numeric and None not in d.values]
        if len(columns) < 2:
            continue
        accuracies = [100 * t.accuracy for t in students]
        axes = [{"label": d.path, "values": list(d.values)} for d in columns]
        figure = _empty("", "", height=380)
        figure.add_parcoords(
            dimensions=[*axes, {"label": "accuracy, %", "values": accuracies}],
            line={"color": accuracies, "colorscale": "Viridis", "showscale": False},
            labelangle=-20,
        )
        figure.update_layout(margin={"t": 80, "l": 40, "r": 40})
        panels.append(Panel(family, figure))
    return Drawn(
        "parallel",
        "Settings together",
        "One line per student, brighter where it was more accurate. Drag along an axis to choose.",
        tuple(panels),
    )


_FIGURES: tuple[Callable[[_Search], Drawn], ...] = (
    _standings, _gains, _cost, _curves, _slices, _importance, _parallel,
)  # fmt: skip


def _knowledge(known: Knowledge) -> Drawn:
    panels = [Panel("Mistakes", _confusion(known)), Panel("Calibration", _calibration(known))]
    if known.gain is not None:
        panels.append(Panel(f"Accuracy per class over {known.other}", _gain(known)))
    return Drawn(
        "knowledge",
        "What the winner knows",
        "On test, over all seeds of the row that leads. Mistakes: of each true class, the share"
        " that is taken for another; what is right is left out. " + " ".join(known.lines()),
        tuple(panels),
    )


def _confusion(known: Knowledge) -> go.Figure:
    figure = _empty("taken for", "class")
    wrong = known.confusion.copy()
    np.fill_diagonal(wrong, np.nan)
    figure.add_heatmap(
        z=100 * wrong,
        colorscale="Cividis",
        colorbar={"ticksuffix": " %", "thickness": 12},
        hovertemplate="class %{y} taken for %{x}: %{z:.1f} %<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def _calibration(known: Knowledge) -> go.Figure:
    figure = _empty("confidence", "accuracy")
    line = {"color": GREY, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="as sure as right")
    figure.add_scatter(
        x=known.confidence,
        y=known.accuracy,
        text=known.count,
        mode="lines+markers",
        line={"color": COLOURS[0]},
        name=known.name,
        hovertemplate="%{x:.2f} sure, %{y:.2f} right (%{text} examples)<extra></extra>",
    )
    return figure


def _gain(known: Knowledge) -> go.Figure:
    figure = _empty("class", "points")
    assert known.gain is not None
    colours = [COLOURS[2] if gain >= 0 else COLOURS[1] for gain in known.gain]
    figure.add_bar(
        x=list(range(len(known.gain))),
        y=known.gain,
        marker={"color": colours},
        hovertemplate="class %{x}: %{y:+.1f} points<extra></extra>",
        showlegend=False,
    )
    return figure


def as_html(plot: go.Figure, name: str) -> str:
    """A plot, called `name`, as part of a page that holds `plotlyjs`, as wide as its place."""
    config = {"responsive": True, "displaylogo": False}
    html: str = plot.to_html(
        full_html=False,
        include_plotlyjs=False,
        config=config,
        default_width="100%",
        div_id=name,
    )
    return html


def plotlyjs() -> str:
    """The library that draws plots in a browser, whole: a report asks no network for it."""
    code: str = get_plotlyjs()
    return code


def _marked(row: Row) -> str:
    return f"{row.rank}. {row.name}"


def _empty(x: str, y: str, height: int = 380) -> go.Figure:
    """An empty plot without a ground of its own, so that it reads on light and on dark."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": GREY},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hoverlabel={"namelength": -1},
    )
    grid = {"gridcolor": "rgba(138,147,161,0.25)", "zeroline": False, "automargin": True}
    figure.update_xaxes(title=x, **grid)
    figure.update_yaxes(title=y, **grid)
    return figure
