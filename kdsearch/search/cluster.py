"""The cluster: attach to one that runs, or start one for the length of a search."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from kdsearch.errors import ResourceError
from kdsearch.search.study import Resources

# Read by Ray: no TensorBoard logger, no result files, no usage statistics, no box before a stage,
# and no snapshots of the experiment, because the journal is what a search goes on from.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A stage that asks for no GPU shall see none; by default it would see them all.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")


@dataclass(frozen=True)
class Cluster:
    """A connected cluster: how many trials it runs at once, and whether it was started here."""

    concurrent: int
    cpus: float
    gpus: float
    started_here: bool


@contextmanager
def connected(
    resources: Resources, address: str | None = None, max_concurrent: int | None = None
) -> Iterator[Cluster]:
    """Attach to `address` or RAY_ADDRESS, else start Ray on this machine and stop it afterwards.

    Raises:
        ResourceError: the cluster cannot be reached, or cannot hold one trial of the study.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        check(resources, float(os.cpu_count() or 1), float(torch.cuda.device_count()))
    import ray  # takes seconds, and a study that cannot run should say so at once

    if not ray.is_initialized():
        _start(ray, address)
    try:
        held = ray.cluster_resources()
        cpus, gpus = held.get("CPU", 0.0), held.get("GPU", 0.0)
        check(resources, cpus, gpus)
        wanted = max_concurrent or resources.max_concurrent or slots(resources, cpus, gpus)
        yield Cluster(wanted, cpus, gpus, started_here=address is None)
    finally:
        ray.shutdown()


def _start(ray, address: str | None) -> None:  # type: ignore[no-untyped-def]
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        where = f"at {address}" if address else "on this machine"
        raise ResourceError(
            f"a Ray cluster must answer {where}, but: {reason}. Check the address, and with token"
            " authentication that RAY_AUTH_MODE and the token are set."
        ) from None


def slots(resources: Resources, cpus: float, gpus: float) -> int:
    """How many trials fit at once, at least 1."""
    fits = cpus / resources.cpu
    if resources.gpu:
        # A fraction is packed device by device: 0.3 fits three times on one, not 3.33.
        per_device = math.floor(1 / resources.gpu + 1e-9) if resources.gpu <= 1 else 0
        fits = min(fits, gpus * per_device if per_device else gpus / resources.gpu)
    return max(1, math.floor(fits + 1e-9))


def check(resources: Resources, cpus: float, gpus: float) -> None:
    """Refuse what can never be placed.

    Raises:
        ResourceError: one trial asks for more than the whole cluster holds.
    """
    if resources.gpu > gpus:
        raise ResourceError(
            f"the study asks for {resources.gpu:g} GPU per trial, but there are {gpus:g}."
            " To run on CPUs, set `resources: {cpu: 1, gpu: 0}` in the study; to use GPUs"
            " elsewhere, pass --address of a Ray cluster that has them."
        )
    if resources.cpu > cpus:
        raise ResourceError(
            f"the study asks for {resources.cpu:g} CPUs per trial, but there are {cpus:g}."
            " Set a smaller `resources: {cpu: ...}` in the study."
        )
