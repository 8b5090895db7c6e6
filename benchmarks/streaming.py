"""How fast a stream gives batches, beside torchvision's way with worker processes.

    python benchmarks/streaming.py [--images 2000] [--threads 2] [--batch 64] [--rounds 5]

Writes JPEGs of ImageNet's usual size, 500 x 375, and reads them as an epoch of ImageNet is read:
random resized crop to 224, flip, normalised float32. The DataLoader over torchvision's ImageFolder
has as many worker processes as the stream has threads. Every round times each of them once, so
ratios are taken within a round; files are in the page cache. Prints medians and ranges.
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
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from kdsearch import data
from kdsearch.training import part

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write(folder: Path, images: int) -> None:
    """A tree of two classes, smooth enough to be coded at about the size of a photograph."""
    random = np.random.default_rng(0)
    for part_, count in (("train", images), ("val", 2)):
        for number in range(count):
            place = folder / part_ / str(number % 2)
            place.mkdir(parents=True, exist_ok=True)
            coarse = random.integers(0, 256, (94, 125, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
            picture.save(place / f"{number}.JPEG", quality=90)


def theirs(folder: Path, batch: int, workers: int) -> Callable[[], float]:
    """Images per second of an epoch of the DataLoader, whose workers have started."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    loader = DataLoader(
        datasets.ImageFolder(folder / "train", transform),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=True,
    )
    list(loader)

    def epoch() -> float:
        started = time.perf_counter()
        count = sum(len(images) for images, _ in loader)
        return count / (time.perf_counter() - started)

    return epoch


def ours(folder: Path, batch: int, threads: int) -> Callable[[], float]:
    """Images per second of an epoch of the stream."""
    splits = data.load(
        "image_folder",
        root=str(folder),
        size=224,
        stream=True,
        validation=0.001,
        views={"area": 0.08, "flip": True},
        normalisation={"mean": MEAN, "std": STD},
    )
    torch.set_num_threads(threads)
    learn = part(splits, splits.fitted)
    view = iter(range(1000))

    def epoch() -> float:
        order = torch.randperm(len(learn))
        started = time.perf_counter()
        count = sum(len(at) for at, _ in learn.batches(order, batch, next(view)))
        return count / (time.perf_counter() - started)

    epoch()
    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), asked.images)
        size = sum(file.stat().st_size for file in Path(place).rglob("*.JPEG")) / asked.images
        ways = {
            f"DataLoader, {asked.threads} workers": theirs(Path(place), asked.batch, asked.threads),
            f"stream, {asked.threads} threads": ours(Path(place), asked.batch, asked.threads),
        }
        rounds = [{name: way() for name, way in ways.items()} for _ in range(asked.rounds)]
    first, second = ways
    ratios = [one[second] / one[first] for one in rounds]
    print(
        f"{asked.images} JPEGs of 500 x 375, {size / 1000:.0f} kB each, batches of {asked.batch};"
        f" {os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__};"
        f" n = {asked.rounds} rounds\n"
    )
    print("| way | images per second | range |\n|---|---|---|")
    for name in ways:
        rates = [one[name] for one in rounds]
        print(f"| {name} | {median(rates):.0f} | {min(rates):.0f} to {max(rates):.0f} |")
    print(f"\nstream to DataLoader: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
