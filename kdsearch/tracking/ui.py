"""MLflow's own UI on this machine's loopback address, as a process that ends with ours."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kdsearch.errors import SearchError
from kdsearch.tracking.mlflow import VIEW

_START = 120.0  # seconds that a server may take to answer: it may have to migrate its store
_GRACE = 10.0  # seconds for an orderly end
_SHOWN = 5  # experiments that are named with their addresses


@contextmanager
def served(uri: str, artifacts: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server on a store, once it answers; ended with the block, its workers too.

    It is told the names of the loopback address, whatever MLFLOW_SERVER_ALLOWED_HOSTS says, with
    any port: a tunnel's other end may have another.

    Raises:
        SearchError: the port is taken, or the server does not start.
    """
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just ended
        try:
            free.bind(("127.0.0.1", port))
        except OSError as error:
            raise SearchError(
                f"MLflow's UI must have a free port, but {port} on 127.0.0.1 cannot be had"
                f" ({error.strerror}): it may run already. Name another with `--port {port + 1}`."
            ) from None
    names = ",".join(f"{name}{end}" for name in ("localhost", "127.0.0.1") for end in ("", ":*"))
    words = ["server", "--backend-store-uri", uri, "--artifacts-destination", artifacts.as_uri()]
    words += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--allowed-hosts",
        names,
    ]
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a process that we never use
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=settings | os.environ,
            start_new_session=True,  # Ctrl-C is ours to hear, and its workers end with it
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log)
            yield process
        finally:
            _end(process)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C does, so that what was started is ended too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait(process: subprocess.Popen[bytes], health: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(health, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    raise SearchError(
        f"MLflow's server must answer within {_START:g} s, but did not: {said[-1][:300]}."
        " `kdsearch doctor` looks at its store."
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(_GRACE)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def addresses(port: int) -> list[tuple[str, str, str]]:
    """The experiments of a server, the newest first: name, its runs, and its prepared table."""
    root = f"http://127.0.0.1:{port}"
    query = json.dumps({"max_results": _SHOWN, "order_by": ["last_update_time DESC"]}).encode()
    request = urllib.request.Request(
        f"{root}/api/2.0/mlflow/experiments/search", query, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer).get("experiments", [])
    return [
        (each["name"], page, f"{page}?{VIEW}")
        for each in found
        if each["experiment_id"] != "0"  # MLflow's own, in which we keep nothing
        and (page := f"{root}/#/experiments/{each['experiment_id']}/runs")
    ]
