"""The follower: a thread of the driver that keeps MLflow up with a journal, in batches."""

import threading
from pathlib import Path

from kdsearch.tracking.journal import Journal
from kdsearch.tracking.mlflow import MlflowWriter, library
from kdsearch.tracking.standing import Conclusion

_EVERY = 1.0  # seconds between two looks at the journal
_PATIENCE = 60.0  # seconds that the end of a search waits for a server


class MlflowFollower:
    """A thread that keeps MLflow up with a journal; never raises into the search."""

    def __init__(self, journal: Journal, uri: str, artifacts: Path | None = None) -> None:
        self._journal, self._uri, self._artifacts = journal, uri, artifacts
        self._writer: MlflowWriter | None = None
        self._offset = 0
        self._stopping = threading.Event()
        self._outcome: Conclusion | None = None
        self.problem = ""
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        library()  # here: one that fails in a thread, as beside other imports, always fails again
        self._thread.start()

    def stop(self, outcome: Conclusion | None = None) -> str:
        """Write what is left and what came of it, and end; returns what went wrong, or nothing.

        Waits for a server that does not answer, but not for ever.
        """
        self._outcome = outcome
        self._stopping.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            return f"it has not taken everything within {_PATIENCE:g} s"
        return self.problem

    def _follow(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._catch_up()
        self._catch_up()
        if not self.problem and self._writer and self._outcome:
            try:
                self._writer.conclude(self._outcome)
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


def sync(journal: Journal, uri: str, artifacts: Path, outcome: Conclusion) -> None:
    """Write a whole journal and what came of it into MLflow; what is there already stays."""
    writer = MlflowWriter(uri, artifacts)
    writer.write(journal)
    writer.conclude(outcome)


def unreadable(uri: str) -> str:
    """Why a store or server cannot be read, in words; empty where it can."""
    try:
        library().MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - a tracker fails in many ways, and may
        return _sentence(error)
    return ""


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
