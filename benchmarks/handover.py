"""Where KL hands over to MSE: digits students of KL at rising temperatures, and of logit MSE.

    python benchmarks/handover.py [--seeds 5] [--figure docs/results/handover.svg]

KL versus MSE (arXiv 2105.08919) proves that the squared-temperature KL tends to the squared
difference of centred logits as T grows, and to label matching as T falls. This trains the student
of search_spaces/digits.yaml under its recipe, on train and validation together, from the teacher
of that study, with no label term (lam 1) and only the temperature changed, and compares on the
test set. Beside it stand MSE / 2, which has the limit's gradient but also sees the mean of the
logits, and `logit_mse`. Prints a Markdown table of means and standard deviations over seeds;
`--figure` also draws it.
"""

import argparse
import math
import os
import platform
from pathlib import Path
from statistics import mean, stdev

import torch
import yaml
from torch import Tensor

from kdsearch import data
from kdsearch.teachers.teacher import Teacher
from kdsearch.training import Experiment, Training, part, predict

STUDY = Path(__file__).parent.parent / "search_spaces" / "digits.yaml"
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, math.inf)
COLUMNS = ("raw", "centred", "argmax as teacher", "accuracy")
Measures = dict[str, float]


def measures(student: Tensor, teacher: Tensor, labels: Tensor) -> Measures:
    """Mean squared distances of logits, raw and centred, and agreements in percent."""
    difference = student - teacher
    guess = student.argmax(dim=1)
    return {
        "raw": difference.square().mean().item(),
        "centred": (difference - difference.mean(dim=1, keepdim=True)).square().mean().item(),
        "argmax as teacher": 100 * (guess == teacher.argmax(dim=1)).float().mean().item(),
        "accuracy": 100 * (guess == labels).float().mean().item(),
    }


def finished(training: Training) -> torch.nn.Module:
    """The network after the last epoch."""
    for result in training:
        if not result.finite:
            raise SystemExit(f"{training.experiment.objective} diverged at epoch {result.epoch}.")
    return training.model


def students(seeds: int) -> tuple[dict[str, list[Measures]], float, int]:
    """Measures by objective, one per seed; the teacher's test accuracy; the epochs."""
    study = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    splits = data.load(study["data"]["name"], validation=study["data"]["validation"])
    learn, test = part(splits, splits.fitted), part(splits, splits.test)
    judge = part(splits, splits.test[:1])  # the last epoch counts
    network = finished(Teacher.model_validate(study["teacher"]).training(splits))
    signals, truth = predict(network, learn), predict(network, test)
    accuracy = 100 * (truth.argmax(dim=1) == test.labels).float().mean().item()
    specs: dict[str, dict[str, object]] = {
        f"kl, T = {t:g}": {"name": "kd", "temperature": t, "lam": 1.0} for t in TEMPERATURES
    }
    mse = {"divergence": {"kind": "mse"}, "balance": {"hard": 0, "soft": 0.5}}
    specs |= {"MSE / 2": mse, "logit_mse": {"name": "logit_mse"}}
    found: dict[str, list[Measures]] = {name: [] for name in specs}
    for seed in range(seeds):
        for name, spec in specs.items():
            experiment = Experiment.model_validate(
                {
                    "model": study["student"],
                    "objective": spec,
                    "recipe": study["recipe"],
                    "seed": seed,
                }
            )
            model = finished(Training(experiment, learn, judge, splits.classes, signals))
            found[name].append(measures(predict(model, test), truth, test.labels))
    return found, accuracy, study["recipe"]["epochs"]


def draw(found: dict[str, list[Measures]], file: Path) -> None:
    """Distances and accuracies over the temperature; MSE as a level beside them."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "handover", "svg.fonttype": "none", "font.size": 9})
    *hot, level, _ = found
    places = [math.log2(t) if t < math.inf else 10.0 for t in TEMPERATURES]
    labels = [f"{t:g}" if t < math.inf else "∞" for t in TEMPERATURES]
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
    for axis, columns in zip(axes, (COLUMNS[:2], COLUMNS[2:]), strict=True):
        for column, colour in zip(columns, ("C0", "C1"), strict=True):
            values = [[each[column] for each in found[name]] for name in hot]
            spread = [stdev(each) for each in values]
            axis.errorbar(
                *(places, [mean(each) for each in values], spread),
                marker="o",
                ms=3,
                capsize=2,
                color=colour,
                label=f"KL, {column}",
            )
            flat = mean(each[column] for each in found[level])
            axis.axhline(flat, color=colour, ls="--", lw=1, label=f"MSE / 2, {column}")
        axis.set_xticks(places, labels)
        axis.set_xlabel("temperature")
        axis.legend(fontsize=7)
    axes[0].set_yscale("log")
    axes[0].set_yticks([2, 4, 8, 16], ["2", "4", "8", "16"])
    axes[0].minorticks_off()
    axes[0].set_ylabel("mean squared distance of logits")
    axes[1].set_ylabel("percent of test images")
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)  # on small images a second thread only waits
    found, accuracy, epochs = students(options.seeds)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, no GPU; torch"
        f" {torch.__version__}; n = {options.seeds} seeds of {epochs} epochs, mean ± standard"
        f" deviation; teacher {accuracy:.2f} % on the test set.\n"
    )
    print("| objective | distance, raw | distance, centred | argmax as teacher % | test % |")
    print("|---|---|---|---|---|")
    for name, each in found.items():
        values = ([one[column] for one in each] for column in COLUMNS)
        cells = (f"{mean(v):.4g} ± {stdev(v):.2g}" for v in values)
        print(f"| {name} | " + " | ".join(cells) + " |")
    if options.figure:
        draw(found, options.figure)


if __name__ == "__main__":
    main()
