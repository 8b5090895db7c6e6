"""Plots, as files: what figures and sentences cannot show."""

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from kdsearch.tracking import Record

if TYPE_CHECKING:
    from kdsearch.reporting.diagnosis import Level

INK, OURS, OTHER = "#5b6576", "#2563a8", "#c2571a"


def diagnosis(record: Record, levels: Sequence["Level"], folder: Path) -> list[Path]:
    """Levels, calibration, entropy and gradient weights; returns the files written."""
    drawn = {
        "levels": _levels(levels),
        "calibration": _calibration(record.facts),
        "entropy": _entropy(record.facts),
        "rescaling": _rescaling(record.facts["watched"]),
    }
    files = []
    for name, figure in drawn.items():
        figure.tight_layout()
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1], dpi=120)
    return files


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _levels(levels: Sequence["Level"]) -> Figure:
    figure, axes = _axes("What each level brings", "points over ce on validation", "")
    gained = [(level.name, level.difference) for level in levels if level.difference]
    for place, (_, gain) in enumerate(gained):
        axes.plot(gain.mean, place, "o", color=OURS)
        if gain.low is not None and gain.high is not None:
            axes.plot([gain.low, gain.high], [place, place], color=OURS)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(gained)), [name for name, _ in gained])
    axes.invert_yaxis()
    return figure


def _calibration(facts: dict[str, Any]) -> Figure:
    figure, axes = _axes("Is the teacher as right as it is sure?", "confidence", "accuracy")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, label="calibrated")
    for name, colour in (("train", OTHER), ("validation", OURS)):
        bins = facts[name]["bins"]
        total = facts[name]["examples"]
        x, y = ([each[key] for each in bins] for key in ("confidence", "accuracy"))
        sizes = [10 + 300 * each["count"] / total for each in bins]
        axes.scatter(x, y, s=sizes, color=colour, alpha=0.7, label=f"{name} (area: examples)")
    axes.legend()
    return figure


def _entropy(facts: dict[str, Any]) -> Figure:
    figure, axes = _axes("How unsure is the teacher?", "entropy, nats", "share of examples")
    width = log(facts["train"]["classes"]) / len(facts["train"]["entropies"])
    for name, colour in (("train", OTHER), ("validation", OURS)):
        shares = facts[name]["entropies"]
        edges = [width * place for place in range(len(shares) + 1)]
        axes.stairs(shares, edges, color=colour, label=name)
    axes.set_yscale("symlog", linthresh=0.01)
    axes.legend()
    return figure


def _rescaling(watched: Sequence[dict[str, Any]]) -> Figure:
    figure, axes = _axes(
        "Which examples does the teacher let pull more?",
        "teacher's tempered probability of the label",
        "gradient weight w_k",
    )
    for look, colour in zip(watched, (OURS, OTHER), strict=False):
        shown = look["shown"]
        label = f"after epoch {look['epoch']}"
        axes.plot(
            shown["confidence"], shown["weight"], ".", ms=3, alpha=0.5, color=colour, label=label
        )
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_yscale("symlog", linthresh=1)
    axes.legend(markerscale=3)
    return figure
