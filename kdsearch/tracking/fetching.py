"""From MLflow alone: the study and the journal that a search left with its run."""

from pathlib import Path

from kdsearch.errors import SearchError
from kdsearch.tracking.mlflow import library

FILES = ("study.json", "journal.jsonl")


def fetch(run: str, uri: str, into: Path) -> str:
    """Bring the files of a row's search into a folder; returns the row's name.

    `run` is the MLflow id of the row's run, or of one of its finals.

    Raises:
        SearchError: the store has no such run, or it is of no row, or its search left no files.
    """
    client = library().MlflowClient(tracking_uri=uri)
    try:
        tags = client.get_run(run).data.tags
        row, search = tags.get("row"), tags.get("search")
        if not row or not search:
            raise SearchError(
                f"a run must be of a row or of one of its finals, but {run} in {uri} is of kind"
                f" {tags.get('kind', 'unknown')!r}. Choose one of kind `row`."
            )
        experiment = client.get_experiment_by_name(tags["study"])
        query = f"tags.search = '{search}' and tags.kind = 'search'"
        (of,) = client.search_runs([experiment.experiment_id], query)
        for file in FILES:
            client.download_artifacts(of.info.run_id, file, str(into))
    except SearchError:
        raise
    except Exception as error:  # noqa: BLE001 - a store fails in many ways
        said = str(error).partition("\n")[0] or type(error).__name__
        raise SearchError(
            f"MLflow at {uri} must have the run {run}, with the study and journal of its search,"
            f" but: {said}. Check MLFLOW_TRACKING_URI, or name a row of a search in --storage."
        ) from None
    return str(row)
