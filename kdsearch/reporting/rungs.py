"""Were the rungs fair? Asked of a finished search, from its own curves, at no cost.

At each rung: how well the accuracy there foretold the final one, whether the best student would
have gone on had all been there first, and how many passed only because they came early. Then other
rungs, replayed on the same curves in the order in which they came. A curve that early stopping cut
short cannot be followed beyond its end: the students for which that matters are counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from kdsearch import halving
from kdsearch.tracking import Record, TrialRecord

FACTORS = (2, 3, 4)


@dataclass(frozen=True)
class Rung:
    """One rung as it was.

    met: students that reached it. stopped: of them, there. lenient: went on although weaker than
    the best 1/factor of all that met it, because better ones came later. correlation: Spearman's
    rank correlation of the accuracy there with the final one, over the `finished` students, which
    are the survivors: it is of a narrow range; None of fewer than three. place: of the best
    finished student at this rung, 1 is the first. kept: whether it is among the best 1/factor.
    """

    epoch: int
    met: int
    stopped: int
    lenient: int
    correlation: float | None
    finished: int
    place: int
    kept: bool

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of `RUNG_HEADINGS`."""
        correlation = "" if self.correlation is None else f"{self.correlation:+.2f}"
        return (
            str(self.epoch),
            str(self.met),
            str(self.stopped),
            str(self.lenient),
            f"{correlation} (n = {self.finished})" if correlation else "",
            str(self.place),
            "goes on" if self.kept else "is stopped",
        )


RUNG_HEADINGS = (
    "after epoch", "met", "stopped", "passed early", "rank correlation with the end",
    "place of the best", "the best, had it come last",
)  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """What other rungs would have done with the same students.

    epochs: student-epochs spent, at least. kept: of the `finished` students, those that would have
    finished again. lost: percentage points of validation accuracy from the best student to the best
    of those kept; None where none is. unknown: students that would have gone on beyond the end of
    their curve.
    """

    rungs: tuple[int, ...]
    factor: float
    epochs: int
    kept: int
    finished: int
    lost: float | None
    unknown: int

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of `REPLAY_HEADINGS`."""
        return (
            ", ".join(map(str, self.rungs)) or "none",
            f"1/{self.factor:g}" if self.rungs else "all",
            f"{'at least ' if self.unknown else ''}{self.epochs}",
            f"{self.kept} of {self.finished}",
            "all" if self.lost is None else f"{self.lost:.2f}",
            str(self.unknown),
        )


REPLAY_HEADINGS = (
    "rungs", "go on", "student-epochs", "finished again", "points lost", "not known",
)  # fmt: skip


REPLAY_NOTE = (
    "The search's own rungs come first. All are replayed on the same curves, in the order in which"
    " they came; an early stopped student that other rungs would have let go on is not known beyond"
    " its end. Points are of validation accuracy, of one seed."
)


class Curves:
    """The search's curves of a record: (epoch, accuracy) of each student, while it was finite."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._students = {t.id: t for t in record.of_kind("trial") if t.status != "running"}

    @cached_property
    def observed(self) -> list[tuple[str, int, float]]:
        """(student, epoch, accuracy) in the order in which they came."""
        events = [e for t in self._students.values() for e in t.epochs if _finite(e)]
        by_time = sorted(events, key=lambda event: event["time"])
        return [(e["id"], e["epoch"], float(e["accuracy"])) for e in by_time]

    @cached_property
    def finished(self) -> list[TrialRecord]:
        """The students that came to their last epoch, the best first."""
        done = [t for t in self._students.values() if t.status == "finished"]
        return sorted(done, key=lambda t: (-t.accuracy, t.loss))

    def rungs(self) -> list[Rung]:
        """The rungs of the search as they were; none where it had none, or nobody finished."""
        said = self._record.facts.get("rungs")
        if not said or not self.finished:
            return []
        factor, found = said["factor"], []
        for epoch in said["epochs"]:
            there = {name: value for name, at, value in self.observed if at == epoch}
            least = halving.cutoff(there.values(), factor)
            stopped = {
                name
                for name in there
                if self._students[name].status == "pruned"
                and len(self._students[name].epochs) == epoch
            }
            lenient = [n for n in there if n not in stopped and there[n] < least]
            survivors = [t for t in self.finished if t.id in there]
            best = there[survivors[0].id]
            found.append(
                Rung(
                    epoch=epoch,
                    met=len(there),
                    stopped=len(stopped),
                    lenient=len(lenient),
                    correlation=_spearman([(there[t.id], t.accuracy) for t in survivors]),
                    finished=len(survivors),
                    place=1 + sum(value > best for value in there.values()),
                    kept=best >= least,
                )
            )
        return found

    def replay(self, rungs: tuple[int, ...], factor: float) -> Replay:
        """What rungs and a factor would have done with these students."""
        stops = halving.stops(self.observed, rungs, factor)
        spent = {name: min(stops.get(name, len(t.epochs)), len(t.epochs))
                 for name, t in self._students.items()}  # fmt: skip
        kept = [t for t in self.finished if t.id not in stops]
        cut = [t for t in self._students.values() if t.status == "pruned" and t.id not in stops]
        lost = 100 * (self.finished[0].accuracy - kept[0].accuracy) if kept else None
        return Replay(
            rungs, factor, sum(spent.values()), len(kept), len(self.finished), lost, len(cut)
        )

    def replays(self) -> list[Replay]:
        """The search's own rungs first, then none, then others, the cheapest first.

        First rungs are the powers of two below half of the epochs; rungs after a late drop of the
        learning rate are the scheduler's affair and left out.
        """
        if not self.finished:
            return []
        epochs = self._record.header["study"]["recipe"]["epochs"]
        said = self._record.facts.get("rungs")
        own = [(tuple(said["epochs"]), said["factor"])] if said else []
        graces = [2**power for power in range(epochs.bit_length()) if 2 ** (power + 1) <= epochs]
        others = [(halving.rungs(epochs, g, f), f) for g in graces for f in FACTORS]
        tried = [self.replay(*each) for each in others if each not in own]
        return [
            *(self.replay(*each) for each in [*own, ((), 1)]),
            *sorted(tried, key=lambda replay: (replay.epochs, replay.kept)),
        ]

    def sentences(self) -> list[str]:
        """What the rungs did to the best student, and what that says."""
        rungs = self.rungs()
        if not rungs:
            return []
        unfair = [rung for rung in rungs if not rung.kept]
        early = sum(rung.lenient for rung in rungs)
        first = (
            "The best student passes every rung whenever it comes."
            if not unfair
            else "The best student went on only because it came early: at the rung after epoch"
            f" {unfair[0].epoch} it is number {unfair[0].place} of {unfair[0].met}."
        )
        passed = f"{early} passed a rung before better ones had come."
        return [first, passed, "What stopped students would have become, nobody knows."]


def _finite(epoch: dict[str, object]) -> bool:
    return epoch.get("train_loss") is not None


def _spearman(pairs: Iterable[tuple[float, float]]) -> float | None:
    here, end = zip(*pairs, strict=True)
    if len(here) < 3 or len(set(here)) == 1 or len(set(end)) == 1:
        return None
    from scipy import stats  # takes most of a second to import

    return float(stats.spearmanr(here, end).statistic)
