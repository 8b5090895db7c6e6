"""Nodes: what each node of a connected cluster says of itself, and what it reaches."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kdsearch import __version__
from kdsearch.search import checkpoints

_PATIENCE = 60.0  # seconds that a node may take to answer; its first worker imports torch


@dataclass(frozen=True)
class Node:
    """One node that is alive.

    cpus, gpus: as Ray counts them. seen: GPUs that PyTorch sees there. version: of kdsearch.
    unreached: why it cannot read and remove what was written from here; empty where it can.
    problem: why it could not be asked, in which case the last three say nothing.
    """

    name: str
    cpus: float
    gpus: float
    seen: int = 0
    version: str = __version__
    unreached: str = ""
    problem: str = ""


def nodes(place: str) -> Iterator[Node]:
    """Every node of the cluster that this process is connected to.

    place: a folder or URI; a file is written there from here, and every node reads and removes one.

    Raises:
        OSError: it cannot be written from here.
        ValueError: the URI is of no kind that pyarrow knows.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    # No CPU is asked for: it also answers while it is busy.
    ask = ray.remote(num_cpus=0, num_gpus=0, max_calls=1, max_retries=1)(_answer)
    asked = []
    for node in alive:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked.append(ask.options(scheduling_strategy=there).remote(checkpoints.probe(place)))
    for node, reference in zip(alive, asked, strict=True):
        has: dict[str, float] = node["Resources"]
        counted = (node["NodeManagerAddress"], has.get("CPU", 0.0), has.get("GPU", 0.0))
        try:
            yield Node(*counted, *ray.get(reference, timeout=_PATIENCE))
        except Exception as error:  # noqa: BLE001 - whatever it is, the node could not be asked
            yield Node(*counted, problem=_reason(error))


def _answer(probe: str) -> tuple[int, str, str]:
    """What a worker sees of its node; it has asked for no GPU, so Ray may hide them all."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    import torch

    return torch.cuda.device_count(), __version__, checkpoints.missing(probe)


def _reason(error: Exception) -> str:
    cause: Any = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[-1]}"
