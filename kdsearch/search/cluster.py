"""The cluster: attach to one that runs, or start one for the length of a search."""

import _thread
import math
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from kdsearch.errors import ResourceError
from kdsearch.search import checkpoints as kept
from kdsearch.search.study import Resources, Share

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
_LOOK = 2.0  # seconds between two looks at the head
_AWAY = 15.0  # seconds for which it may be away
_GRACE = 20.0  # seconds for an orderly end; after a minute without a head, Ray aborts the process


@dataclass(frozen=True)
class Cluster:
    """A connected cluster.

    concurrent: trials at once. trial, teacher: what each of a student and of the teacher's tasks
    takes. nodes: the most that may run some of them. checkpoints: where all of them keep
    checkpoints, a folder that they mount or the URI of a bucket; None is the driver's own disk.
    """

    concurrent: int
    trial: Share
    teacher: Share
    nodes: int = 1
    checkpoints: str | None = None


@contextmanager
def connected(
    resources: Resources,
    address: str | None = None,
    max_concurrent: int | None = None,
    file: Path | None = None,
    checkpoints: str | None = None,
    measure: Callable[[bool], float] = float,
    code: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Attach to `address` or RAY_ADDRESS, else start Ray on this machine and stop it afterwards.

    `file` is the one that a growing cluster was launched from: it counts for what it can become,
    and may hold nothing now. `measure` gives a trial's share where the study says `gpu: auto`, once
    Ray is there, of whether there are GPUs; by default a whole one.
    `code` are a user's own files: those that are named from the working folder go along to a
    running cluster, whose workers are in another.
    Within, SIGTERM ends a search as Ctrl-C does.

    Raises:
        ResourceError: the cluster cannot be reached, cannot hold one trial of the study or its
            teacher, or does not reach `checkpoints`; or its head dies.
        ClusterError: `file` is no cluster file, or no node of it holds them.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        here = [(float(os.cpu_count() or 1), float(torch.cuda.device_count()))]
        check(resources, here)
    import ray  # takes seconds, and a study that cannot run should say so at once

    fleet = None
    if file and address:
        from kdsearch.search.fleet import Fleet

        fleet = Fleet.load(file)
    if not ray.is_initialized():
        _start(ray, address, code)
    head = ray.get_runtime_context().gcs_address
    with _termination_as_interrupt(), _watched(head):
        try:
            nodes = [
                (node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
                for node in ray.nodes()
                if node["Alive"]
            ]
            if fleet:
                fleet.check(resources)
            else:
                check(resources, nodes)
            there = bool(fleet.gpus if fleet else sum(gpus for _, gpus in nodes))
            trial = resources.of_trial(measure(there) if resources.gpu == "auto" else 0)
            wanted = max_concurrent or resources.max_concurrent
            if resources.gpu == "auto" and wanted and not fleet:
                trial = _spread(trial, nodes, wanted)
            room = sum(trials_on(trial, *node) for node in nodes)
            if fleet:
                room = max(room, fleet.slots(trial))
            if checkpoints:
                _check_reachable(ray, trial, checkpoints)
            most = max(len(nodes), fleet.nodes if fleet else 0)
            teacher = resources.of_teacher(trial)
            yield Cluster(wanted or room, trial, teacher, most, checkpoints)
        finally:
            ray.shutdown()


@contextmanager
def _watched(head: str) -> Iterator[None]:
    """End what runs inside with a sentence when the head, HOST:PORT, dies.

    Ray would wait for a minute and then abort the process. The main thread is interrupted as by
    SIGTERM; where that leads to no end, because a call to Ray does not return, the process is
    ended: the journal is whole after every event.

    Raises:
        ResourceError: the head has not answered for some time.
    """
    done, lost = threading.Event(), threading.Event()
    sentence = (
        f"the Ray cluster must answer, but its head at {head} has not for {_AWAY:g} s. What is"
        " done is kept: once there is a head again, the same command goes on."
    )

    def watch() -> None:
        heard = time.monotonic()
        while not done.wait(_LOOK):
            if _answers(head):
                heard = time.monotonic()
            elif time.monotonic() - heard > _AWAY:
                lost.set()
                _thread.interrupt_main(signal.SIGTERM)  # Ctrl-C itself may be ignored
                if not done.wait(_GRACE):
                    print(f"kdsearch: {sentence}", file=sys.stderr, flush=True)
                    os._exit(1)
                return

    if _answers(head):  # else it is one that only Ray's own proxy reaches
        threading.Thread(target=watch, name="head", daemon=True).start()
    try:
        yield
    except BaseException:
        if lost.is_set():
            raise ResourceError(sentence) from None
        raise
    finally:
        done.set()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_LOOK).close()
    except OSError:
        return False
    return True


def _spread(trial: Share, nodes: Sequence[tuple[float, float]], wanted: int) -> Share:
    """The largest share that leaves room for as many trials: Ray fills one GPU before the next."""
    for trials in range(1, trials_per_gpu(trial)):
        wide = trial.model_copy(update={"gpu": part_of_gpu(trials)})
        if sum(trials_on(wide, *node) for node in nodes) >= wanted:
            return wide
    return trial


def _start(ray, address: str | None, code: Sequence[str]) -> None:  # type: ignore[no-untyped-def]
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address and re.fullmatch(r"[^/]+:\d+", address):
        ask(address)
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            with _carried(code) as carried:
                ray.init(address=address, runtime_env=carried, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _silent(address, error) from None


@contextmanager
def _carried(code: Sequence[str]) -> Iterator[dict[str, str] | None]:
    """A runtime environment with these files at their places; a job's has the whole folder."""
    inside = [file for file in code if Path(file).parts[0] not in ("..", Path(file).anchor)]
    if not inside or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in inside:
            place = Path(folder, file)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        yield {"working_dir": folder}


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


def _check_reachable(ray, trial: Share, place: str) -> None:  # type: ignore[no-untyped-def]
    """Write from here what a node that runs trials must read; the first may have to start for it.

    Raises:
        ResourceError: either cannot.
    """
    share = {"num_cpus": trial.cpu, "num_gpus": trial.gpu, "max_retries": 2}
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


def trials_on(trial: Share, cpus: float, gpus: float) -> int:
    """How many trials fit on one node at once."""
    fits = cpus / trial.cpu
    if trial.gpu:
        per_gpu = trials_per_gpu(trial)
        fits = min(fits, gpus * per_gpu if per_gpu else gpus / trial.gpu)
    return math.floor(fits + 1e-9)


def trials_per_gpu(trial: Share) -> int:
    """A fraction is packed device by device: 0.3 fits three times on one, not 3.33."""
    return math.floor(1 / trial.gpu + 1e-9) if 0 < trial.gpu <= 1 else 0


def part_of_gpu(trials: int) -> float:
    """The share of which so many fit on one GPU, rounded down to the four digits that Ray keeps."""
    return math.floor(1e4 / trials) / 1e4


def larger(trial: Share) -> Share | None:
    """At least twice the share of a GPU, at most a whole one; None where there is no larger one."""
    if not 0 < trial.gpu < 1:
        return None
    return trial.model_copy(update={"gpu": part_of_gpu(max(1, trials_per_gpu(trial) // 2))})


def check(resources: Resources, nodes: Sequence[tuple[float, float]]) -> None:
    """Refuse what can never be placed on nodes of so many CPUs and GPUs.

    A share that is to be measured is taken for a whole GPU: the measurement takes one.

    Raises:
        ResourceError: a trial or the teacher asks for more than the whole cluster holds, or than
            any one node.
    """
    trial = resources.of_trial(float(any(gpus for _, gpus in nodes)))
    _check(trial, nodes, "trial", "{{{}}}")
    _check(resources.of_teacher(trial), nodes, "teacher", "{{teacher: {{{}}}}}")


def _check(share: Share, nodes: Sequence[tuple[float, float]], whose: str, key: str) -> None:
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    if share.gpu > gpus:
        cpus_alone = key.format("cpu: 1, gpu: 0")
        raise ResourceError(
            f"the study asks for {share.gpu:g} GPU per {whose}, but there are {gpus:g}."
            f" To run on CPUs, set `resources: {cpus_alone}` in the study; to use GPUs elsewhere,"
            " pass --address of a Ray cluster that has them, and with --cluster the file"
            " that it grows by if it starts them when asked."
        )
    if share.cpu > cpus:
        raise ResourceError(
            f"the study asks for {share.cpu:g} CPUs per {whose}, but there are {cpus:g}."
            f" Set a smaller `resources: {key.format('cpu: ...')}` in the study, or"
            " pass with --cluster the file that the cluster grows by."
        )
    if not any(trials_on(share, *node) for node in nodes):
        raise ResourceError(
            f"one node must hold a whole {whose} of {share}, but none of {len(nodes)} does."
            " Set smaller `resources` in the study."
        )
