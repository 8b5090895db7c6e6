"""Workers and the GPU that they share: what one may use of it, and how large a share it needs.

Ray's shares are bookkeeping: it divides no memory, and a worker that asked for no GPU may see all
of them on a cluster that was started elsewhere. `device` does what it leaves open.
"""

import math
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import ray
import torch

from kdsearch.data import Splits
from kdsearch.errors import KdsearchError
from kdsearch.search.cluster import part_of_gpu
from kdsearch.search.study import Study
from kdsearch.teachers import teacher
from kdsearch.tracking import Journal, Record
from kdsearch.training import Experiment, Training, part
from kdsearch.training.signals import Online, Signals, Whole

MARGIN = 1.2
"""What is taken for what was measured: fragments, and kernels that a few steps have not loaded."""

CONTEXT = 2**29
"""Bytes of a share that are left for its worker's CUDA context, which PyTorch does not count."""

_MOST = 16  # trials on one GPU
_STEPS, _JUDGED = 4, 512  # of the measurement: training steps, and images of one evaluation batch


def device(share: float) -> str:
    """The device of a worker with this share of a GPU; it can then allocate no more of its memory.

    Without a share it is the CPU, and the worker sees no GPU from here on.
    """
    if not share:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return "cpu"
    if not torch.cuda.is_available():
        return "cpu"
    if share < 1:
        total = torch.cuda.mem_get_info()[1]
        cap = max(share - CONTEXT / total, share / 2)  # the latter on a very small GPU
        torch.cuda.set_per_process_memory_fraction(cap)
    return "cuda"


def out_of_memory(error: BaseException) -> bool:
    """Whether a GPU had too little memory, as the allocator or a library says it."""
    signs = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def fetched(reference: Any) -> Any:
    """What a task gives; a mistake that kdsearch can name is raised as it was in the worker."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, KdsearchError):
            raise error.cause from None
        raise


class Need(NamedTuple):
    """Bytes that a worker used of its GPU, its CUDA context included, and bytes that there are."""

    used: int
    total: int

    @property
    def share(self) -> float:
        """The smallest of 1, 1/2, ... 1/16 that holds it with a margin, in Ray's four digits."""
        fit = math.floor(self.total / (MARGIN * self.used))
        return part_of_gpu(min(max(fit, 1), _MOST))


def measured_share(
    study: Study, data: Splits, journal: Journal, say: Callable[[str], None], there: bool
) -> float:
    """What `gpu: auto` is for a study; measured once, and noted in the journal.

    `there`: whether the cluster has, or may get, a GPU.
    """
    if not there:
        say("Each trial runs on CPUs: `gpu: auto` found no GPU in the cluster.")
        return 0
    noted = Record.of(journal).facts.get("gpu_share")
    if noted is not None:
        return float(noted)
    say("Waiting for a whole GPU, to measure the share that a trial needs.")
    task = ray.remote(measure).options(num_cpus=study.resources.cpu, num_gpus=1, max_retries=2)
    need: Need | None = fetched(task.remote(study, data))
    found = need.share if need else 1.0
    if need:
        used, total = (bytes / 2**30 for bytes in need)
        say(
            f"Each trial takes {found:g} GPU: a student needs {used:.2f} of {total:.1f} GiB, its"
            f" CUDA context included, and a margin of {MARGIN - 1:.0%} is kept."
        )
    else:
        say("Each trial takes a whole GPU: on its node PyTorch finds none that could be measured.")
    journal.mend()
    journal.append("fact", name="gpu_share", value=found)
    return found


def measure(study: Study, data: Splits, on: str = "cuda") -> Need | None:
    """The most that a student of the study needs, after a few steps and an evaluation batch.

    Runs in a worker with a GPU of its own. None where PyTorch finds no GPU. A student that a whole
    GPU is too small for needs more than there is.
    """
    if not torch.cuda.is_available():
        return None
    try:
        whole, signals = part(data, np.arange(len(data.labels)), on), _signals(study, data, on)
        for experiment in _largest(study):
            learn = whole.take(data.train[: _STEPS * experiment.recipe.batch_size])
            judge = whole.take(data.validation[:_JUDGED])
            same = torch.eye(data.classes, device=on)
            next(Training(experiment, learn, judge, data.classes, signals, same))
            torch.cuda.empty_cache()  # or what one leaves would count for the next
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        total = torch.cuda.mem_get_info()[1]
        return Need(total, total)
    free, total = torch.cuda.mem_get_info()
    context = total - free - torch.cuda.memory_reserved()
    return Need(torch.cuda.max_memory_reserved() + context, total)


def _largest(study: Study) -> Iterator[Experiment]:
    """An experiment for each network and batch size at the ends of the space."""
    space = study.parsed_space
    found: dict[tuple[object, int], Experiment] = {}
    for corner in space.corners():
        experiment = Experiment.model_validate(study.assembled(space.assemble(corner)))
        found.setdefault((experiment.model, experiment.recipe.batch_size), experiment)
    yield from found.values()


def _signals(study: Study, data: Splits, on: str) -> Signals:
    """As large as the students' own: the teacher itself, or its logits of one view and the next."""
    if study.signals == "online":
        fresh = study.teacher.model_copy(update={"checkpoint": ""})
        return Online(teacher.network(fresh, data).to(on), study.teacher.recipe)
    views = 1 if data.views.identity else 2
    rows = views * len(data.fitted)
    return Whole(torch.zeros(rows, data.classes, dtype=torch.float16, device=on))
