"""MLflow: follows the journal from a thread of the driver, in batches; the only import of mlflow.

One experiment per study, a parent run per search, a child run per teacher, trial and final. The
journal is the truth and MLflow a copy of it: runs are found again by their tags and metrics carry
the journal's time stamps, so writing an event twice changes nothing, and a server that is away
costs the search nothing.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdsearch.tracking.journal import Event, Journal

_STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_JUDGED = {"teacher": "val", "trial": "val", "control": "val", "level": "val", "final": "test"}
_EVERY = 1.0  # seconds between two looks at the journal
_PATIENCE = 60.0  # seconds that the end of a search waits for a server


def tracking_uri(storage: Path, own: str | None = None) -> str:
    """MLFLOW_TRACKING_URI, else the study's own, else a SQLite file in the storage folder."""
    local = f"sqlite:///{(storage / 'mlflow.db').resolve()}"
    return os.environ.get("MLFLOW_TRACKING_URI") or own or local


@dataclass
class _Noted:
    """What is still to be written of one run."""

    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[Any] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


class MlflowWriter:
    """Writes journal events into MLflow; every call may be repeated."""

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        """`artifacts` is where a new experiment keeps its files when the store is a local file."""
        self._client = _import().MlflowClient(tracking_uri=uri)
        local = uri.startswith("sqlite:") and artifacts is not None
        self._artifacts = artifacts.resolve().as_uri() if local and artifacts else None
        self._runs: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._papers: set[str] = set()
        self._header: Event = {}
        self._experiment = ""

    def write(self, events: Iterable[Event]) -> None:
        """Bring MLflow up to these events, which continue those of earlier calls."""
        noted: dict[str, _Noted] = defaultdict(_Noted)
        ends: list[Event] = []
        for event in events:
            match event["event"]:
                case "search":
                    self._open(event)
                case "paper":
                    self._paper(event)
                case "trial":
                    self._kinds[event["id"]] = event["kind"]
                    self._start(event, noted[event["id"]])
                case "epoch":
                    noted[event["id"]].metrics += _metrics(event, self._kinds[event["id"]])
                case "end":
                    ends.append(event)
                    told = {key: event.get(key) for key in ("status", "reason")}
                    noted[event["id"]].tags |= {key: value for key, value in told.items() if value}
                case "finished":
                    ends.append({**event, "id": "", "status": "finished"})
                    noted[""].tags["status"] = "finished"
        for name, each in noted.items():
            self._log(self._runs[name], each)
        for event in ends:
            end_time = int(event["time"] * 1000)
            run, status = self._runs[event["id"]], _STATUS[event["status"]]
            self._client.set_terminated(run, status, end_time)

    def _log(self, run: str, noted: "_Noted") -> None:
        """All that came for one run, in one call; MLflow splits what is too much for one."""
        from mlflow.entities import Param, RunTag

        tags = [RunTag(key, value) for key, value in noted.tags.items()]
        params = [Param(key, str(value)[:6000]) for key, value in noted.params.items()]
        self._client.log_batch(run, noted.metrics, params, tags)

    def attach(self, *files: Path) -> None:
        """Add files to the parent run."""
        for file in files:
            self._client.log_artifact(self._runs[""], str(file))

    def summarise(self, values: dict[str, float]) -> None:
        """Figures of the whole search, as metrics of the parent run."""
        for name, value in values.items():
            self._client.log_metric(self._runs[""], name, value)

    def _open(self, event: Event) -> None:
        """The experiment and parent run of a search, found or made; knows its earlier runs."""
        self._header = event
        study = event["study"]["name"]
        found = self._client.get_experiment_by_name(study)
        self._experiment = (
            found.experiment_id
            if found
            else self._client.create_experiment(study, artifact_location=self._artifacts)
        )
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                filter_string=f"tags.search = '{event['name']}'",
                max_results=1000,
                page_token=token,
            )
            self._runs |= {run.data.tags["trial_id"]: run.info.run_id for run in page}
            if not (token := page.token):
                break
        if "" not in self._runs:
            tags = {"kind": event.get("kind", "search"), "status": "running", "trial_id": ""}
            self._create("", event["name"], event["time"], tags)
        # A writer that was killed may have left the run without; those of a first sitting stay.
        if not self._client.get_run(self._runs[""]).data.params:
            facts = {"question": event["study"]["question"], **event["environment"]}
            self._log(self._runs[""], _Noted(params=facts))

    def _paper(self, event: Event) -> None:
        """A published row, once per experiment, however many searches meet it."""
        from mlflow.entities import Metric

        row = event["row"]
        where = " ".join(str(row[key]) for key in ("paper", "table", "method"))
        name = f"{where}: {row['teacher']} to {row['student']}"
        if not self._papers:
            runs = self._client.search_runs(
                [self._experiment], "tags.kind = 'paper'", max_results=1000
            )
            self._papers = {run.data.tags["row"] for run in runs}
        if name in self._papers:
            return
        tags = {
            "kind": "paper",
            "objective": row["objective"],
            "study": self._header["study"]["name"],
            "status": "finished",
            "row": name,
            "source": row["source"],
            "marks": "; ".join(event["marks"]),
        }
        time = int(event["time"] * 1000)
        run = self._client.create_run(
            self._experiment,
            start_time=time,
            run_name=f"{row['method']} ({row['paper']})",
            tags=tags,
        )
        params = {key: value for key, value in row.items() if value not in ("", None)}
        accuracy = Metric("test_accuracy", row["top1"] / 100, time, row["epochs"] or 0)
        self._log(run.info.run_id, _Noted(params=params, metrics=[accuracy]))
        self._client.set_terminated(run.info.run_id, "FINISHED", time)
        self._papers.add(name)

    def _start(self, event: Event, noted: "_Noted") -> None:
        name = event["id"]
        tags = {
            "kind": event["kind"],
            "objective": event["family"],
            "origin": event["origin"],
            "row": event.get("row", ""),
            "status": "running",
            "trial_id": name,
            "mlflow.parentRunId": self._runs[""],
        }
        if name not in self._runs:
            self._create(name, f"{name} {event['family']}", event["time"], tags)
        noted.params |= _flat(event["experiment"])
        if (distance := event.get("proxy_distance")) is not None:
            from mlflow.entities import Metric

            score = Metric("proxy_distance", distance, int(event["time"] * 1000), 0)
            noted.metrics.append(score)

    def _create(self, name: str, title: str, time: float, tags: dict[str, str]) -> None:
        header = self._header
        common = {
            "study": header["study"]["name"],
            "study_digest": header["digest"],
            "search": header["name"],
            "data": header["data"],
            "commit": header["environment"].get("commit", ""),
        }
        run = self._client.create_run(
            self._experiment, start_time=int(time * 1000), run_name=title, tags=common | tags
        )
        self._runs[name] = run.info.run_id


class MlflowFollower:
    """A thread that keeps MLflow up with a journal; never raises into the search."""

    def __init__(self, journal: Journal, uri: str, artifacts: Path | None = None) -> None:
        self._journal, self._uri, self._artifacts = journal, uri, artifacts
        self._writer: MlflowWriter | None = None
        self._offset = 0
        self._stopping = threading.Event()
        self._attachments: tuple[Path, ...] = ()
        self._summary: dict[str, float] = {}
        self.problem = ""
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        _import()  # here: one that fails in a thread, as beside other imports, always fails again
        self._thread.start()

    def stop(self, *attachments: Path, summary: dict[str, float] | None = None) -> str:
        """Write what is left, attach files, and end; returns what went wrong, or nothing.

        Waits for a server that does not answer, but not for ever.
        """
        self._attachments, self._summary = attachments, summary or {}
        self._stopping.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            return f"it has not taken everything within {_PATIENCE:g} s"
        return self.problem

    def _follow(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._catch_up()
        self._catch_up()
        if not self.problem and self._writer:
            try:
                self._writer.attach(*self._attachments)
                self._writer.summarise(self._summary)
            except Exception as error:  # noqa: BLE001 - the copy may fail, the search may not
                self.problem = _sentence(error)

    def _catch_up(self) -> None:
        try:
            if self._writer is None:
                self._writer = MlflowWriter(self._uri, self._artifacts)
            events, offset = self._journal.read(self._offset)
            if events:
                self._writer.write(events)
            self._offset, self.problem = offset, ""
        except Exception as error:  # noqa: BLE001 - the copy may fail, the search may not
            self.problem = _sentence(error)


def unreadable(uri: str) -> str:
    """Why a store or server cannot be read, in words; empty where it can."""
    try:
        _import().MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - a tracker fails in many ways, and may
        return _sentence(error)
    return ""


def sync(journal: Journal, uri: str, artifacts: Path, *attachments: Path) -> None:
    """Write a whole journal into MLflow; what is there already stays as it is."""
    writer = MlflowWriter(uri, artifacts)
    writer.write(journal)
    writer.attach(*(file for file in attachments if file.exists()))


def _import() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import logging

    from mlflow import tracking

    for talkative in ("alembic", "mlflow"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    return tracking


def _metrics(event: Event, kind: str) -> list[Any]:
    from mlflow.entities import Metric

    judged = _JUDGED[kind]
    values = {
        "train_loss": event["train_loss"],
        f"{judged}_accuracy": event["accuracy"],
        f"{judged}_loss": event["loss"],
        "epoch_seconds": event["seconds"],
    }
    time = int(event["time"] * 1000)
    return [Metric(k, v, time, event["epoch"]) for k, v in values.items() if v is not None]


def _flat(tree: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    else:
        yield path, tree


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
