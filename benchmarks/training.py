"""What a step of distillation costs: the papers' way, kdsearch's way, and the bare step.

    python benchmarks/training.py [--pair resnet32x4 resnet8x4] [--steps 8] [--rounds 5]

The papers' way is a stand-in written for this benchmark: a DataLoader over PIL images with the
papers' transforms and two workers, and the teacher's forward pass beside every student step. Ours
reads stored signals, one Arrow file per view, and augments batches of one uint8 tensor. The bare
step is forward, loss, backward and update on a batch that lies ready. All train the same student
with `kd` on the same number of images in batches of 64; every round times each of them once, so
ratios are taken within a round. Prints medians and ranges over the rounds.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from kdsearch import models, objective
from kdsearch.data import Splits
from kdsearch.data.views import Views
from kdsearch.teachers import logits
from kdsearch.training import Experiment, Recipe, Training, part
from kdsearch.training.signals import Stored

BATCH = 64
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Pictures(Dataset):
    """Images as PIL pictures under the papers' transforms."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
        self._labels = labels
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            ]
        )

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        return self._transform(self._pictures[at]), int(self._labels[at])


def _step(student, optimiser, loss_of: Callable[[torch.Tensor], torch.Tensor], images) -> None:
    loss = loss_of(student(images))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def papers_way(teacher_name: str, student_name: str, splits: Splits) -> Callable[[], float]:
    """An epoch's seconds per step, loader and online teacher included."""
    rows = splits.train
    loader = DataLoader(
        Pictures(splits.images[rows], splits.labels[rows]),
        batch_size=BATCH,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
    )
    teacher = models.build(teacher_name, 100).eval().to(DEVICE)
    student = models.build(student_name, 100).to(DEVICE)
    optimiser, kd = Recipe().optimiser_for(student), objective("kd")
    list(loader)  # its workers have started

    def epoch() -> float:
        started = time.perf_counter()
        student.train()
        for images, labels in loader:
            here, at = images.to(DEVICE), labels.to(DEVICE)
            with torch.no_grad():
                taught = teacher(here)
            _step(student, optimiser, lambda z, taught=taught, at=at: kd(z, taught, at), here)
        _wait()
        return (time.perf_counter() - started) / len(loader)

    return epoch


def bare(student_name: str, steps: int) -> Callable[[], float]:
    """Seconds per step on a batch that lies ready."""
    student = models.build(student_name, 100).to(DEVICE).train()
    optimiser, kd = Recipe().optimiser_for(student), objective("kd")
    images = torch.randn(BATCH, 3, 32, 32, device=DEVICE)
    taught, labels = torch.randn(BATCH, 100, device=DEVICE), torch.arange(BATCH, device=DEVICE)

    def epoch() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            _step(student, optimiser, lambda z: kd(z, taught, labels), images)
        _wait()
        return (time.perf_counter() - started) / steps

    return epoch


def ours(student_name: str, splits: Splits, folder: Path, **recipe: object) -> Callable[[], float]:
    """An epoch's seconds per step; the judging part is one image."""
    epochs = 1000
    experiment = Experiment.model_validate(
        {
            "model": {"name": student_name},
            "objective": {"name": "kd"},
            "recipe": {"epochs": epochs, **recipe},
        }
    )
    rows = splits.train

    def fetch(view: int) -> torch.Tensor:
        file = logits.file(folder, view)
        return torch.from_numpy(logits.load(file, rows, f"benchmark/{view}").copy()).to(DEVICE)

    signals = Stored(fetch, splits.views, epochs)
    learn, judge = part(splits, rows, DEVICE), part(splits, splits.validation, DEVICE)
    training = Training(experiment, learn, judge, 100, signals)

    def epoch() -> float:
        started = time.perf_counter()
        next(training)
        _wait()
        seconds = time.perf_counter() - started
        epoch.waited = signals.waited
        epoch.total = getattr(epoch, "total", 0.0) + seconds
        return seconds / (len(rows) // BATCH)

    return epoch


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _material(steps: int, folder: Path) -> Splits:
    """Random images and signals: their content does not change what a step costs."""
    random, count = np.random.default_rng(0), steps * BATCH
    rows = np.arange(count)
    splits = Splits(
        images=random.integers(256, size=(count + 1, 3, 32, 32), dtype=np.uint8),
        labels=random.integers(100, size=count + 1),
        classes=100,
        train=rows,
        validation=np.array([count]),
        test=np.array([count]),
        views=Views(crop=4, flip=True, count=4),
    )
    for view in range(4):
        table = random.normal(size=(count, 100)).astype(np.float16)
        logits.save(logits.file(folder, view), table, rows, f"benchmark/{view}")
    return splits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pair", nargs=2, default=("resnet32x4", "resnet8x4"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    teacher, student = given.pair
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        splits = _material(given.steps, folder)
        ways = {
            "papers' way": papers_way(teacher, student, splits),
            "bare step": bare(student, given.steps),
            "kdsearch, float32": ours(student, splits, folder),
            "kdsearch, channels_last": ours(student, splits, folder, channels_last=True),
            "kdsearch, channels_last, bfloat16": ours(
                student, splits, folder, channels_last=True, precision="bfloat16"
            ),
        }
        for way in ways.values():
            way()  # warm
        rounds = [{label: way() for label, way in ways.items()} for _ in range(given.rounds)]
        listened = ways["kdsearch, float32"]
    cores = os.cpu_count()
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{cores} cores, no GPU"
    print(
        f"{teacher} to {student}, {platform.machine()}, {where}, torch {torch.__version__};"
        f" {given.steps} steps of {BATCH} images a round, n = {given.rounds} rounds.\n"
    )
    print("| way | ms a step | range | times faster than the papers' way | over the bare step |")
    print("|---|---|---|---|---|")
    for label in ways:
        times = [1000 * each[label] for each in rounds]
        faster = [each["papers' way"] / each[label] for each in rounds]
        over = [each[label] / each["bare step"] for each in rounds]
        print(
            f"| {label} | {median(times):.0f} | {min(times):.0f} to {max(times):.0f}"
            f" | {median(faster):.2f} ({min(faster):.2f} to {max(faster):.2f})"
            f" | {median(over):.2f} ({min(over):.2f} to {max(over):.2f}) |"
        )
    share = listened.waited / listened.total
    print(f"\nOf its time, training in float32 waited {share:.2%} for signals.")


if __name__ == "__main__":
    main()
