"""The report in a real browser, without network: figures, tables, telephones, dark rooms, paper."""

import random
import shutil
from collections.abc import Iterator
from math import log
from pathlib import Path
from typing import Any

import pytest

from kdsearch.reporting.dimensions import Dimensions
from kdsearch.reporting.figures import SYMBOLS, figures
from kdsearch.reporting.html import report
from kdsearch.tracking import Record
from tests.reporting.made import Made

CHROME = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
SPACE = {
    "objective": {
        "choice": [
            {"name": "ce"},
            {"name": "kd", "temperature": {"log_uniform": [1, 20]}, "lam": {"uniform": [0, 1]}},
            {"name": "wttm", "beta": {"log_uniform": [1, 100]}},
        ]
    },
    "recipe": {"learning_rate": {"log_uniform": [0.01, 0.5]}},
}


def search(trials: int, epochs: int = 12) -> Record:
    """A search of so many students, a third of them stopped early, and its finals."""
    draw, made = random.Random(0), Made()
    made.record.header["study"] |= {"space": SPACE, "name": "</script><b>bold"}
    made.record.header["study"]["recipe"]["epochs"] = epochs
    made.add("fact", name="rungs", value={"epochs": [2, 6], "factor": 3})
    made.add("fact", name="teacher_test_accuracy", value=0.95)
    for number in range(trials):
        rate, beta = 10 ** draw.uniform(-2, -0.3), 10 ** draw.uniform(0, 2)
        objective: dict[str, Any] = draw.choice([
            {"name": "ce"},
            {"name": "kd", "temperature": draw.uniform(1, 20), "lam": draw.random()},
            {"name": "wttm", "beta": beta},
        ])  # fmt: skip
        top = 0.9 - 0.02 * abs(log(rate / 0.1)) + draw.gauss(0, 0.002)
        until = 2 if number % 3 == 1 else epochs
        curve = [top * (1 - 0.5**epoch) for epoch in range(1, until + 1)]
        made.training(f"t{number:04d}", objective["name"], curve, "finished" if until > 2 else
                      "pruned", origin="proposed", objective=objective, rate=rate)  # fmt: skip
    rows = {"ce (published)": 0.9, "kd (published)": 0.91, "kd (found)": 0.92, "wttm (found)": 0.93}
    for row, (name, mean) in enumerate(rows.items()):
        for seed in range(3):
            origin = name.split("(")[1].rstrip(")")
            made.training(f"f{row:03d}-{seed}", name, [0.5, mean + draw.gauss(0, 0.002)], seed=seed,
                          origin=origin)  # fmt: skip
    return made.record


@pytest.mark.parametrize("trials", [0, 1, 5, 60])
def test_figures_show_what_a_record_has(trials: int) -> None:
    record = search(trials)
    drawn = {each.name: each for each in figures(record)}
    assert {"standings", "gains"} <= set(drawn)
    assert ("curves" in drawn) == ("cost" in drawn) == (trials > 0)
    assert ("importance" in drawn) == (trials == 60)
    assert all(each.caption and each.title for each in drawn.values())
    if trials == 60:
        titles = [panel.title for panel in drawn["slices"].panels]
        assert set(titles) == {
            "ce: recipe.learning_rate",
            *(f"kd: {path}" for path in ("temperature", "lam", "recipe.learning_rate")),
            *(f"wttm: {path}" for path in ("beta", "recipe.learning_rate")),
        }
        scales = {p.title: p.plot.layout.xaxis.type for p in drawn["slices"].panels}
        assert (scales["kd: temperature"], scales["kd: lam"]) == ("log", None)


def test_the_setting_that_decides_is_the_important_one() -> None:
    drawn = {each.name: each for each in figures(search(200))}
    for panel in drawn["importance"].panels:
        (bars,) = panel.plot.data
        shares = dict(zip(bars.y, bars.x, strict=True))
        assert max(shares, key=lambda path: shares[path]) == "recipe.learning_rate"
        assert sum(shares.values()) == pytest.approx(1)


def test_of_thousands_a_hundred_spread_evenly_tell_what_mattered() -> None:
    """By the last of three thousand the learning rate matters, by the first hundred it does not."""
    made, draw = Made(), random.Random(0)
    for number in range(3000):
        rate, lam = 10 ** draw.uniform(-2, -0.3), draw.random()
        accuracy = 0.5 + (0.1 * lam if number < 100 else 0.1 * log(rate))
        made.training(f"t{number:04d}", "kd", [accuracy], origin="proposed", rate=rate,
                      objective={"name": "kd", "lam": lam})  # fmt: skip
    shares, epoch, count = Dimensions(made.record).importance(made.record.searched)
    assert (epoch, count) == (1, 100)
    assert shares["recipe.learning_rate"] > 0.9


def test_gains_are_filled_only_where_p_says_so() -> None:
    record = search(5)
    (figure,) = [each for each in figures(record) if each.name == "gains"]
    symbols = {
        panel.title: {trace.y[0]: trace.marker.symbol for trace in panel.plot.data}
        for panel in figure.panels
    }
    assert symbols["Over labels alone"]["1. wttm (found)"] in SYMBOLS
    assert set(symbols) == {
        "Over kd as well as the search tuned it",
        "Over kd at its published settings",
        "Over labels alone",
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROME:
        pytest.skip("needs an installed Chromium or Chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROME, args=options, timeout=180_000)
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "width", "scheme"), [(5, 390, "dark"), (500, 1280, "light")])
def test_the_page_works_alone(
    trials: int, width: int, scheme: str, browser: Any, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(search(trials)))
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    context.set_default_timeout(180_000)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on(
        "request", lambda asked: None if asked.url == file.as_uri() else wrong.append(asked.url)
    )
    page.goto(file.as_uri(), wait_until="load")

    plots = page.locator(".plotly-graph-div")
    drawn = sum(len(each.panels) for each in figures(search(trials)))
    assert plots.count() == drawn
    for place in range(drawn):
        assert plots.nth(place).locator(".main-svg").count() > 0
        assert plots.nth(place).bounding_box()["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == "</script><b>bold - kdsearch"

    table = page.locator("table.ours")
    column = [text.strip() for text in table.locator("th").all_inner_texts()].index("test %")
    heading = table.locator("th").nth(column)
    for order, reverse in (("ascending", False), ("descending", True)):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == order
        cells = table.locator(f"tbody td:nth-child({column + 1})").all_inner_texts()
        figures_shown = [float(cell) for cell in cells]
        assert figures_shown == sorted(figures_shown, reverse=reverse)
        assert len(figures_shown) == 4

    colours = page.evaluate(
        "[getComputedStyle(document.documentElement).getPropertyValue('--soft').trim(),"
        " document.querySelector('.plotly-graph-div').layout.font.color]"
    )
    assert colours[0] == colours[1] == {"dark": "#9aa5b6", "light": "#566072"}[scheme]
    assert page.pdf()[:4] == b"%PDF"
    assert set(wrong) <= {file.as_uri()}  # asked for itself at most, and nothing went wrong
    context.close()
