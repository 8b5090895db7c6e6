"""The cluster: attach to one that runs, or start one for the length of a search."""

import math
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from kdsearch.errors import ResourceError
from kdsearch.search import checkpoints as kept
from kdsearch.search.study import Resources

# Read by Ray: no TensorBoard logger, no result files, no usage statistics, no box before a stage,
# and no snapshots of the experiment, because the journal is what a search goes on from.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A student's own file is named from the working folder, which Tune would leave for its trial's.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# A stage that asks for no GPU shall see none; by default it would see them all.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")

PATIENCE = 5.0  # seconds that a cluster may take to answer


@dataclass(frozen=True)
class Cluster:
    """A connected cluster.

    concurrent: trials at once. nodes: the most that may run some of them. checkpoints: where all of
    them keep checkpoints, a folder that they mount or the URI of a bucket; None is the driver's
    own disk.
    """

    concurrent: int
    nodes: int = 1
    checkpoints: str | None = None


@contextmanager
def connected(
    resources: Resources,
    address: str | None = None,
    max_concurrent: int | None = None,
    file: Path | None = None,
    checkpoints: str | None = None,
) -> Iterator[Cluster]:
    """Attach to `address` or RAY_ADDRESS, else start Ray on this machine and stop it afterwards.

    `file` is the one that a growing cluster was launched from: it counts for what it can become,
    and may hold nothing now.
    Within, SIGTERM ends a search as Ctrl-C does.

    Raises:
        ResourceError: the cluster cannot be reached, cannot hold one trial of the study, or does
            not reach `checkpoints`.
        ClusterError: `file` is no cluster file.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        check(resources, [(float(os.cpu_count() or 1), float(torch.cuda.device_count()))])
    import ray  # takes seconds, and a study that cannot run should say so at once

    fleet = None
    if file and address:
        from kdsearch.search.fleet import Fleet

        fleet = Fleet.load(file)
    if not ray.is_initialized():
        _start(ray, address)
    try:
        nodes = [
            (node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
            for node in ray.nodes()
            if node["Alive"]
        ]
        room = sum(trials_on(resources, *node) for node in nodes)
        if fleet:
            fleet.check(resources)
            room = max(room, fleet.slots(resources))
        else:
            check(resources, nodes)
        if checkpoints:
            _check_reachable(ray, resources, checkpoints)
        most = max(len(nodes), fleet.nodes if fleet else 0)
        wanted = max_concurrent or resources.max_concurrent or room
        with _termination_as_interrupt():
            yield Cluster(wanted, most, checkpoints)
    finally:
        ray.shutdown()


def _start(ray, address: str | None) -> None:  # type: ignore[no-untyped-def]
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address and re.fullmatch(r"[^/]+:\d+", address):
        ask(address)
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _silent(address, error) from None


def ask(address: str) -> None:
    """Ask the cluster at HOST:PORT once; `ray.init` asks a wrong one, or with a wrong token, for
    minutes.

    Raises:
        ResourceError: it does not answer, or refuses.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
    from ray.exceptions import AuthenticationError

    try:
        with init_grpc_channel(address) as channel:
            NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=PATIENCE)
    except grpc.RpcError as error:
        raise _silent(address, error.details()) from None
    except AuthenticationError as error:
        raise _silent(address, error) from None


def _silent(address: str | None, reason: object) -> ResourceError:
    where = f"at {address}" if address else "on this machine"
    said = str(reason).partition("\n")[0].rstrip(".")
    return ResourceError(
        f"a Ray cluster must answer {where}, but: {said}. Check the address, and with token"
        " authentication that RAY_AUTH_MODE and the token are set."
    )


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM, which `ray job stop` and a machine that is taken away send, acts as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)  # Tune's own while it runs
        if not callable(handler):  # Ctrl-C is ignored, as by a shell's background jobs
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _check_reachable(ray, resources: Resources, place: str) -> None:  # type: ignore[no-untyped-def]
    """Write from here what a node that runs trials must read; the first may have to start for it.

    Raises:
        ResourceError: either cannot.
    """
    share = {"num_cpus": resources.cpu, "num_gpus": resources.gpu, "max_retries": 2}
    try:
        probe = kept.probe(place)
        reason = ray.get(ray.remote(kept.missing).options(**share).remote(probe))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
    if reason:
        raise ResourceError(
            f"every node must reach the checkpoints in {place}, but: {reason}. Give a folder that"
            " all nodes mount or a bucket that their role may write to, such as"
            " `--checkpoints s3://bucket/folder`; without it each trial stays on its node."
        )


def trials_on(resources: Resources, cpus: float, gpus: float) -> int:
    """How many trials fit on one node at once."""
    fits = cpus / resources.cpu
    if resources.gpu:
        per_gpu = trials_per_gpu(resources)
        fits = min(fits, gpus * per_gpu if per_gpu else gpus / resources.gpu)
    return math.floor(fits + 1e-9)


def trials_per_gpu(resources: Resources) -> int:
    """A fraction is packed device by device: 0.3 fits three times on one, not 3.33."""
    return math.floor(1 / resources.gpu + 1e-9) if 0 < resources.gpu <= 1 else 0


def check(resources: Resources, nodes: Sequence[tuple[float, float]]) -> None:
    """Refuse what can never be placed on nodes of so many CPUs and GPUs.

    Raises:
        ResourceError: one trial asks for more than the whole cluster holds, or than any one node.
    """
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    if resources.gpu > gpus:
        raise ResourceError(
            f"the study asks for {resources.gpu:g} GPU per trial, but there are {gpus:g}."
            " To run on CPUs, set `resources: {cpu: 1, gpu: 0}` in the study; to use GPUs"
            " elsewhere, pass --address of a Ray cluster that has them, and with --cluster the file"
            " that it grows by if it starts them when asked."
        )
    if resources.cpu > cpus:
        raise ResourceError(
            f"the study asks for {resources.cpu:g} CPUs per trial, but there are {cpus:g}."
            " Set a smaller `resources: {cpu: ...}` in the study, or pass with --cluster the file"
            " that the cluster grows by."
        )
    if not any(trials_on(resources, *node) for node in nodes):
        raise ResourceError(
            f"one node must hold a whole trial of {resources.cpu:g} CPU and {resources.gpu:g} GPU,"
            f" but none of {len(nodes)} does. Set smaller `resources` in the study."
        )
