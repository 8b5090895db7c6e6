"""The account: what a search cost, where it went, and what was saved.

Early stopping, stored signals and first points save, each in its own unit.

Device-seconds are seconds of training times the share of a device that it held: of a GPU, or CPUs
where trials use no GPU. Time in which a device waited is in the wall seconds alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from kdsearch.tracking import Record, TrialRecord, by_end

UNTAUGHT = ("ce", "label_smoothing")
"""Objectives that need no teacher."""


@dataclass(frozen=True)
class Post:
    """What one part of a search took: trainings, their epochs, and device-seconds."""

    name: str
    trainings: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class WarmStart:
    """First points from past searches or proxy teachers, beside what the sampler proposed.

    accuracy: the best of the first points that finished, percent, on validation. epochs: of all
    first points. proposed: student-epochs of proposals until one that finished was as good; None
    where none was, after `tried`. Proposals know the first points: without them they would have
    needed as long or longer.
    """

    accuracy: float
    epochs: int
    proposed: int | None
    tried: int

    def __str__(self) -> str:
        said = f"The first points had {self.accuracy:.2f} % after {self.epochs} student-epochs;"
        if self.proposed is None:
            saved = self.tried - self.epochs
            return f"{said} no proposal had, in {self.tried}" + (
                f": the warm start saved at least {saved}." if saved > 0 else "."
            )
        saved = max(0, self.proposed - self.epochs)
        return (
            f"{said} proposals had that after {self.proposed} of their own: the warm start saved"
            f" {saved or 'none'}."
        )


HEADINGS = ("for", "trainings", "epochs", "{}-seconds", "share", "cost")


@dataclass(frozen=True)
class Account:
    """Sums over a record; seconds are wall time unless said otherwise.

    device: GPU or CPU. posts: where device-seconds went. training_seconds: seconds that students
    spent in epochs, added over trials that ran side by side on `slots` places. overhead: the share
    of search, control and finals, in slot-seconds, in which a slot trained no student: starting
    workers, proposing, journalling, waiting for the last.
    saved_epochs, saved_seconds: that early stopping did not train, at the pace of each student.
    saved_teaching: device-seconds of the teacher that stored signals spared its students; None
    where the teacher ran beside them, or its signals were there before.
    target: percent, on validation, of kd at its published settings; reached after `target_epochs`
    student-epochs by another; None where it did not finish, or nothing reached it.
    warm: what the first points spared; None where none of them finished.
    price: of a device-hour; 0 where none is given.
    """

    device: str
    posts: tuple[Post, ...]
    teacher_seconds: float
    search_seconds: float
    control_seconds: float
    final_seconds: float
    training_seconds: float
    slots: int
    trials: dict[str, int]
    student_epochs: int
    saved_epochs: int
    saved_seconds: float
    saved_teaching: float | None
    target: float | None
    target_epochs: int | None
    warm: WarmStart | None
    price: float

    @property
    def stage_seconds(self) -> float:
        """Wall seconds of search, control and finals."""
        return self.search_seconds + self.control_seconds + self.final_seconds

    @property
    def overhead_seconds(self) -> float:
        """Wall seconds of those stages that were not training, averaged over the slots."""
        return max(0.0, self.stage_seconds - self.training_seconds / self.slots)

    @property
    def headings(self) -> tuple[str, ...]:
        """Of `cells`."""
        return tuple(each.format(self.device) for each in HEADINGS)

    def cells(self) -> list[tuple[str, ...]]:
        """Where the device-seconds went, as text, and their sum."""
        total = sum(post.seconds for post in self.posts)
        whole = Post(
            "together",
            sum(post.trainings for post in self.posts),
            sum(post.epochs for post in self.posts),
            total,
        )
        return [
            (
                post.name,
                str(post.trainings or ""),
                str(post.epochs or ""),
                f"{post.seconds:.1f}",
                f"{post.seconds / total:.0%}" if total else "",
                f"{self._cost(post.seconds):.2f}" if self.price else "",
            )
            for post in (*self.posts, whole)
        ]

    def figures(self) -> dict[str, float]:
        """What it cost, by name."""
        names = ("teacher_seconds", "search_seconds", "final_seconds", "student_epochs",
                 "saved_epochs")  # fmt: skip
        return {name: float(getattr(self, name)) for name in names}

    def lines(self) -> list[str]:
        """The account in sentences."""
        counts = ", ".join(f"{count} {status}" for status, count in self.trials.items() if count)
        share = self.overhead_seconds / self.stage_seconds if self.stage_seconds else 0.0
        control = f", control {self.control_seconds:.1f} s" if self.control_seconds else ""
        lines = [
            f"Trials: {counts}. Student-epochs: {self.student_epochs}"
            f" ({self.saved_epochs} saved by early stopping).",
            f"Teacher {self.teacher_seconds:.1f} s, search {self.search_seconds:.1f} s{control},"
            f" finals {self.final_seconds:.1f} s on {self.slots} slots.",
            f"Of {self.stage_seconds:.1f} s of search and finals, {self.overhead_seconds:.1f} s"
            f" ({share:.0%}) were neither teacher nor student training.",
        ]
        total = sum(post.seconds for post in self.posts)
        if self.price:
            lines.append(
                f"{total / 3600:.2f} {self.device}-hours at {self.price:g} cost"
                f" {self._cost(total):.2f}."
            )
        return lines

    def savings(self) -> list[str]:
        """What was saved, and when the target was met, in sentences."""
        lines = []
        if self.saved_epochs:
            lines.append(
                f"Early stopping saved {self.saved_epochs} student-epochs, about"
                f" {self.saved_seconds:.0f} {self.device}-seconds."
            )
        if self.saved_teaching is not None and self.saved_teaching >= 1:
            lines.append(
                "Stored signals saved the teacher's passes beside every student, about"
                f" {self.saved_teaching:.0f} {self.device}-seconds."
            )
        if self.warm:
            lines.append(str(self.warm))
        if self.target is not None and self.target_epochs is not None:
            lines.append(
                f"kd at its published settings has {self.target:.2f} % on validation; another"
                f" student first reached that after {self.target_epochs} student-epochs."
            )
        elif self.target is not None:
            lines.append(
                f"kd at its published settings has {self.target:.2f} % on validation; no other"
                " student of the search reached that."
            )
        return lines

    def _cost(self, seconds: float) -> float:
        return seconds / 3600 * self.price


def account(record: Record, price: float = 0.0) -> Account:
    """The account of a record, over all its sittings; `price` is of a device-hour."""
    students = record.searched + record.of_kind("final")
    trials = record.of_kind("trial")
    statuses = [trial.status for trial in trials]
    epochs = record.header["study"]["recipe"]["epochs"]
    pruned = [trial for trial in record.searched if trial.status == "pruned"]
    shares = record.header.get("shares", {})
    trial_share, teacher_share = (shares.get(which, {"cpu": 1}) for which in ("trial", "teacher"))
    share = trial_share.get("gpu") or trial_share["cpu"]
    kd = next((t for t in trials if _is_published_kd(t)), None)
    return Account(
        device="GPU" if trial_share.get("gpu") else "CPU",
        posts=_posts(record, share, teacher_share.get("gpu") or teacher_share["cpu"]),
        teacher_seconds=record.stage_seconds("teacher"),
        search_seconds=record.stage_seconds("search"),
        control_seconds=record.stage_seconds("control"),
        final_seconds=record.stage_seconds("finals"),
        training_seconds=sum(trial.seconds for trial in students),
        slots=record.header["slots"],
        trials={s: statuses.count(s) for s in ("finished", "pruned", "failed", "running")},
        student_epochs=sum(len(trial.epochs) for trial in students),
        saved_epochs=sum(epochs - len(trial.epochs) for trial in pruned),
        saved_seconds=share
        * sum((epochs / len(t.epochs) - 1) * t.seconds for t in pruned if t.epochs),
        saved_teaching=_saved_teaching(record, students),
        target=100 * kd.accuracy if kd else None,
        target_epochs=_reached(trials, kd) if kd else None,
        warm=_warm_start(trials),
        price=price,
    )


def _posts(record: Record, share: float, teacher_share: float) -> tuple[Post, ...]:
    """The parts that took anything, in the order in which they come."""
    trials = record.of_kind("trial")
    parts: dict[str, Sequence[TrialRecord]] = {
        "search, finished": [t for t in trials if t.status == "finished"],
        "search, stopped early": [t for t in trials if t.status == "pruned"],
        "search, failed": [t for t in trials if t.status == "failed"],
        "control": record.of_kind("control"),
        "finals": record.of_kind("final"),
    }
    posts = [_post("teacher", record.of_kind("teacher"), teacher_share)]
    made = sum(event["seconds"] for event in record.signals)
    posts.append(Post("signals", 0, 0, teacher_share * made))
    posts += [_post(name, part, share) for name, part in parts.items()]
    return tuple(post for post in posts if post.trainings or post.seconds)


def _post(name: str, trials: Sequence[TrialRecord], share: float) -> Post:
    epochs, seconds = sum(len(t.epochs) for t in trials), sum(t.seconds for t in trials)
    return Post(name, len(trials), epochs, share * seconds)


def _saved_teaching(record: Record, students: Sequence[TrialRecord]) -> float | None:
    """A pass of the teacher per epoch of its students, less those that made the signals."""
    if record.header["study"].get("signals") != "stored" or not record.signals:
        return None
    passes = sum(len(t.epochs) for t in students if t.family not in UNTAUGHT)
    seconds = [float(event["seconds"] * event["share"]) for event in record.signals]
    return max(0.0, passes * median(seconds) - sum(seconds))


def _is_published_kd(trial: TrialRecord) -> bool:
    return (trial.family, trial.origin, trial.status) == ("kd", "published", "finished")


def _warm_start(trials: Sequence[TrialRecord]) -> WarmStart | None:
    first = [t for t in trials if t.origin in ("principled", "warm")]
    if not (finished := [t.accuracy for t in first if t.status == "finished"]):
        return None
    best, spent, reached = max(finished), 0, None
    for trial in by_end(t for t in trials if t.origin == "proposed"):
        spent += len(trial.epochs)
        if reached is None and trial.status == "finished" and trial.accuracy >= best:
            reached = spent
    return WarmStart(100 * best, sum(len(t.epochs) for t in first), reached, spent)


def _reached(trials: Sequence[TrialRecord], kd: TrialRecord) -> int | None:
    """Student-epochs until another finished student was as good, in the order of their ends."""
    spent = 0
    for trial in by_end(trials):
        spent += len(trial.epochs)
        if trial is not kd and trial.status == "finished" and trial.accuracy >= kd.accuracy:
            return spent
    return None
