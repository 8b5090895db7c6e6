"""MLflow as a copy of the journal, in batches; the only import of mlflow.

experiment <study>             a run per row of the leaderboard, per published row, and per search
experiment <study> trainings   a run per teacher, trial and final, a child of its search

So five hundred trials do not hide the ten rows that matter. The journal is the truth: runs are
found again by their tags and metrics carry the journal's time stamps, so writing an event twice
changes nothing, and a server that is away costs the search nothing. A run is ended after all of it
is written, so an ended one is not written again.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdsearch.tracking.journal import Event
from kdsearch.tracking.standing import Conclusion, Standing, published

_STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_JUDGED = {"teacher": "val", "trial": "val", "control": "val", "level": "val", "final": "test"}
_NOTE = "mlflow.note.content"  # what MLflow shows as the description
_VIEW = "mlflow.sharedViewState.kdsearch"  # what a link with `VIEW` opens
VIEW = "workflowType=machine_learning&viewStateShareKey=kdsearch"
"""The query of a page of runs that shows them in the prepared table of their experiment."""
_LINK = f"[{{text}}](#/experiments/{{id}}/runs?{VIEW})"


@dataclass(frozen=True)
class _Experiment:
    """An experiment: its name, what is said of it, and the columns that its link opens.

    Columns are by kind, as MLflow groups them; the first metric orders the rows, highest first.
    """

    name: str
    link: str
    note: str
    metrics: tuple[str, ...]
    tags: tuple[str, ...]

    def view(self) -> str:
        """The state of MLflow's table; one that does not know it opens with its own columns."""
        metrics = [f"metrics.`{name}`" for name in self.metrics]
        tags = [f"tags.`{name}`" for name in self.tags]
        content = {
            "orderByKey": metrics[0],
            "orderByAsc": False,
            "selectedColumns": [*metrics, *tags],
            "columnOrder": ["attributes.`Run Name`", *metrics, *tags],
            "columnWidths": {
                "attributes.`Run Name`": 200,
                **{f"metrics.`{name}`": max(70, 9 * len(name) + 10) for name in self.metrics},
            },
        }
        return json.dumps(content)


def _experiments(study: str) -> tuple[_Experiment, _Experiment]:
    """The two of a study: its rows, and its trainings."""
    name = f"{study} trainings"
    return (
        _Experiment(
            study,
            "Leaderboard, by the lower bound of the interval",
            "Kind `row` is a setting over its seeds, `paper` a published figure, `search` what was"
            f" run, with its report and journal. Every single training is in `{name}`.",
            ("test_accuracy_low", "test_accuracy", "test_accuracy_high", "n", "student_epochs"),
            ("kind", "verdict", "settings", "protocol", "search"),
        ),
        _Experiment(
            name,
            "Trainings, by validation accuracy",
            f"Every teacher, trial and final of the searches in `{study}`.",
            ("val_accuracy", "test_accuracy", "train_loss"),
            ("kind", "status", "reason", "row", "search"),
        ),
    )


def tracking_uri(storage: Path, own: str | None = None) -> str:
    """MLFLOW_TRACKING_URI, else the study's own, else a SQLite file in the storage folder."""
    local = f"sqlite:///{(storage / 'mlflow.db').resolve()}"
    return os.environ.get("MLFLOW_TRACKING_URI") or own or local


def library() -> Any:
    """MLflow's clients, made silent; imported on the first call."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import logging

    from mlflow import tracking

    for talkative in ("alembic", "mlflow"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    return tracking


@dataclass
class _Noted:
    """What is still to be written of one run; `begun` is the event of its start, if that came."""

    begun: Event | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: list[Any] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    ended: Event | None = None


class MlflowWriter:
    """Writes journal events into MLflow; every call may be repeated."""

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        """`artifacts` is where a new experiment keeps its files when the store is a local file."""
        self._client = library().MlflowClient(tracking_uri=uri)
        local = uri.startswith("sqlite:") and artifacts is not None
        self._artifacts = artifacts.resolve().as_uri() if local and artifacts else None
        self._rows = self._trainings = ""  # the two experiments
        self._header: Event = {}
        self._search = ""  # its run
        self._runs: dict[str, str] = {}  # of trainings, by their name in the journal
        self._whole: set[str] = set()  # trainings whose run an earlier writer ended
        self._kinds: dict[str, str] = {}
        self._standing: dict[tuple[str, str], str] = {}  # runs of rows, by their kind and name

    def write(self, events: Iterable[Event]) -> None:
        """Bring MLflow up to these events, which continue those of earlier calls."""
        noted: dict[str, _Noted] = defaultdict(_Noted)
        finished: Event | None = None
        for event in events:
            if event.get("id") in self._whole:
                continue
            match event["event"]:
                case "search":
                    self._open(event)
                case "paper":
                    self._stand(published(event))
                case "trial":
                    self._kinds[event["id"]] = event["kind"]
                    noted[event["id"]].begun = event
                case "epoch":
                    noted[event["id"]].metrics += _metrics(event, self._kinds[event["id"]])
                case "end":
                    noted[event["id"]].ended = event
                case "finished":
                    finished = event
        for name, each in noted.items():
            self._train(name, each)
        if finished:
            self._client.set_tag(self._search, "status", "finished")
            self._client.set_terminated(self._search, "FINISHED", _milliseconds(finished["time"]))

    def conclude(self, outcome: Conclusion) -> None:
        """Add what a search came to; rows that are there are brought to what it says now."""
        for standing in outcome.standings:
            self._stand(standing)
        words = {_NOTE: outcome.words} if outcome.words else {}
        self._amend(self._client.get_run(self._search), outcome.figures, {}, words)
        for file in outcome.files:
            self._client.log_artifact(self._search, str(file))

    def _train(self, name: str, noted: _Noted) -> None:
        """A training's run, found or made, with all that came for it in one call.

        MLflow splits what is too much for one. What is known when a run is made goes with that.
        """
        if noted.begun:
            noted.params = noted.begun["experiment"]
            noted.tags = _said_at_the_start(noted.begun)
            if (distance := noted.begun.get("proxy_distance")) is not None:
                noted.metrics.append(_metric("proxy_distance", distance, noted.begun["time"], 0))
        if noted.ended:
            told = {key: noted.ended.get(key) for key in ("status", "reason")}
            noted.tags |= {key: value for key, value in told.items() if value}
        if noted.begun and name not in self._runs:
            parent = {"mlflow.parentRunId": self._search}
            tags = self._common() | noted.tags | parent
            title, begun = f"{name} {noted.begun['family']}", noted.begun["time"]
            self._runs[name] = self._make(self._trainings, title, begun, tags)
            noted.tags = {}
        self._log(self._runs[name], noted.metrics, noted.params, noted.tags)
        if noted.ended:
            status, end = _STATUS[noted.ended["status"]], _milliseconds(noted.ended["time"])
            self._client.set_terminated(self._runs[name], status, end)

    def _stand(self, standing: Standing) -> None:
        """A row's run: of this search, or of a paper once however many searches meet it."""
        key = standing.kind, standing.name
        tags = {"kind": standing.kind, "row": standing.name, "status": "finished", **standing.tags}
        tags["study"] = self._header["study"]["name"]
        if standing.kind == "row":
            tags = self._common() | tags
        if key not in self._standing:
            self._standing[key] = self._make(self._rows, standing.title, standing.started, tags)
        run = self._client.get_run(self._standing[key])
        self._amend(run, standing.metrics, standing.params, tags, standing.epochs)
        if standing.kind == "row":
            self._name_data(run)
        if run.info.status != "FINISHED":
            end = _milliseconds(standing.ended)
            self._client.set_terminated(run.info.run_id, "FINISHED", end)

    def _amend(
        self,
        run: Any,
        metrics: Mapping[str, float | None],
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        step: int = 0,
    ) -> None:
        """Bring a run to these values; those that it has already are not written again."""
        has, now = run.data, time.time()
        new = [
            _metric(key, value, now, step)
            for key, value in metrics.items()
            if value is not None and has.metrics.get(key) != value
        ]
        unset = {key: value for key, value in _flat(params) if key not in has.params}
        other = {key: value for key, value in tags.items() if has.tags.get(key) != value}
        if new or unset or other:
            self._log(run.info.run_id, new, unset, other)

    def _log(
        self, run: str, metrics: list[Any], params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Param, RunTag

        entries = [Param(key, str(value)[:6000]) for key, value in _flat(params)]
        self._client.log_batch(run, metrics, entries, [RunTag(*each) for each in tags.items()])

    def _open(self, event: Event) -> None:
        """The experiments and the run of a search, found or made; knows its earlier runs."""
        self._header = event
        name, experiments = event["name"], _experiments(event["study"]["name"])
        self._rows, self._trainings = (self._experiment(each) for each in experiments)
        search = None
        # In both: an earlier version kept trainings beside rows, where they stay.
        for run in self._found([self._rows, self._trainings], f"tags.search = '{name}'"):
            tags = run.data.tags
            if tags["kind"] == "row":
                self._standing["row", tags["row"]] = run.info.run_id
            elif not tags["trial_id"]:
                search = run
            else:
                self._runs[tags["trial_id"]] = run.info.run_id
                if run.info.status != "RUNNING":
                    self._whole.add(tags["trial_id"])
        for run in self._found([self._rows], "tags.kind = 'paper'"):
            self._standing["paper", run.data.tags["row"]] = run.info.run_id
        if search is None:
            kind = event.get("kind", "search")
            tags = self._common() | {"kind": kind, "status": "running", "trial_id": ""}
            search = self._client.get_run(self._make(self._rows, name, event["time"], tags))
        self._search = search.info.run_id
        # A writer that was killed may have left the run without; those of a first sitting stay.
        if not search.data.params:
            facts = {"question": event["study"]["question"], **event["environment"]}
            self._log(self._search, [], facts, {})
        self._name_data(search)

    def _experiment(self, wanted: _Experiment) -> str:
        """Its id; made if it is not there, and what somebody wrote about it stays."""
        found = self._client.get_experiment_by_name(wanted.name)
        if not found:
            place = self._artifacts
            made = self._client.create_experiment(wanted.name, artifact_location=place)
            found = self._client.get_experiment(made)
        number = str(found.experiment_id)
        note = f"{_LINK.format(text=wanted.link, id=number)}. {wanted.note}"
        for key, value in ((_NOTE, note), (_VIEW, wanted.view())):
            if key not in found.tags:
                self._client.set_experiment_tag(number, key, value)
        return number

    def _found(self, experiments: list[str], query: str) -> Iterator[Any]:
        """The runs that answer a query, page by page."""
        token = None
        while True:
            page = self._client.search_runs(experiments, query, max_results=1000, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _make(self, experiment: str, title: str, begun: float, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(
            experiment, start_time=_milliseconds(begun), run_name=title, tags=dict(tags)
        )
        return str(run.info.run_id)

    def _common(self) -> dict[str, str]:
        """Tags of every run of a search."""
        header = self._header
        return {
            "study": header["study"]["name"],
            "study_digest": header["digest"],
            "search": header["name"],
            "data": header["data"],
            "commit": header["environment"].get("commit", ""),
        }

    def _name_data(self, run: Any) -> None:
        """The dataset as an input of a run, by name and digest; one that it has stays."""
        if run.inputs and run.inputs.dataset_inputs:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        header, said = self._header, self._header["study"]["data"]
        dataset = Dataset(
            name=said["name"],
            digest=header["data"],
            source_type="code",
            source=json.dumps({"tags": said}),
            profile=json.dumps(header.get("sizes", {})),
        )
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run.info.run_id, [DatasetInput(dataset, [context])])


def _said_at_the_start(event: Event) -> dict[str, str]:
    return {
        "kind": event["kind"],
        "objective": event["family"],
        "origin": event["origin"],
        "row": event.get("row", ""),
        "status": "running",
        "trial_id": event["id"],
    }


def _metrics(event: Event, kind: str) -> list[Any]:
    judged = _JUDGED[kind]
    values = {
        "train_loss": event["train_loss"],
        f"{judged}_accuracy": event["accuracy"],
        f"{judged}_loss": event["loss"],
        "epoch_seconds": event["seconds"],
    }
    return [
        _metric(key, value, event["time"], event["epoch"])
        for key, value in values.items()
        if value is not None
    ]


def _metric(key: str, value: float, when: float, step: int) -> Any:
    from mlflow.entities import Metric

    return Metric(key, value, _milliseconds(when), step)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _flat(tree: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    else:
        yield path, tree
