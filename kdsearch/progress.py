"""Progress: what a search is doing, live on a terminal and as plain lines elsewhere.

It listens to the journal, so it shows what is recorded and nothing else.
"""

import threading
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from kdsearch.tracking import Event, Record

_PLAIN_EVERY = 5.0  # seconds between two plain lines, at first
_PLAIN_SHARE = 0.02  # of a stage's time so far, between two of them later: a day has 350
_LIVE_EVERY = 0.125  # seconds between two looks of a terminal
_KINDS = {
    "teacher": "teacher",
    "search": "trial",
    "control": "control",
    "finals": "final",
    "levels": "level",
}
"""The kind of training that each stage consists of."""


class Display:
    """Shows a search's events; use as a context manager and as a journal's listener."""

    def __init__(self, console: Console, past: Record) -> None:
        """`past` is what the journal held before: its trials count as done."""
        self._console = console
        self._record = past
        self._lock = threading.Lock()
        self._stage, self._total, self._begun = "", 0, time.monotonic()
        self._done_at_begin = 0
        self._shown = 0.0
        self._live: Live | None = None
        title, text = (
            TextColumn(column) for column in ("[bold]{task.description:8}", "{task.fields[text]}")
        )
        self._bar = Progress(title, BarColumn(), text, TimeElapsedColumn(), console=console)
        self._task: TaskID | None = None

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live = Live(Group(self._bar), console=self._console, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the live display."""
        self._console.print(Text(sentence))

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self._lock:
            self._record.add(event)
            if event["event"] == "note":
                self.say(event["text"])
            elif event["event"] == "stage":
                self._turn(event)
            elif event["event"] == "starved":
                self.say(
                    f"{event['id']} ran out of memory on {event['gpu']:g} GPU: when the others have"
                    f" ended, it is tried again with {event['larger']:g}."
                )
            elif self._stage and self._due():
                self._show()

    def _turn(self, event: Event) -> None:
        if event["state"] == "end":
            self._show()
            self._stage = ""
            return
        self._stage, self._begun = event["name"], time.monotonic()
        study = self._record.header["study"]
        teacher, epochs = study["teacher"], 0
        while teacher:
            here = not any(teacher.get(key) for key in ("checkpoint", "logits", "trained"))
            epochs += here * teacher["recipe"]["epochs"]
            teacher = teacher.get("teacher")
        self._done_at_begin = sum(self._ended().values())
        self._total = self._done_at_begin + event.get("trainings", epochs)
        self._task = self._bar.add_task(self._stage, total=self._total, text="")

    def _kind(self) -> str:
        return _KINDS[self._stage]

    def _ended(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for trial in self._record.of_kind(self._kind()):
            if trial.status != "running":
                counts[trial.status] = counts.get(trial.status, 0) + 1
        return counts

    def _due(self) -> bool:
        """Counting takes time with every trial that there is: not for each of their epochs."""
        now = time.monotonic()
        plain = max(_PLAIN_EVERY, _PLAIN_SHARE * (now - self._begun))
        return now - self._shown > (_LIVE_EVERY if self._live else plain)

    def _show(self) -> None:
        self._shown = time.monotonic()
        if self._stage == "teacher":
            done, text = self._teacher()
        else:
            done, text = self._students()
        if self._task is not None:
            self._bar.update(self._task, completed=done, text=text)
        if self._live is None:
            self._console.print(Text(f"{self._stage}: {done}/{self._total} {text}"))

    def _teacher(self) -> tuple[int, str]:
        teachers = self._record.of_kind("teacher")
        if not teachers or not teachers[-1].epochs:
            return 0, ""
        done = sum(len(teacher.epochs) for teacher in teachers)
        return done, f"epochs, validation {100 * teachers[-1].accuracy:.2f} %"

    def _students(self) -> tuple[int, str]:
        trials = self._record.of_kind(self._kind())
        ended = self._ended()
        done = sum(ended.values())
        running = len(trials) - done
        counts = ", ".join(f"{count} {status}" for status, count in ended.items())
        parts = [counts or "0 finished", f"{running} running"]
        finished = [trial for trial in trials if trial.status == "finished"]
        if finished:
            best = max(finished, key=lambda trial: trial.accuracy)
            judged = "test" if self._stage == "finals" else "validation"
            parts.append(f"best {best.family} {100 * best.accuracy:.2f} % {judged}")
        now = done - self._done_at_begin
        if now and done < self._total:
            left = (time.monotonic() - self._begun) / now * (self._total - done)
            parts.append(f"about {left:.0f} s left")
        return done, ", ".join(parts)
