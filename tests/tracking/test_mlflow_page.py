"""MLflow's own interface in a real browser: what kdsearch writes is what a user sees there."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from mlflow.tracking import MlflowClient

from kdsearch.tracking import Conclusion, Journal
from kdsearch.tracking.follower import sync
from kdsearch.tracking.mlflow import tracking_uri
from tests.tracking.made import PAPER, outcome, search

pytestmark = pytest.mark.slow

CHROME = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
ASIDE = (  # a panel of MLflow's that would lie over the table
    "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
    "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server over the store of a search that met published rows."""
    if not CHROME:
        pytest.skip("needs an installed Chromium or Chrome")
    folder = tmp_path_factory.mktemp("mlflow")
    uri, journal = tracking_uri(folder), search(Journal(folder / "journal.jsonl"))
    (folder / "report.html").write_text("<h1>Report</h1>")
    report = Conclusion(files=(folder / "report.html",))
    for each in (outcome(journal), report):
        sync(journal, uri, folder / "artifacts", each)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words, "--workers", "1"],
            stdout=log,
            stderr=log,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), 180)
        client = MlflowClient(f"http://127.0.0.1:{port}")
        experiment = client.get_experiment_by_name("pair")
        yield f"http://127.0.0.1:{port}/#/experiments/{experiment.experiment_id}"
    finally:
        server.terminate()
        server.wait(60)


def until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def test_the_leaderboard_opens_sorts_and_compares_with_a_paper(address: str) -> None:
    """By the link of the experiment's description, as a user would, at desktop width."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROME, args=options, timeout=180_000)
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        context.set_default_timeout(180_000)
        context.add_init_script(ASIDE)
        page = context.new_page()
        page.goto(f"{address}/runs?workflowType=machine_learning", wait_until="domcontentloaded")
        with context.expect_page() as opened:
            page.get_by_role("link", name="Leaderboard, by the lower bound").click()
        page = opened.value
        lows = [cell(page, "metrics.`test_accuracy_low`", place) for place in range(5)]
        names = [cell(page, "attributes.`Run Name`", place).locator("a") for place in range(5)]
        ranked = [PAPER, "wttm (found)", "KD (zheng2024ttm)", "kd (published)"]
        for place, name in enumerate([*ranked, "pair-1"]):  # and no training among them
            expect(names[place]).to_have_text(name, timeout=180_000)
        shown = [float(low.inner_text()) for low in lows[:4]]
        assert shown == sorted(shown, reverse=True)

        page.get_by_test_id("sort-header-test_accuracy_low").click()
        for place, name in enumerate([*reversed(ranked), "pair-1"]):
            expect(names[place]).to_have_text(name, timeout=180_000)

        for name in (PAPER, "wttm (found)"):
            row = page.locator(".ag-row", has=page.get_by_text(name, exact=True))
            row.get_by_role("checkbox", name="toggle row selection").click()
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_text("Comparing 2 Runs")).to_be_visible(timeout=180_000)
        chart = page.locator(".js-plotly-plot .main-svg")
        expect(chart.first).to_be_visible(timeout=180_000)
        assert page.locator(".js-plotly-plot").first.bounding_box()["height"] > 100
        browser.close()


def cell(page: Any, column: str, place: int) -> Any:
    """A cell of the table as it is ordered now, which its elements are not."""
    return page.locator(f".ag-row[row-index='{place}'] .ag-cell[col-id='{column}']")
