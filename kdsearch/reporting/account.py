"""The account: what a search cost, and how much of it was training."""

from dataclasses import dataclass

from kdsearch.tracking import Record


@dataclass(frozen=True)
class Account:
    """Sums over a record; seconds are wall time unless said otherwise.

    training_seconds: seconds that students spent in epochs, added over trials that ran side by
    side on `slots` places. overhead: the share of search and finals, in slot-seconds, in which a
    slot trained no student: starting workers, proposing, journalling, waiting for the last.
    saved_epochs: epochs that early stopping did not train.
    """

    teacher_seconds: float
    search_seconds: float
    final_seconds: float
    training_seconds: float
    slots: int
    trials: dict[str, int]
    student_epochs: int
    saved_epochs: int

    @property
    def stage_seconds(self) -> float:
        """Wall seconds of search and finals."""
        return self.search_seconds + self.final_seconds

    @property
    def overhead_seconds(self) -> float:
        """Wall seconds of search and finals that were not training, averaged over the slots."""
        return max(0.0, self.stage_seconds - self.training_seconds / self.slots)

    def lines(self) -> list[str]:
        """The account in sentences."""
        counts = ", ".join(f"{count} {status}" for status, count in self.trials.items() if count)
        share = self.overhead_seconds / self.stage_seconds if self.stage_seconds else 0.0
        return [
            f"Trials: {counts}. Student-epochs: {self.student_epochs}"
            f" ({self.saved_epochs} saved by early stopping).",
            f"Teacher {self.teacher_seconds:.1f} s, search {self.search_seconds:.1f} s,"
            f" finals {self.final_seconds:.1f} s on {self.slots} slots.",
            f"Of {self.stage_seconds:.1f} s of search and finals, {self.overhead_seconds:.1f} s"
            f" ({share:.0%}) were neither teacher nor student training.",
        ]


def account(record: Record) -> Account:
    """The account of a record, over all its sittings."""
    students = record.of_kind("trial") + record.of_kind("final")
    statuses = [trial.status for trial in record.of_kind("trial")]
    epochs = record.header["study"]["recipe"]["epochs"]
    pruned = [trial for trial in record.of_kind("trial") if trial.status == "pruned"]
    return Account(
        teacher_seconds=record.stage_seconds("teacher"),
        search_seconds=record.stage_seconds("search"),
        final_seconds=record.stage_seconds("finals"),
        training_seconds=sum(trial.seconds for trial in students),
        slots=record.header["slots"],
        trials={s: statuses.count(s) for s in ("finished", "pruned", "failed", "running")},
        student_epochs=sum(len(trial.epochs) for trial in students),
        saved_epochs=sum(epochs - len(trial.epochs) for trial in pruned),
    )
