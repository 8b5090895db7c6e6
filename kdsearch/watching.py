"""Watching: a search's journal followed from outside, while another process writes it.

    follow(Journal(folder / "journal.jsonl"), Console())

A terminal shows the stage, the students that train now, the rungs, the best so far beside the best
`kd` and the papers' figures, and what is spent and left; anything else gets progress' plain lines.
"""

import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdsearch.halving import cutoff
from kdsearch.progress import Course, Display
from kdsearch.reporting.leaderboard import leaderboard, settings_of
from kdsearch.tracking import Event, Journal, Record, TrialRecord

_EVERY = 1.0  # seconds between two looks at the journal
_ROWS = 12  # running students that are shown


def follow(journal: Journal, console: Console) -> None:
    """Show a search until it has finished; Ctrl-C ends it before."""
    with Watch(console, Record()) as watch:
        for events in batches(journal):
            for event in events:
                watch(event)
            watch.look()


def batches(journal: Journal, every: float = _EVERY) -> Iterator[list[Event]]:
    """What is new in a journal at each look, perhaps nothing; ends with a search's own end.

    A line that is still being written comes with a later look.
    """
    offset = 0
    while True:
        events, offset = journal.read(offset)
        yield events
        if any(event["event"] == "finished" for event in events):
            return
        time.sleep(every)


class Watch(Display):
    """A display of a whole search, of which it has heard nothing but the journal."""

    def look(self) -> None:
        """Bring a terminal up to the last event."""
        with self._lock:
            if self._live:
                self._live.update(self._picture())

    def _picture(self) -> RenderableType:
        record = self._record
        if not record.header:
            return Text("The search has not begun yet.")
        study = record.header["study"]
        head = Text(f"{record.header['name']}  {study['question']}", style="bold")
        if self._course is None:
            return Group(head, *best(record), Text(spent(record)))
        done, text = self._progress(self._course)
        stage = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, self._course.total), completed=done, width=40)
        stage.add_row(f"{self._course.stage} {done}/{self._course.total}", bar)
        parts: list[RenderableType] = [head, stage, Text(text)]
        if running := [t for t in record.of_kind(self._course.kind) if t.status == "running"]:
            parts.append(students(running, study["recipe"]["epochs"]))
        if self._course.stage == "search" and (met := rungs(record)):
            parts.append(met)
        cost = f"{spent(record)}; {left(record, self._course, self._now)}"
        return Group(*parts, *best(record), Text(cost))


def students(running: list[TrialRecord], epochs: int) -> Table:
    """The students that train now, the furthest first."""
    table = Table("student", "objective", "settings", "epoch", "accuracy %", box=None)
    for trial in sorted(running, key=lambda trial: -len(trial.epochs))[:_ROWS]:
        accuracy = f"{100 * trial.accuracy:.2f}" if trial.epochs else ""
        of = trial.experiment["recipe"].get("epochs", epochs)
        settings = settings_of(trial.experiment)
        table.add_row(trial.id, trial.family, settings, f"{len(trial.epochs)}/{of}", accuracy)
    if len(running) > _ROWS:
        table.add_row(f"and {len(running) - _ROWS} more")
    return table


def rungs(record: Record) -> Table | None:
    """Each rung: who has met it, whom it stopped, and what the next must reach; None without."""
    noted = record.facts.get("rungs")
    if not noted:
        return None
    trials = record.of_kind("trial")
    table = Table("rung after epoch", "met by", "stopped", "to go on, %", box=None)
    for rung in noted["epochs"]:
        met = [t.epochs[rung - 1]["accuracy"] for t in trials if len(t.epochs) >= rung]
        stopped = sum(t.status == "pruned" and len(t.epochs) == rung for t in trials)
        least = f"{100 * cutoff(met, noted['factor']):.2f}" if met else ""
        table.add_row(str(rung), str(len(met)), str(stopped), least)
    return table


def best(record: Record) -> list[Text]:
    """The best so far, the best `kd` so far, and the papers' best and their own `kd`."""
    lines = []
    if rows := leaderboard(record):
        means = {row.name: (row.objective, row.mean, row.n) for row in rows}
        kds = [name for name, (objective, *_) in means.items() if objective == "kd"]
        for word, name in [("best", rows[0].name), *(("best kd", name) for name in kds[:1])]:
            _, mean, n = means[name]
            lines.append(f"{word}: {name} {mean:.2f} % test, n = {n}")
    else:
        finished = [trial for trial in record.of_kind("trial") if trial.status == "finished"]
        finished.sort(key=lambda trial: -trial.accuracy)
        kd = [trial for trial in finished if trial.family == "kd"]
        lines = [
            f"{word}: {trial.family} {100 * trial.accuracy:.2f} % validation"
            f" ({settings_of(trial.experiment)}; {trial.id})"
            for word, found in (("best", finished), ("best kd", kd))
            for trial in found[:1]
        ]
    papers = sorted((event["row"] for event in record.papers), key=lambda row: -row["top1"])
    for word, wanted in (("best", papers), ("kd", [p for p in papers if p["objective"] == "kd"])):
        for row in wanted[:1]:
            lines.append(
                f"papers' {word}: {row['method']} {row['top1']:.2f} % test, {row['source']}"
            )
    return [Text(line) for line in lines]


def spent(record: Record) -> str:
    """Student-epochs so far, and what they took, in words."""
    trained = record.of_kind("trial") + record.of_kind("final") + record.of_kind("level")
    epochs = sum(len(trial.epochs) for trial in trained)
    seconds = sum(trial.seconds for trial in trained)
    return f"spent: {epochs} student-epochs, {span(seconds)} of slot time"


def left(record: Record, course: Course, now: float) -> str:
    """Wall time and cost that a stage still takes at its pace so far, in words."""
    ended = [trial for trial in record.of_kind(course.kind) if trial.status != "running"]
    seconds = course.seconds_left(len(ended), now)
    if seconds is None or course.stage == "teacher":
        return "left: not known yet"
    missing = (course.total - len(ended)) / len(ended)
    cost = missing * sum(trial.seconds for trial in ended)
    after = ", then the finals" if course.stage == "search" else ""
    return f"left: about {span(seconds)}, {span(cost)} of slot time{after}"


def span(seconds: float) -> str:
    """A duration to two or three digits."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
