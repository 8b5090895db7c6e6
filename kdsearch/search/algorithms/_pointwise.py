"""A sampler that takes whole points from a sequence, for algorithms that do not learn."""

from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from kdsearch.spaces import Space

Answer = Callable[[str], Any]
"""The value of one point at a path."""


class PointwiseSampler(BaseSampler):  # type: ignore[misc]
    """Each trial takes the next point; `exhausted` once none is left."""

    def __init__(self, space: Space, points: Iterator[Answer]) -> None:
        self.space = space
        self._points = points
        self._next = next(points, None)
        self._current: Answer | None = None

    @property
    def exhausted(self) -> bool:
        """Whether every point was taken."""
        return self._next is None

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Take the next point, unless the trial's point was fixed by the warm start."""
        if "fixed_params" not in trial.system_attrs:
            self._current, self._next = self._next, next(self._points, None)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The current point's value."""
        if self._current is None:
            raise RuntimeError("no point is left, but another was asked for")
        return self._current(param_name)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Nothing is modelled jointly."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Nothing is modelled jointly."""
        return {}
