"""The environment: Python, packages, GPUs, cluster, storage, disk and tracker.

To add a check, write a generator of findings and put its name into `CHECKS`.
"""

import fcntl
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from urllib.parse import urlsplit

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from kdsearch import __version__
from kdsearch.doctor.finding import Finding, look, ok, wrong
from kdsearch.errors import KdsearchError
from kdsearch.search import cluster
from kdsearch.search import storage as store
from kdsearch.search.environment import environment
from kdsearch.search.study import Resources, Study
from kdsearch.tracking.follower import unreadable
from kdsearch.tracking.mlflow import tracking_uri

LITTLE, SPARE = 1e9, 10e9
"""Bytes of free disk: too few for any search, and enough for most."""

DRIVER = Path("/proc/driver/nvidia/version")
"""There where NVIDIA's driver is loaded."""

PYTHONS = SpecifierSet(">=3.11,<3.14")

TRAPS = (
    ("mlflow", "==3.9.*", "comparing more than 100 runs in its UI takes minutes"),
    ("optuna", "<5", "its samplers draw other points than Optuna 5 for the same seed"),
)
"""Versions that work and have a known trap: package, which, and what happens."""


@dataclass(frozen=True)
class Surroundings:
    """Where a search would run: the arguments of `kdsearch run`; study is None without one."""

    storage: Path
    address: str | None = None
    checkpoints: str | None = None
    study: Study | None = None


def python(_: Surroundings) -> Iterator[Finding]:
    """The version, and whether this is a Python of 64 bits."""
    if platform.python_version() not in PYTHONS:
        yield wrong(
            f"Python must be {PYTHONS}, but is {platform.python_version()}.",
            "Make a new environment with one of those.",
        )
    elif sys.maxsize < 2**32:
        yield wrong("Python must be of 64 bits, but is of 32.", "Install the other one.")
    else:
        yield ok(f"{platform.python_version()} on {platform.platform(terse=True)}")


def packages(_: Surroundings) -> Iterator[Finding]:
    """What kdsearch requires is there in versions that it can use, and without known traps."""
    for text in requires("kdsearch") or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "missing"
        if found == "missing" or not requirement.specifier.contains(found, prereleases=True):
            yield wrong(
                f"{requirement.name} must be {requirement.specifier or 'there'}, but is {found}.",
                f"Run `pip install '{requirement}'`.",
            )
    for name, which, trap in TRAPS:
        if (found := version(name)) in SpecifierSet(which):
            yield look(f"{name} {found} works, but {trap}.", f"Run `pip install -U {name}`.")
    shown = ("torch", "ray", "optuna", "mlflow", "pyarrow")
    yield ok(", ".join(f"{name} {version(name)}" for name in shown))


def gpus(_: Surroundings) -> Iterator[Finding]:
    """What PyTorch sees on this machine: a driver without a GPU costs days without an error."""
    count = torch.cuda.device_count()
    if count and torch.cuda.is_available():
        names = dict.fromkeys(torch.cuda.get_device_name(device) for device in range(count))
        yield ok(f"PyTorch sees {count}: {', '.join(names)}")
    elif not DRIVER.exists():
        yield ok("PyTorch sees none and there is no NVIDIA driver: students train on CPUs here")
    elif os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        yield look("CUDA_VISIBLE_DEVICES hides every GPU of this machine.", "Unset it to use them.")
    else:
        built = torch.version.cuda
        yield wrong(
            f"this machine has NVIDIA's driver, but PyTorch {torch.__version__} sees no GPU.",
            f"Its driver is older than CUDA {built} asks for, or no device is given to this"
            " container: see `nvidia-smi`, update the driver or install a build for its CUDA."
            if built
            else "This PyTorch is built for CPUs: install a build for CUDA.",
        )


def storage(on: Surroundings) -> Iterator[Finding]:
    """A search writes there, and holds its folder with a lock."""
    try:
        on.storage.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=on.storage) as file:
            file.write(b"kdsearch")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        yield wrong(
            f"{on.storage} must be a folder in which files can be written and locked, but:"
            f" {error.strerror}.",
            "Name another with --storage or KDSEARCH_STORAGE; a network folder needs its locks on.",
        )
    else:
        yield ok(f"{on.storage.resolve()} can be written and locked")


def disk(on: Surroundings) -> Iterator[Finding]:
    """Room for journals, checkpoints and MLflow; what a study's signals need is its own check."""
    where = on.storage.resolve()
    nearest = next(place for place in (where, *where.parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    said = f"{free / 1e9:.1f} GB are free in {nearest}"
    remedy = "Make room, or put --storage on a larger disk."
    if free < LITTLE:
        yield wrong(f"{said}, and a search stops when its journal cannot be written.", remedy)
    elif free < SPARE:
        yield look(f"{said}, which checkpoints and teacher signals may fill.", remedy)
    else:
        yield ok(said)


def ray(on: Surroundings) -> Iterator[Finding]:
    """The cluster answers, or starts here; each node has kdsearch, its GPUs, and the storage."""
    from kdsearch.search.nodes import nodes  # Ray takes seconds to import

    place = on.checkpoints or str(on.storage)
    resources = on.study.resources if on.study else Resources()
    with cluster.connected(Resources(), on.address):
        found = list(nodes(place))
    for node in found:
        yield from _of_node(node.name, node.gpus, node.seen, node.version, node.problem)
    if lost := {node.name: node.unreached for node in found if node.unreached}:
        told = "; ".join(f"{name}: {reason}" for name, reason in lost.items())
        said = f"{len(lost)} of {len(found)} nodes do not reach {place} ({told})."
        remedy = "Mount it everywhere, or name with --checkpoints a folder or bucket they reach"
        if on.checkpoints:
            yield wrong(said, f"{remedy}.")
        else:
            yield look(said, f"{remedy}: else a student whose node dies begins anew.")
    elif not any(node.problem for node in found):
        yield ok(f"every node reaches {place}")
    try:
        cluster.check(resources, [(node.cpus, node.gpus) for node in found])
    except KdsearchError as error:
        yield wrong(str(error))


def _of_node(name: str, gpus: float, seen: int, has: str, problem: str) -> Iterator[Finding]:
    """One node: it can run kdsearch's code, and Ray's GPUs are PyTorch's."""
    if problem:
        yield wrong(
            f"node {name} cannot run kdsearch: {problem}.",
            "Install the same kdsearch, in the environment of its `ray start`.",
        )
    elif has != __version__:
        yield wrong(
            f"node {name} has kdsearch {has}, and this machine {__version__}.",
            "Install the same on both.",
        )
    elif seen < gpus:
        yield wrong(
            f"node {name} has {gpus:g} GPU for Ray, but PyTorch sees {seen} there: students would"
            " train on its CPUs.",
            "Install a PyTorch that fits its driver, or start it with as many `--num-gpus`.",
        )
    elif seen > gpus:
        yield look(
            f"node {name} has {seen} GPU for PyTorch, but {gpus:g} for Ray: the others stay idle.",
            "If that is not meant, start it without `--num-gpus` and CUDA_VISIBLE_DEVICES.",
        )
    else:
        yield ok(f"node {name} runs kdsearch {has} and has {gpus:g} GPU for Ray and for PyTorch")


def tracker(on: Surroundings) -> Iterator[Finding]:
    """The MLflow store can be read; a server must also accept the name by which it is called."""
    uri = tracking_uri(on.storage, on.study.tracking.uri if on.study else None)
    local = uri.removeprefix("sqlite:///")
    if local != uri and not Path(local).exists():
        yield ok(f"{uri} will be made")
    elif reason := unreadable(uri):
        yield wrong(f"MLflow at {uri} cannot be read: {reason}.", _treated(uri, reason))
    else:
        yield ok(f"MLflow at {uri} answers")


def _treated(uri: str, reason: str) -> str:
    """What to do about a tracker that cannot be read."""
    parts = urlsplit(uri)
    if "Invalid Host header" in reason:
        return (
            f"Start the server with `--allowed-hosts {parts.netloc}`: it refuses names that it was"
            " not told, and the port is part of the name."
        )
    if "out-of-date database schema" in reason:
        return f"An older MLflow wrote it: run `mlflow db upgrade {uri}`."
    if "Can't locate revision" in reason:
        return "A newer MLflow wrote it: install that version, or name another store."
    if parts.scheme in ("", "file"):
        return (
            "MLflow keeps no runs in plain folders any more: unset MLFLOW_TRACKING_URI to use a"
            " file in --storage, or name `sqlite:///...` or a server."
        )
    if "401" in reason or "403" in reason:
        return (
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )
    return (
        "Start the server or correct the address. A search goes on without it, and `kdsearch sync`"
        " writes to it afterwards."
    )


def unfinished(on: Surroundings) -> Iterator[Finding]:
    """Searches that could be gone on with were begun by the same sampler."""
    now = environment()
    for folder in store.searches(on.storage):
        record = store.record_of(folder)
        began = record.header.get("environment", {})
        if record.finished or not began or began.get("optuna") == now["optuna"]:
            continue
        yield look(
            f"{folder.name} is unfinished and was begun with Optuna {began.get('optuna')}, but here"
            f" is {now['optuna']}, which may propose other points.",
            "Finish it where it was begun, or start anew with `kdsearch run --fresh`.",
        )


CHECKS: tuple[Callable[[Surroundings], Iterator[Finding]], ...] = (
    python,
    packages,
    gpus,
    storage,
    disk,
    tracker,
    unfinished,
    ray,
)
