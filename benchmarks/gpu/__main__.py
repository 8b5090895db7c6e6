"""What a GPU gives: images per second, trials side by side, a share enforced; and a pair in full.

    python benchmarks/gpu                               three tables, minutes
    python benchmarks/gpu pair resnet32x4 resnet8x4 --data FOLDER --out FOLDER

FOLDER of data holds CIFAR-100 as `train*.parquet` and `test*.parquet` with encoded pictures and a
column `fine_label`. `pair` ends after `--minutes` and goes on when it is called again. It needs
torch, torchvision (for Pillow), numpy, pyarrow and pydantic, and neither Ray, Optuna nor MLflow:
with those installed, `PYTHONPATH=. python benchmarks/gpu` runs from a checkout.
`--device cpu --quick` walks the same way in seconds on random data; its figures mean nothing.
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import pair
import sharing
import throughput
import torch
from material import where

from kdsearch.training import Recipe


def show(title: str, lines: Iterable[str]) -> None:
    """Print a section as its lines come."""
    print(f"\n## {title}\n", flush=True)
    for line in lines:
        print(line, flush=True)


def tables(given: argparse.Namespace) -> None:
    """The three short benchmarks."""
    networks = ("resnet8",) if given.quick else throughput.NETWORKS
    steps, rounds = (1, 2) if given.quick else (100, 5)
    student, at_once = ("resnet8", [1, 2]) if given.quick else ("resnet8x4", [1, 2, 4, 8])
    device = given.device
    show("Images per second", throughput.table(networks, device, steps, rounds))
    show("Trials side by side", sharing.table(student, at_once, device, steps, rounds))
    show("A share of the memory", sharing.limit(student, device, steps))


def full(given: argparse.Namespace) -> None:
    """A published pair, as far as the minutes go."""
    fast = {"precision": "bfloat16", "channels_last": True} if given.fast else {}
    recipe = Recipe(epochs=given.epochs, learning_rate=given.learning_rate, **fast)
    teacher_recipe = Recipe(epochs=given.teacher_epochs or given.epochs, **fast)
    data = pair.parquet(given.data) if given.data else pair.small()
    ends = time.monotonic() + 60 * given.minutes
    one = pair.Pair(given.teacher, given.student, data, given.out, given.device, ends)
    given.out.mkdir(parents=True, exist_ok=True)
    done = pair.run(one, given.objectives, teacher_recipe, recipe)
    show(f"{given.teacher} to {given.student}", pair.table(one, given.objectives))
    if not done:
        print("\nTime is over before all are trained: the same command goes on.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="random data, a step or two")
    way = parser.add_subparsers().add_parser("pair", help="a published pair in full")
    way.add_argument("teacher")
    way.add_argument("student")
    way.add_argument(
        "--data", type=Path, help="folder of Parquet files; random images if not given"
    )
    way.add_argument("--out", type=Path, required=True)
    way.add_argument("--epochs", type=int, default=240)
    way.add_argument("--teacher-epochs", type=int, help="as --epochs if not given")
    way.add_argument("--learning-rate", type=float, default=0.05, help="0.01 for the mobile nets")
    way.add_argument("--objectives", nargs="+", default=["kd", "wttm"])
    way.add_argument("--fast", action="store_true", help="bfloat16 and channels_last")
    way.add_argument("--minutes", type=float, default=9)
    way.set_defaults(do=full)
    parser.set_defaults(do=tables)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here. Walk the same way with --device cpu --quick.")
    print(where(given.device))
    given.do(given)


if __name__ == "__main__":
    main()
