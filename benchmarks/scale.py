"""What a trial costs the driver as a search grows: proposals, scheduling, journal, tracking.

    python benchmarks/scale.py [--trials 1000 5000] [--slots 32] [--scheduler asha]

A whole search through kdsearch on a cluster of logical slots: Ray Tune, TPE over the digits
study's space, ASHA, journal, MLflow, finals. Only the students are simulated: an epoch is a number,
at once. Every slot is a real worker process. The driver's CPU time is taken apart by wrapping the
calls of each part, in fifths of the search, so that growth shows within one run; CPU time, because
the workers share the cores with the driver. Each size runs in a process of its own. Prints
Markdown.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from ray import tune

EPOCHS = 18
PARTS = ("proposals", "scheduling", "journal", "display", "tracking")


class Simulated(tune.Trainable):
    """A student whose accuracy is a number drawn from its job's name, rising over the epochs.

    None begins before every slot has a worker: where trials end faster than workers start, Tune
    gives theirs to those that wait and throws away the workers that were starting for them.
    """

    slots = 1
    folder = Path()

    def setup(self, config: dict[str, Any], **_: Any) -> None:
        (self.folder / str(os.getpid())).touch()
        while len(list(self.folder.iterdir())) < self.slots:
            time.sleep(0.2)
        self.reset_config(config)

    def reset_config(self, config: dict[str, Any]) -> bool:
        self._merit = (zlib.crc32(config["job"].encode()) % 997) / 1000
        self._epoch = 0
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        report = {"epoch": self._epoch, "epochs": EPOCHS, "finite": True}
        report |= {"failure": "", "out_of_memory": False}
        figures = {"train_loss": 1.0, "loss": 1.0, "seconds": 0.0}
        accuracy = self._merit * self._epoch / EPOCHS
        return report | figures | {"accuracy": accuracy, "done": self._epoch >= EPOCHS}


class Meter:
    """CPU seconds of the driver by part, and marks at the start and after every fifth.

    `epochs` counts what students reported.
    """

    def __init__(self, trials: int) -> None:
        self.epochs = 0
        self.spent: dict[str, float] = defaultdict(float)
        self.marks: list[dict[str, float]] = []
        self._fifth, self._ended = trials // 5, 0
        self._local = threading.local()

    def wrap(self, owner: type, name: str, part: str) -> None:
        """Count what a method takes, less what wrapped methods within it take."""
        inner = getattr(owner, name)

        def measured(*arguments: Any, **named: Any) -> Any:
            outer, self._local.within = getattr(self._local, "within", 0.0), 0.0
            started = time.thread_time()
            try:
                return inner(*arguments, **named)
            finally:
                whole = time.thread_time() - started
                self.spent[part] += whole - self._local.within
                self._local.within = outer + whole

        setattr(owner, name, measured)

    def count(self, jobs: type) -> None:
        """Take each call of `report` for an epoch, and of `tell` for a trial's last one."""
        report, tell = jobs.report, jobs.tell

        def reported(*arguments: Any) -> Any:
            self.epochs += 1
            return report(*arguments)

        def told(*arguments: Any) -> Any:
            if not self.marks:
                self._mark()
            found = tell(*arguments)
            self.epochs += 1
            self._ended += 1
            if self._ended % self._fifth == 0:
                self._mark()
            return found

        jobs.report, jobs.tell = reported, told

    def _mark(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        now = {"cpu": time.process_time(), "wall": time.perf_counter(), "rss": pages / 256}
        now["epochs"] = self.epochs
        self.marks.append({part: self.spent[part] for part in PARTS} | now)


def search(trials: int, slots: int, scheduler: str, folder: Path) -> list[dict[str, float]]:
    """Run one search; returns the marks."""
    from rich.console import Console

    from kdsearch import commands
    from kdsearch.progress import Display
    from kdsearch.search import stages
    from kdsearch.search.jobs import SearchJobs
    from kdsearch.search.schedulers.asha import Halving
    from kdsearch.search.study import Study
    from kdsearch.tracking import Journal
    from kdsearch.tracking.mlflow import MlflowWriter

    digits = Study.load(Path(__file__).parents[1] / "search_spaces" / "digits.yaml")
    content = digits.model_dump(mode="json")
    content["teacher"]["recipe"]["epochs"] = 1
    content["search"] |= {"trials": trials, "control": "none"}
    if scheduler != "asha":
        content["search"]["scheduler"] = {"name": scheduler}
    content["final"] = {"seeds": 2}
    content["resources"] = {"cpu": (os.cpu_count() or 1) / slots}
    meter = Meter(trials)
    for name in ("ask", "report", "tell"):
        meter.wrap(SearchJobs, name, "proposals")
    meter.wrap(Halving, "on_trial_result", "scheduling")
    meter.wrap(Display, "__call__", "display")
    meter.wrap(Journal, "append", "journal")
    meter.wrap(MlflowWriter, "write", "tracking")
    meter.count(SearchJobs)
    Simulated.slots, Simulated.folder = slots, folder / "workers"
    Simulated.folder.mkdir()
    stages.StudentTrial = Simulated
    console = Console(file=(folder / "progress.txt").open("w"))
    commands.run(Study.of(content), folder, console=console)
    return meter.marks


def table(trials: int, marks: list[dict[str, float]]) -> str:
    """Milliseconds per trial in each fifth, and the driver's memory at its end."""
    lines = [
        f"| of {trials:,} trials | epochs | {' | '.join(PARTS)} | Ray and Tune | wall | driver, MiB"
        " |",
        f"|---{'|---' * (len(PARTS) + 4)}|",
    ]
    for number, (before, after) in enumerate(pairwise(marks), start=1):
        epochs = (after["epochs"] - before["epochs"]) / (trials // 5)
        each = {key: 1000 * (after[key] - before[key]) / (trials // 5) for key in after}
        rest = each["cpu"] - sum(each[part] for part in PARTS)
        shown = [*(each[part] for part in PARTS), rest, each["wall"]]
        figures = " | ".join(f"{value:.1f}" for value in shown)
        lines.append(f"| fifth {number} | {epochs:.1f} | {figures} | {after['rss']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--scheduler", default="asha", help="none lets every student finish")
    given = parser.parse_args()
    if len(given.trials) > 1:
        print(f"{platform.machine()}, {os.cpu_count()} cores, {given.slots} slots; CPU ms of the")
        print("driver per trial by part; wall ms per trial; epochs per trial.", flush=True)
        for trials in given.trials:
            words = ["--slots", str(given.slots), "--scheduler", given.scheduler]
            command = [sys.executable, __file__, "--trials", str(trials), *words]
            subprocess.run(command, check=True)
        return
    (trials,) = given.trials
    with tempfile.TemporaryDirectory() as folder:
        marks = search(trials, given.slots, given.scheduler, Path(folder))
    print(f"\n{table(trials, marks)}", flush=True)


if __name__ == "__main__":
    main()
