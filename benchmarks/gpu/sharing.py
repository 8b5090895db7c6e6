"""Several trials on one device: what they train together, what each holds, and what a share stops.

Each trial is a process of its own, as in a search. All begin a round together.
"""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
import torch.multiprocessing as mp
from material import BATCH, splits, training, wait

MB = 1e6


def table(network: str, at_once: list[int], device: str, steps: int, rounds: int) -> Iterator[str]:
    """A Markdown table, one line for each number of trials at once."""
    yield f"{network}, {steps} steps of {BATCH} images a round, median (range) of n = {rounds}."
    yield "\n| trials at once | images/s together | against one | MB in use by one | MB reserved |"
    yield "|---|---|---|---|---|"
    alone = 0.0
    for count in at_once:
        told = together(network, count, device, steps, rounds)
        rates = []
        for spans in zip(*(trial["spans"] for trial in told), strict=True):
            starts, ends = zip(*spans, strict=True)
            rates.append(count * steps * BATCH / (max(ends) - min(starts)))
        alone = alone or median(rates) / count
        used, held = (max(trial[key] for trial in told) for key in ("used", "held"))
        yield (
            f"| {count} | {median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
            f" | {median(rates) / alone:.2f}"
            + (f" | {used / MB:.0f} | {held / MB:.0f} |" if device == "cuda" else " | | |")
        )


def together(
    network: str, count: int, device: str, steps: int, rounds: int
) -> list[dict[str, Any]]:
    """What each of `count` processes tells: its rounds' (begin, end) and its peaks in bytes."""
    context = mp.get_context("spawn")
    told, barrier = context.Queue(), context.Barrier(count)
    given = (network, device, steps, rounds, barrier, told)
    mp.spawn(_trial, given, count)
    return [told.get() for _ in range(count)]


def _trial(
    _: int, network: str, device: str, steps: int, rounds: int, barrier: Any, told: Any
) -> None:
    torch.set_num_threads(1)
    student = training(network, splits(steps * BATCH), device)
    next(student)  # warm
    spans = []
    for _ in range(rounds):
        barrier.wait()
        began = time.time()
        next(student)
        wait(device)
        spans.append((began, time.time()))
    gpu = device == "cuda"
    told.put(
        {
            "spans": spans,
            "used": torch.cuda.max_memory_allocated() if gpu else 0,
            "held": torch.cuda.max_memory_reserved() if gpu else 0,
        }
    )


def limit(network: str, device: str, steps: int, share: float = 0.1) -> Iterator[str]:
    """Two trials with a share of the memory each: the one that asks for more fails alone."""
    if device != "cuda":
        yield "Only a GPU's memory can be shared out: not run."
        return
    context = mp.get_context("spawn")
    told, barrier = context.Queue(), context.Barrier(2)
    mp.spawn(_limited, (network, steps, share, barrier, told), 2)
    for line in sorted(told.get() for _ in range(2)):
        yield f"- {line}"


def _limited(rank: int, network: str, steps: int, share: float, barrier: Any, told: Any) -> None:
    torch.cuda.set_per_process_memory_fraction(share)
    allowed = share * torch.cuda.get_device_properties(0).total_memory / MB
    student = training(network, splits(steps * BATCH), "cuda")
    next(student)
    barrier.wait()
    if rank == 0:
        taken = []
        try:
            while True:
                taken.append(torch.empty(2**28, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            held = torch.cuda.max_memory_reserved() / MB
            told.put(f"The greedy one was refused at {held:.0f} MB of its {allowed:.0f} MB.")
        barrier.wait()  # it holds what it has while its neighbour trains
        return
    results = [next(student) for _ in range(3)]
    finite = all(result.finite for result in results)
    told.put(f"Its neighbour trained on for {len(results)} epochs, all losses finite: {finite}.")
    barrier.wait()
