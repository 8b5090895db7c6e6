"""The journal: an append-only file of what happened, which is the truth of a search.

    {"event": "trial", "time": 1.7e9, "id": "t0003", "kind": "trial", "family": "kd", ...}
    {"event": "epoch", "time": 1.7e9, "id": "t0003", "epoch": 1, "accuracy": 0.91, ...}
    {"event": "note",  "time": 1.7e9, "id": "t0003", "text": "The process of t0003 died: ..."}
    {"event": "end",   "time": 1.7e9, "id": "t0003", "status": "finished"}

One JSON object per line. Leaderboards, reports, MLflow and a resumed search are all read from it,
so whatever dies, what was written stays. A line that a dying process left half-written is ignored
by readers and cut off by the next writer.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kdsearch.errors import StoreError

Event = dict[str, Any]


class Journal:
    """One search's journal file; cheap to create, and to pickle."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._listeners: list[Callable[[Event], None]] = []
        self.problem: StoreError | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_listeners": [], "problem": self.problem}

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event that this object appends from now on."""
        self._listeners.append(listener)

    def append(self, event: str, **content: Any) -> Event:
        """Write one event with the present time (seconds since 1970), then tell the listeners.

        Raises:
            StoreError: it cannot be written, as on a full disk. From then on this object writes
                nothing more, even if there is room again: the truth may end early, but has no gap.
        """
        if self.problem:
            raise self.problem
        entry: Event = {"event": event, "time": time.time(), **content}
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            self.problem = StoreError(
                f"every event must be written to {self.path}, but: {error.strerror}. The search has"
                " stopped, and what is written is kept: make room, then run the same command."
            )
            raise self.problem from None
        for listener in self._listeners:
            listener(entry)
        return entry

    def __iter__(self) -> Iterator[Event]:
        """Every complete event so far, in order."""
        yield from self.read()[0]

    def read(self, offset: int = 0) -> tuple[list[Event], int]:
        """The complete events from a byte offset on, and the offset after them."""
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()], offset + len(whole)

    def mend(self) -> None:
        """Cut off a half-written last line, so that the next event starts a line of its own."""
        if self.path.exists():
            _, length = self.read()
            if length < self.path.stat().st_size:
                os.truncate(self.path, length)
