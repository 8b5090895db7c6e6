"""A student in MLflow's registry: a model version that loads and predicts without kdsearch."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from kdsearch.export.student import Student

CODE = Path(__file__).with_name("served.py")


def register(
    student: Student, program: Path, card: Path, name: str, uri: str, artifacts: Path
) -> str:
    """Log the exported program as a model and register it under a name; returns `name`/version.

    The run of the model carries the test accuracy, and the model version the card as description.
    `artifacts` is where a store that is a local file keeps its files.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.models import infer_signature

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    header, final = student.record.header, student.final
    experiment = f"{header['study']['name']} students"
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    local = artifacts.resolve().as_uri() if uri.startswith("sqlite:") else None
    where = found.experiment_id if found else client.create_experiment(experiment, local)
    example = student.example(2).numpy()
    with torch.no_grad():
        logits = student.module(torch.from_numpy(example)).numpy()
    tags = {"kind": "student", "search": header["name"], "trial_id": final.id, "row": final.row}
    title = f"{final.row} {final.id}"
    with (
        _tracked(uri),
        warnings.catch_warnings(action="ignore"),  # of types that `Served` leaves out on purpose
        mlflow.start_run(experiment_id=where, run_name=title, tags=tags),
    ):
        mlflow.log_metric("test_accuracy", final.accuracy)
        mlflow.log_artifact(str(card))
        logged = mlflow.pyfunc.log_model(
            name="student",
            python_model=str(CODE),
            artifacts={"student": str(program)},
            signature=infer_signature(example, logits),
            input_example=example,
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
            registered_model_name=name,
        )
    version = str(logged.registered_model_version)
    client.update_model_version(name, version, description=card.read_text())
    return f"{name}/{version}"


@contextmanager
def _tracked(uri: str) -> Iterator[None]:
    """MLflow's fluent calls go to this store; they set it for the process and all its children."""
    import mlflow

    name = "MLFLOW_TRACKING_URI"
    before, environment = mlflow.get_tracking_uri(), os.environ.get(name)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if environment is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = environment
