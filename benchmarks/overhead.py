"""What a trial costs beside its training: the same trainings in a plain loop and through kdsearch.

    python benchmarks/overhead.py [--trials 16] [--epochs 12] [--rounds 3]

Each round runs one search of fixed-length trials through kdsearch (Ray Tune, Optuna, journal,
MLflow), then trains the very same experiments, read from its journal, in a plain loop: with one
trial at a time against one process, and with two at a time against two processes. Seconds per
trial are taken from the first end of a trial to the last, so both sides are warm. Prints the
median over the rounds, and the range.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any


def study(trials: int, epochs: int) -> dict[str, Any]:
    """Random search without early stopping: every trial trains `epochs` epochs."""
    return {
        "name": "overhead",
        "data": {"name": "digits", "validation": 0.2},
        "teacher": {"model": {"name": "cnn"}, "recipe": {"epochs": 1}},
        "student": {"name": "cnn", "width": 8},
        "recipe": {"epochs": epochs, "learning_rate": 0.1},
        "space": {"objective": {"name": "kd", "temperature": {"log_uniform": [1, 20]}}},
        "search": {
            "trials": trials,
            "algorithm": {"name": "random"},
            "scheduler": {"name": "none"},
        },
        "final": {"seeds": 2},
    }


def through_kdsearch(trials: int, epochs: int, at_once: int, folder: Path) -> list[dict[str, Any]]:
    """Run the search; returns its journal's events."""
    file = folder / "overhead.json"
    file.write_text(json.dumps(study(trials, epochs)))
    command = [sys.executable, "-m", "kdsearch.cli", "run", str(file), "--fresh"]
    options = ["--storage", str(folder), "--max-concurrent", str(at_once)]
    subprocess.run([*command, *options], check=True, capture_output=True)
    journal = max(folder.glob("searches/*/journal.jsonl"), key=os.path.getmtime)
    return [json.loads(line) for line in journal.read_text().splitlines()]


def plain(experiments: list[dict[str, Any]], at_once: int) -> float:
    """Seconds per trial of plain loops, `at_once` processes side by side."""
    shares = [experiments[start::at_once] for start in range(at_once)]
    command = [sys.executable, __file__, "--plain"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in shares
    ]
    for process, share in zip(processes, shares, strict=True):
        assert process.stdin is not None
        process.stdin.write(json.dumps(share))
        process.stdin.close()
    ends: list[float] = []
    for process in processes:
        assert process.stdout is not None
        ends += json.loads(process.stdout.read())
        process.wait()
    return per_trial(ends, at_once)


def per_trial(ends: list[float], at_once: int) -> float:
    """Seconds per trial between the first round of ends and the last end."""
    ends = sorted(ends)
    return (ends[-1] - ends[at_once - 1]) / (len(ends) - at_once)


def train_plainly() -> None:
    """Train the experiments of standard input one after the other; print when each ended."""
    import time

    import torch

    from kdsearch import data
    from kdsearch.training import Experiment, Training, part

    torch.set_num_threads(1)
    splits = data.load("digits", validation=0.2)
    learn, judge = part(splits, splits.train), part(splits, splits.validation)
    logits = torch.randn(len(learn.labels), splits.classes)
    ends = []
    for experiment in json.load(sys.stdin):
        for _ in Training(Experiment.model_validate(experiment), learn, judge, 10, logits):
            pass
        ends.append(time.time())
    print(json.dumps(ends))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        train_plainly()
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores,", end=" ")
    print(f"{options.trials} trials of {options.epochs} epochs, n = {options.rounds} rounds")
    for at_once in (1, 2):
        loops, searches, ratios = [], [], []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                events = through_kdsearch(options.trials, options.epochs, at_once, Path(folder))
            started = [e for e in events if e["event"] == "trial" and e["kind"] == "trial"]
            names = {event["id"] for event in started}
            ends = [e["time"] for e in events if e["event"] == "end" and e["id"] in names]
            searches.append(per_trial(ends, at_once))
            loops.append(plain([event["experiment"] for event in started], at_once))
            ratios.append(searches[-1] / loops[-1])
        print(
            f"{at_once} at a time: plain {median(loops):.3f} s a trial,"
            f" kdsearch {median(searches):.3f} s, ratio {median(ratios):.2f}"
            f" (range {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
