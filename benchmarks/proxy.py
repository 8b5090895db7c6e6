"""What it costs to choose PTLoss's coefficients by their proxy teachers, without a student.

    python benchmarks/proxy.py [--candidates 1000] [--examples 5000] [--classes 100] [--rounds 3]

The teacher's logits are random (normal, deviation 3) and its labels are drawn from a flatter
distribution, so that it is overconfident. Each round times a whole selection; the solver alone, at
its full accuracy, over five coefficient sets of order 5; and, on a few of the same examples, the
plain way to the same point: gradient descent (Adam, rate 0.05 falling by 0.2 % a step) on the
logits of the proxy until no gradient exceeds 1e-6. Prints a Markdown table of medians and ranges.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from kdsearch.objectives.divergences import PerturbedKL
from kdsearch.teachers.proxy import candidates, is_convex, proxy_teacher, select

ORDERS, SETS, FEW = 5, 5, 500


def problem(examples: int, classes: int) -> tuple[Tensor, Tensor]:
    """Logits (N, C) in float64 and labels (N,)."""
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(examples, classes, generator=random).double()
    labels = (logits / 2).softmax(dim=1).multinomial(1, generator=random)[:, 0]
    return logits, labels


def descend(logits: Tensor, epsilons: tuple[float, ...]) -> Tensor:
    """The proxies by gradient descent from the teacher's own logits."""
    loss, labels = PerturbedKL(epsilons=epsilons), torch.zeros(len(logits), dtype=torch.int64)
    point = logits.clone().requires_grad_()
    optimiser = torch.optim.Adam([point], lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.998)
    for _ in range(10_000):
        (gradient,) = torch.autograd.grad(loss(logits, point, labels).sum(), point)
        if gradient.abs().max() < 1e-6:
            break
        point.grad = gradient
        optimiser.step()
        schedule.step()
    return point.detach().softmax(dim=1)


def seconds(work: Callable[[], object]) -> float:
    """The wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def row(name: str, values: list[float], unit: str) -> str:
    """One row of the table: median, least and largest."""
    numbers = [f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in sorted(values)]
    middle = f"{median(values):,.3g}" if median(values) < 100 else f"{median(values):,.0f}"
    return f"| {name} | {middle} {unit} | {numbers[0]} to {numbers[-1]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    logits, labels = problem(options.examples, options.classes)
    drawn = candidates(options.candidates, ORDERS, -1.0, 4.0, seed=0)
    convex = [each for each in drawn[1:] if is_convex(each, options.classes)]
    sets, few = convex[:SETS], logits[:FEW]
    selections, solved, descended, ratios, gap = [], [], [], [], 0.0
    for number in range(options.rounds):
        selections.append(seconds(partial(select, logits, labels, drawn)))
        time_ = seconds(lambda: [proxy_teacher(logits, each) for each in sets])
        solved.append(SETS * len(logits) / time_)
        each = sets[number % SETS]
        descended.append(len(few) / seconds(partial(descend, few, each)))
        ratios.append(solved[-1] / descended[-1])
        difference = descend(few, each) - proxy_teacher(few, each)
        gap = max(gap, difference.abs().max().item())
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch"
        f" {torch.__version__} on {torch.get_num_threads()} threads; {options.examples:,} examples,"
        f" {options.classes} classes, {options.candidates:,} candidates of order {ORDERS}"
        f" ({len(convex) + 1:,} convex), n = {options.rounds} rounds.\n"
    )
    print("| | median | range |\n|---|---|---|")
    print(row("selection among all candidates", selections, "s"))
    print(row("solver", solved, "examples/s"))
    print(row(f"gradient descent, {FEW} examples", descended, "examples/s"))
    print(row("solver over gradient descent", ratios, "times"))
    print(f"\nThe two differ by at most {gap:.1g} in any probability.")


if __name__ == "__main__":
    main()
