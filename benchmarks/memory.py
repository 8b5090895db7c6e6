"""What a further trial costs in memory: its own network and buffers, or another copy of the data?

    python benchmarks/memory.py [--images 50000] [--classes 500] [--trials 8]

Runs three whole searches through kdsearch, finals included, on random images in a user's own
file, with stored signals of two views: one trial at a time, `--trials` at a time, and as many on a
tenth of the images. While they run, the proportional and the anonymous memory of the driver, of
Ray's store and of every process that trains a student is read from Linux's smaps_rollup twice a
second. A bare worker, which has imported torch and kdsearch and holds no data, is read alike.
Prints a Markdown document.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

MB = 1e6
VIEWS = 2
LEARNED = 0.8  # of the images; the rest is the test part
TRAINED_IN = "ray::StudentTrial", "ray::ResourceTrainable"  # idle, and at work
IMPORTED, SMALL = "ray::Imported", "ray::Small"
STORE = "raylet/raylet"

DATA = """
import numpy as np
from kdsearch.data import Dataset


def load(count, kinds):
    random = np.random.default_rng(0)
    return Dataset(
        images=random.integers(256, size=(count, 3, 32, 32), dtype=np.uint8),
        labels=np.arange(count) % kinds,
        classes=kinds,
        test=np.arange(count) >= 0.8 * count,
    )
"""


def study(file: Path, count: int, classes: int, trials: int) -> dict[str, Any]:
    """Every trial trains `VIEWS` epochs, each on another view of its images."""
    return {
        "name": "memory",
        "data": {
            "name": "load",
            "file": str(file),
            "count": count,
            "kinds": classes,
            "validation": 0.1,
            "views": {"crop": 4, "flip": True},
        },
        "teacher": {"model": {"name": "cnn"}, "recipe": {"epochs": 1}, "accuracy": 1e-9},
        "student": {"name": "cnn", "width": 4},
        "recipe": {"epochs": VIEWS, "batch_size": 128},
        "space": {"objective": {"name": "kd", "temperature": {"log_uniform": [1, 20]}}},
        "search": {
            "trials": trials,
            "algorithm": {"name": "random"},
            "scheduler": {"name": "none"},
        },
        "final": {"seeds": 2},
        "resources": {"cpu": 0.1},
    }


@dataclass
class Seen:
    """Megabytes seen of one search; the peaks of each kind are taken apart.

    at_once: training processes seen together. trials: the peak of their proportional memory
    together. private: each one's own peak of anonymous memory. shared: the most that one mapped of
    what others map too. store: the shared memory of all processes together, each page counted once.
    driver: anonymous.
    """

    at_once: int = 0
    trials: float = 0
    private: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    shared: float = 0
    store: float = 0
    driver: float = 0

    def look(self, driver: int, *trained_in: str) -> None:
        """Read the driver, the store and the processes under it of these titles once."""
        titles = {pid: _title(pid) for pid in [driver, *_below(driver)]}
        ours = [pid for pid, title in titles.items() if title.startswith(trained_in)]
        stores = [pid for pid, title in titles.items() if STORE in title]
        found = {pid: memory for pid in [driver, *stores, *ours] if (memory := _memory(pid))}
        ours = [pid for pid in ours if pid in found]
        self.at_once = max(self.at_once, len(ours))
        for pid in ours:
            one = found[pid]
            self.private[pid] = max(self.private[pid], one["Anonymous"])
            self.shared = max(self.shared, one["Shared_Clean"] + one["Shared_Dirty"])
        self.trials = max(self.trials, sum(found[pid]["Pss"] for pid in ours))
        self.store = max(self.store, sum(one["Pss_Shmem"] for one in found.values()))
        self.driver = max(self.driver, found.get(driver, {}).get("Anonymous", 0))


def _below(pid: int) -> Iterator[int]:
    """All processes that a process has started, and those that they have."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:  # it has just ended
            continue
        for child in children:
            yield child
            yield from _below(child)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _memory(pid: int) -> dict[str, float]:
    """The fields of smaps_rollup in megabytes; empty where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(kilobytes) * 1024 / MB for name, kilobytes, _ in map(_parts, lines)}


def _parts(line: str) -> tuple[str, str, str]:
    name, kilobytes, unit = line.split()
    return name.removesuffix(":"), kilobytes, unit


def watched(command: list[str], *trained_in: str) -> Seen:
    """What is seen of this script, run with these words, until it ends."""
    seen = Seen()
    with subprocess.Popen([sys.executable, __file__, *command]) as driver:
        while driver.poll() is None:
            seen.look(driver.pid, *trained_in)
            time.sleep(0.5)
    if driver.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {driver.returncode}")
    return seen


def search(folder: Path, count: int, classes: int, trials: int, at_once: int) -> Seen:
    """One whole search, `at_once` trials at a time."""
    folder.mkdir()
    (folder / "data.py").write_text(DATA)
    content = study(folder / "data.py", count, classes, trials)
    (folder / "memory.json").write_text(json.dumps(content))
    return watched(["--drive", str(folder), "--trials", str(at_once)], *TRAINED_IN)


def drive(folder: Path, at_once: int) -> None:
    """The driver of one search, in a process of its own."""
    from kdsearch import commands

    commands.run(folder / "memory.json", storage=folder / "runs", max_concurrent=at_once)


def bare() -> None:
    """Two workers without a share of the data: one has imported what a trial imports, one trained.

    Both stay for some seconds. Training loads further parts of torch.
    """
    from kdsearch.search.cluster import connected
    from kdsearch.search.study import Resources

    class Imported:
        def stay(self) -> None:
            import kdsearch.search.trial  # noqa: F401 - to hold it is the point

            time.sleep(4)

    class Small:
        def stay(self) -> None:
            import kdsearch.search.trial  # noqa: F401 - as above

            train_a_little()
            time.sleep(4)

    with connected(Resources()):
        import ray

        ray.get([ray.remote(worker).remote().stay.remote() for worker in (Imported, Small)])


def train_a_little() -> None:
    """The study's student on 256 images of its own, two epochs."""
    import numpy as np
    import torch

    from kdsearch.data import Splits
    from kdsearch.training import Experiment, Training, part

    torch.set_num_threads(1)
    rows = np.arange(256)
    images = np.zeros((256, 3, 32, 32), np.uint8)
    splits = Splits(images, rows % 10, 10, rows, rows, rows)
    content = study(Path(), 0, 0, 0)
    experiment = Experiment.model_validate(
        {"model": content["student"], "recipe": content["recipe"], "objective": {"name": "kd"}}
    )
    learn = part(splits, rows)
    list(Training(experiment, learn, learn, 10, torch.zeros(256, 10)))


def document(given: argparse.Namespace, imported: Seen, small: Seen, runs: dict[str, Seen]) -> str:
    """The runs as Markdown; the second is that of several trials at once on all the images."""
    count, classes = given.images, given.classes
    pixels, learned = count * 3 * 32 * 32 / MB, round(LEARNED * count)
    signals = learned * classes * 2 / MB
    cores = os.cpu_count()
    one, many, _ = runs.values()
    further = (many.trials - one.trials) / (given.trials - 1)
    lines = [
        f"{platform.machine()}, {cores} cores, no GPU used. {count:,} images of 3x32x32 bytes are"
        f" {pixels:.0f} MB; the teacher's float16 logits of the {learned:,} that are"
        f" learned from, {classes:,} classes, are {signals:.0f} MB for each of {VIEWS} views and"
        f" for the images themselves: {pixels + (VIEWS + 1) * signals:.0f} MB in all. Megabytes"
        " of 10^6 bytes, peaks of one search each (n = 1).",
        "",
        "| | " + " | ".join(runs) + " |",
        "|---|" + "---|" * len(runs),
    ]
    rows = {
        "processes training at once": lambda seen: f"{seen.at_once}",
        "private to one of them, median (range)": lambda seen: _spread(seen.private.values()),
        "mapped by one and shared": lambda seen: f"{seen.shared:.0f}",
        "all of them together": lambda seen: f"{seen.trials:.0f}",
        "object store": lambda seen: f"{seen.store:.0f}",
        "private to the driver": lambda seen: f"{seen.driver:.0f}",
    }
    lines += [
        f"| {name} | " + " | ".join(show(seen) for seen in runs.values()) + " |"
        for name, show in rows.items()
    ]
    lines += [
        "",
        f"Each further trial costs {further:.0f} MB. {_peak(imported):.0f} MB are private to a"
        " worker that has imported torch and kdsearch and holds nothing, and"
        f" {_peak(small):.0f} MB to one that has trained the student on 256 images of its own. The"
        f" data and its signals, {pixels + (VIEWS + 1) * signals:.0f} MB, lie in the object store"
        " once.",
    ]
    return "\n".join(lines)


def _peak(seen: Seen) -> float:
    return max(seen.private.values())


def _spread(values: Any) -> str:
    values = list(values)
    return f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=500)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        drive(given.drive, given.trials)
        return
    if given.bare:
        bare()
        return
    with tempfile.TemporaryDirectory() as name:
        folder, images, classes, trials = Path(name), given.images, given.classes, given.trials
        runs = {
            "1 at a time": search(folder / "one", images, classes, 1, 1),
            f"{trials} at a time": search(folder / "many", images, classes, trials, trials),
            f"{trials} at a time, a tenth of the images": search(
                folder / "tenth", images // 10, classes, trials, trials
            ),
        }
        imported, small = (watched(["--bare"], title) for title in (IMPORTED, SMALL))
    print(document(given, imported, small, runs))


if __name__ == "__main__":
    main()
