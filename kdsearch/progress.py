"""Progress: what a search is doing, live on a terminal and as plain lines elsewhere.

It listens to the journal, so it shows what is recorded and nothing else.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Console, Group, RenderableType
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


@dataclass(frozen=True)
class Course:
    """A stage under way, by the journal's own clock.

    begun: seconds since 1970. before: trainings of its kind that had ended then; total: with those
    to come. The teacher's are epochs.
    """

    stage: str
    begun: float
    before: int
    total: int

    @property
    def kind(self) -> str:
        """Of its trainings."""
        return _KINDS[self.stage]

    def seconds_left(self, done: int, now: float) -> float | None:
        """At the pace so far; None before the first training has ended, and after the last."""
        ended = done - self.before
        if ended <= 0 or done >= self.total:
            return None
        return (now - self.begun) / ended * (self.total - done)


class Display:
    """Shows a search's events; use as a context manager and as a journal's listener."""

    def __init__(self, console: Console, past: Record) -> None:
        """`past` is what the journal held before: its trials count as done."""
        self._console = console
        self._record = past
        self._lock = threading.Lock()
        self._course: Course | None = None
        self._now = 0.0  # by the journal's clock
        self._begun = self._shown = 0.0  # by ours
        self._live: Live | None = None
        title, text = (
            TextColumn(column) for column in ("[bold]{task.description:8}", "{task.fields[text]}")
        )
        self._bar = Progress(title, BarColumn(), text, TimeElapsedColumn(), console=console)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(self._picture(), console=self._console, refresh_per_second=8)
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
            self._now = event["time"]
            if event["event"] == "note":
                self.say(event["text"])
            elif event["event"] == "stage":
                self._turn(event)
            elif event["event"] == "starved":
                self.say(
                    f"{event['id']} ran out of memory on {event['gpu']:g} GPU: when the others have"
                    f" ended, it is tried again with {event['larger']:g}."
                )
            elif self._course and self._due():
                self._show()

    def _turn(self, event: Event) -> None:
        if event["state"] == "end":
            self._show()
            self._course = None
            return
        self._begun = time.monotonic()
        study = self._record.header["study"]
        teacher, epochs = study["teacher"], 0
        while teacher:
            here = not any(teacher.get(key) for key in ("checkpoint", "logits", "trained"))
            epochs += here * teacher["recipe"]["epochs"]
            teacher = teacher.get("teacher")
        before = sum(self._ended(_KINDS[event["name"]]).values())
        total = before + event.get("trainings", epochs)
        self._course = Course(event["name"], event["time"], before, total)
        self._task = self._bar.add_task(event["name"], total=total, text="")

    def _ended(self, kind: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for trial in self._record.of_kind(kind):
            if trial.status != "running":
                counts[trial.status] = counts.get(trial.status, 0) + 1
        return counts

    def _due(self) -> bool:
        """Counting takes time with every trial that there is: not for each of their epochs."""
        now = time.monotonic()
        plain = max(_PLAIN_EVERY, _PLAIN_SHARE * (now - self._begun))
        return now - self._shown > (_LIVE_EVERY if self._live else plain)

    def _picture(self) -> RenderableType:
        """What a terminal shows."""
        return Group(self._bar)

    def _show(self) -> None:
        self._shown = time.monotonic()
        if self._course is None:
            return
        course, (done, text) = self._course, self._progress(self._course)
        if self._task is not None:
            self._bar.update(self._task, completed=done, text=text)
        if self._live is None:
            self._console.print(Text(f"{course.stage}: {done}/{course.total} {text}"))
        else:
            self._live.update(self._picture())

    def _progress(self, course: Course) -> tuple[int, str]:
        """How much of a stage is done, and what there is to say of it."""
        return self._teacher() if course.stage == "teacher" else self._students(course)

    def _teacher(self) -> tuple[int, str]:
        teachers = self._record.of_kind("teacher")
        if not teachers or not teachers[-1].epochs:
            return 0, ""
        done = sum(len(teacher.epochs) for teacher in teachers)
        return done, f"epochs, validation {100 * teachers[-1].accuracy:.2f} %"

    def _students(self, course: Course) -> tuple[int, str]:
        trials = self._record.of_kind(course.kind)
        ended = self._ended(course.kind)
        done = sum(ended.values())
        running = len(trials) - done
        counts = ", ".join(f"{count} {status}" for status, count in ended.items())
        parts = [counts or "0 finished", f"{running} running"]
        finished = [trial for trial in trials if trial.status == "finished"]
        if finished:
            best = max(finished, key=lambda trial: trial.accuracy)
            judged = "test" if course.stage == "finals" else "validation"
            parts.append(f"best {best.family} {100 * best.accuracy:.2f} % {judged}")
        left = course.seconds_left(done, self._now)
        if left is not None:
            parts.append(f"about {left:.0f} s left")
        return done, ", ".join(parts)
