"""A study as a Ray job: the job's driver is `kdsearch run` on the cluster's head.

A job is named after its study, `kdsearch-<study>-<digest>-<number>`, so that the same study finds
its running job again. The search itself is found by its digest in the storage, so that a job whose
driver, head or client was lost is gone on with by the next.
"""

import logging
import os
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kdsearch import __version__
from kdsearch.errors import Interrupted, ResourceError, SearchError, SettingError
from kdsearch.search import packing
from kdsearch.search import storage as store
from kdsearch.search.cluster import PATIENCE, ask
from kdsearch.search.plan import plan
from kdsearch.search.study import Study

_STOP = 60  # seconds that a stopped search may take to end itself; Ray's own are 3
_LOOK_EVERY = 1.0  # seconds between two looks at a job's output
_AWAY = 60.0  # seconds without an answer after which a job is not followed any more


@dataclass(frozen=True)
class Order:
    """What is asked of the cluster: a study, by its file's path in a working folder."""

    folder: Path
    file: Path
    study: Study
    storage: Path | None
    max_concurrent: int | None
    fresh: bool

    @property
    def stem(self) -> str:
        """What the names of all jobs of the study begin with."""
        name = re.sub(r"[^\w.-]+", "-", self.study.name)
        return f"kdsearch-{name}-{self.study.digest[:8]}-"

    @property
    def entrypoint(self) -> str:
        """The job's command, for a shell in the copy of the working folder."""
        words = ["kdsearch", "run", str(self.file)]
        if self.storage:
            words += ["--storage", str(self.storage)]
        if self.max_concurrent:
            words += ["--max-concurrent", str(self.max_concurrent)]
        return shlex.join([*words, *(["--fresh"] if self.fresh else [])])

    @property
    def environment(self) -> dict[str, Any]:
        """Ray's runtime environment of the job; everyone who sees the dashboard can read it."""
        variables = {store.SUBMITTED_BY: __version__, "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP)}
        if uri := tracking_uri():
            variables["MLFLOW_TRACKING_URI"] = uri
        folder, excludes = str(self.folder), list(packing.EXCLUDES)
        return {"working_dir": folder, "excludes": excludes, "env_vars": variables}


def prepared(
    study: Path,
    working_dir: Path,
    storage: Path | None = None,
    max_concurrent: int | None = None,
    fresh: bool = False,
) -> tuple[Order, list[str]]:
    """Check a study as far as this machine can; nothing is sent.

    Returns:
        The order, and the places that the study names and that the cluster alone can find.

    Raises:
        StudyError: all mistakes of the study, or files of it that would stay behind.
        SearchError: the working folder is too large or does not hold the study, or the storage
            would go with the job.
        SettingError: MLFLOW_TRACKING_URI holds a password.
    """
    folder, file = working_dir.resolve(), study.resolve()
    if storage and not storage.is_absolute():
        raise SearchError(
            f"the storage of a job must be an absolute path on the cluster, but got {storage}."
            " Best is a disk that all nodes share; without it, the head's KDSEARCH_STORAGE or"
            " ~/kdsearch is taken."
        )
    if not file.is_relative_to(folder):
        raise SearchError(
            f"the study must lie in the working folder that is uploaded, but {file} is not in"
            f" {folder}. Name one that holds it with --working-dir."
        )
    tracking_uri()
    file = file.relative_to(folder)
    with chdir(folder):  # so that its paths, and with them its digest, are those of the job
        loaded = Study.load(file, remote=True)
        plan(loaded, remote=True)
        files = packing.packed(folder)
        foreign = packing.check_files(file, loaded, folder, files)
        packing.check_size(folder, files)
    return Order(folder, file, loaded, storage, max_concurrent, fresh), foreign


def tracking_uri() -> str | None:
    """The MLFLOW_TRACKING_URI that goes with a job: that of a server, and never a local file.

    Raises:
        SettingError: it holds a password.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if parts.username or parts.password:
        raise SettingError(
            "a job's environment is shown to everyone who sees the dashboard, but"
            " MLFLOW_TRACKING_URI holds a user name or password. Take them out of it, and set"
            " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment of the"
            " cluster's head."
        )
    return uri if (parts.scheme or uri) in ("http", "https", "databricks") else None


def advice(order: Order, job: str, address: str, foreign: list[str]) -> list[str]:
    """How to look at a job, stop it and go on, in lines."""
    storage = order.storage or "its KDSEARCH_STORAGE, else ~/kdsearch"
    uri = tracking_uri() or order.study.tracking.uri or "the storage folder"
    alone = [f"  only the cluster can find {', '.join(foreign)}"] if foreign else []
    return [
        f"  of {order.folder}: {order.entrypoint}",
        *alone,
        f"  look     {address}/#/jobs/{job}",
        f"           ray job logs --follow --address {address} {job}",
        f"  results  on the head in {storage}: `kdsearch leaderboard`; MLflow in {uri}",
        f"  stop     ray job stop --address {address} {job}",
        "  go on    the same command again, whether the job still runs, was stopped or lost",
        "  Ctrl-C here only ends this output.",
    ]


class Jobs:
    """The jobs of a cluster, through its dashboard."""

    def __init__(self, address: str | None = None) -> None:
        """Connect to `address`, else RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or Ray on this machine.

        Raises:
            ResourceError: no job server answers there, or it refuses the token.
        """
        names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
        address = address or next(filter(None, map(os.environ.get, names)), None)
        with _told(address):
            _reach(address)
            from ray.job_submission import JobSubmissionClient

            for talkative in ("dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging"):
                logging.getLogger(f"ray.{talkative}").setLevel(logging.WARNING)
            # Ray would have the environment win over what was asked for.
            with _environment(**dict.fromkeys(names, address)):
                self._client = JobSubmissionClient(address)
            self.address: str = self._client.get_address()

    def running(self, order: Order) -> str | None:
        """The name of the order's job if one is under way, with the same storage."""
        storage = {"storage": str(order.storage or "")}
        for name, job in self._of(order).items():
            if not job.status.is_terminal() and storage.items() <= (job.metadata or {}).items():
                return name
        return None

    def submit(self, order: Order) -> str:
        """Upload the working folder and start a job; returns its name."""
        numbers = [int(name.removeprefix(order.stem)) for name in self._of(order)]
        with _told(self.address):
            name: str = self._client.submit_job(
                entrypoint=order.entrypoint,
                runtime_env=order.environment,
                submission_id=f"{order.stem}{max(numbers, default=0) + 1}",
                metadata={"storage": str(order.storage or "")},
            )
        return name

    def follow(self, job: str, write: Callable[[str], None]) -> None:
        """Write a job's output as it comes, until it ends well.

        Raises:
            Interrupted: it was stopped; or Ctrl-C here, of which the job hears nothing.
            SearchError: it failed, or its cluster does not answer any more.
            ResourceError: the cluster lacks kdsearch.
        """
        try:
            details = self._watched(job, write)
        except KeyboardInterrupt:
            raise Interrupted(f"{job} goes on without this terminal.") from None
        _end(job, details)

    def _watched(self, job: str, write: Callable[[str], None]) -> Any:
        """The details of a job that has ended; its output is asked for and not listened to, so
        that a broken connection costs nothing."""
        seen, heard = 0, time.monotonic()
        while True:
            try:
                with _told(self.address):
                    details = self._client.get_job_info(job)  # first, so that no output is missed
                    text = self._client.get_job_logs(job)
            except ResourceError as error:
                if time.monotonic() - heard > _AWAY:
                    raise SearchError(
                        f"{job} must be in sight to be followed, but: {error} If its cluster is"
                        " lost, submit the study to another one that has its storage."
                    ) from None
            else:
                write(text[seen:])
                seen, heard = len(text), time.monotonic()
                if details.status.is_terminal():
                    return details
            time.sleep(_LOOK_EVERY)

    def _of(self, order: Order) -> dict[str, Any]:
        """All jobs of the order's study, the latest first."""
        with _told(self.address):
            jobs = {job.submission_id or "": job for job in self._client.list_jobs()}
        numbers = [name.removeprefix(order.stem) for name in jobs if name.startswith(order.stem)]
        latest = sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)
        return {f"{order.stem}{number}": jobs[f"{order.stem}{number}"] for number in latest}


def _end(job: str, details: Any) -> None:
    """Whether a job has ended well, or why not."""
    status, code = str(details.status), details.driver_exit_code
    if status == "SUCCEEDED":
        return
    if status == "STOPPED" or code == 130:
        raise Interrupted(f"{job} was stopped. What is done is kept.")
    if code == 127:
        raise ResourceError(
            "kdsearch must be installed on the cluster, in the environment that its `ray start` ran"
            f" in, but its shell finds no such command. Install kdsearch {__version__} there."
        )
    message = (details.message or "no reason given").partition("\n")[0]
    reason = message if code is None else f"exit code {code}"
    raise SearchError(f"{job} must end well, but failed: {reason}. What is done is kept.")


def _reach(address: str | None) -> None:
    """Knock once where Ray's clients would wait for minutes."""
    parts = urlsplit(address or "")
    if parts.scheme in ("http", "https") and parts.hostname:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), PATIENCE).close()
    elif address and re.fullmatch(r"[^/]+:\d+", address):
        ask(address)


@contextmanager
def _told(address: str | None) -> Iterator[None]:
    """What Ray's job client raises, as a sentence."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except (AuthenticationError, OSError, RuntimeError, ValueError, KeyError) as error:
        where = f"at {address}" if address else "on this machine"
        reason = re.split(r"\n|\.+\s|\.$", str(error))[0]
        raise ResourceError(
            f"a Ray dashboard must answer {where}, but: {reason}. Check the address"
            " (http://HEAD:8265) and that the head has `ray[default]`, and with token"
            " authentication that RAY_AUTH_MODE=token and the token are set."
        ) from None


@contextmanager
def _environment(**changed: str | None) -> Iterator[None]:
    """Environment variables that are other ones for a while; None takes one away."""
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
