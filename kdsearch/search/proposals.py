"""Proposals: what to try next, over Optuna's ask and tell.

    proposals = Proposals(space, sampler, first=[{"objective": {"name": "ce"}}])
    proposal = proposals.ask()                   # the published points first, then the sampler's
    proposals.report(proposal.number, 1, 0.91)   # epoch by epoch
    proposals.tell(proposal.number, "pruned")    # or "finished", or "failed"

The sampler learns what happened: a student that was stopped early is told as pruned with its
intermediate values, one whose loss was not finite as failed. A first point that the space does not
hold is tried all the same, without the sampler. The same calls in the same order give the same
proposals, which is how an interrupted search is continued: its journal is replayed.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from kdsearch.spaces import Dimension, Integer, LogUniform, Point, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Proposal(NamedTuple):
    """One point to try: its number, the assembled draw, and where it came from.

    point is None where the space does not hold the draw; origin is `published` or `proposed`, and
    who gave the first draws may know better.
    """

    number: int
    drawn: Mapping[str, Any]
    point: Point | None
    origin: str


class Proposals:
    """A sequence of proposals over one space, maximising one value."""

    def __init__(
        self, space: Space, sampler: BaseSampler, first: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self.space = space
        self._sampler = sampler
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._first = list(first)
        self._trials: list[optuna.Trial | None] = []
        self._reported: dict[int, int] = {}

    def ask(self) -> Proposal | None:
        """The next proposal; None once the sampler has no further point."""
        number = len(self._trials)
        if number < len(self._first):
            drawn = self._first[number]
            point = self.space.locate(drawn)
            if point is None:
                self._trials.append(None)
                return Proposal(number, drawn, None, "published")
            self._study.enqueue_trial(point)
            proposal = self._from_sampler(number, "published")
            if proposal.drawn != drawn:
                raise AssertionError(f"the sampler was to try {drawn}, but tries {proposal.drawn}")
            return proposal
        if getattr(self._sampler, "exhausted", False):
            return None
        return self._from_sampler(number, "proposed")

    def _from_sampler(self, number: int, origin: str) -> Proposal:
        trial = self._study.ask()
        self._trials.append(trial)
        point: Point = {}

        def draw(path: str, dimension: Dimension) -> Any:
            point[path] = _suggest(trial, path, dimension)
            return point[path]

        return Proposal(number, self.space.assemble(draw), point, origin)

    def report(self, number: int, epoch: int, value: float) -> None:
        """An intermediate value of a proposal that is under way; a repeated epoch is ignored."""
        trial = self._trials[number]
        if trial and epoch > self._reported.get(number, 0):
            self._reported[number] = epoch
            trial.report(value, epoch)

    def tell(self, number: int, status: str, value: float | None = None) -> None:
        """How a proposal ended: `finished` with its value, `pruned` or `failed`."""
        if trial := self._trials[number]:
            self._study.tell(trial, value if status == "finished" else None, state=_STATES[status])

    @property
    def optuna_trials(self) -> list[optuna.trial.FrozenTrial]:
        """What the sampler was told, for reports."""
        return list(self._study.get_trials(deepcopy=False))


_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def _suggest(trial: optuna.Trial, path: str, dimension: Dimension) -> Any:
    if isinstance(dimension, tuple):
        return trial.suggest_categorical(path, dimension)
    if isinstance(dimension, Integer):
        return trial.suggest_int(path, int(dimension.low), int(dimension.high))
    log = isinstance(dimension, LogUniform)
    return trial.suggest_float(path, dimension.low, dimension.high, log=log)
