"""What the GPU benchmarks share: random data, a training on it, and a watch that a GPU respects."""

import time
from collections.abc import Callable

import numpy as np
import torch

from kdsearch.data import Splits
from kdsearch.data.views import Views
from kdsearch.training import Experiment, Training, part
from kdsearch.training.signals import Stored

BATCH = 64
CLASSES = 100
PAPERS = Views(crop=4, flip=True)
"""The augmentation of the papers."""


def splits(count: int) -> Splits:
    """Random images of CIFAR's shape to learn from, and eight each to judge on.

    Their content does not change what a step costs.
    """
    random, rows = np.random.default_rng(0), np.arange(count + 16)
    return Splits(
        images=random.integers(256, size=(count + 16, 3, 32, 32), dtype=np.uint8),
        labels=random.integers(CLASSES, size=count + 16),
        classes=CLASSES,
        train=rows[:count],
        validation=rows[count : count + 8],
        test=rows[count + 8 :],
        views=PAPERS,
    )


def training(network: str, data: Splits, device: str, **recipe: object) -> Training:
    """A student of `network` that learns with `kd` from stored signals, one table per epoch."""
    experiment = Experiment.model_validate(
        {"model": {"name": network}, "objective": {"name": "kd"}, "recipe": recipe}
    )
    tables = [torch.randn(len(data.train), CLASSES).half() for _ in range(2)]
    epochs = experiment.recipe.epochs
    signals = Stored(lambda view: tables[view % 2].to(device), data.views, epochs)
    learn, judge = (part(data, rows, device) for rows in (data.train, data.validation))
    return Training(experiment, learn, judge, CLASSES, signals)


def seconds(work: Callable[[], object], device: str) -> float:
    """The wall time of one call, with all that it has left to the device."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def wait(device: str) -> None:
    """Until the device has nothing left to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def where(device: str) -> str:
    """The hardware, as a document says it."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"no GPU, {torch.get_num_threads()} CPU threads, torch {torch.__version__}"
