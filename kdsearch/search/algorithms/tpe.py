"""Tree-structured Parzen estimator: models good and bad points, branch by branch of the space.

Bergstra et al., NeurIPS 2011; multivariate form: Falkner et al., ICML 2018. `group` models the
dimensions of each branch jointly; `constant_liar` spreads the proposals of parallel trials.
`history` bounds how many ended trials are modelled, the best and the latest, so that a proposal
costs the same after 5,000 trials as after 500.
"""

import heapq
import warnings
from collections.abc import Container
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from kdsearch.spaces import Space

_BEST = 25
"""As many as TPE holds for good at most (Optuna's default gamma)."""


def build(
    space: Space,
    seed: int,
    startup_trials: int = 10,
    multivariate: bool = True,
    group: bool = True,
    constant_liar: bool = True,
    history: int = 300,
) -> BaseSampler:
    if history < 2 * _BEST:
        raise ValueError(f"history >= {2 * _BEST} must hold, but got {history}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _Bounded(
            history,
            seed=seed,
            n_startup_trials=startup_trials,
            multivariate=multivariate,
            group=group,
            constant_liar=constant_liar,
        )


class _Bounded(TPESampler):  # type: ignore[misc]
    """TPE of a window of trials, which is drawn up once per proposal."""

    def __init__(self, history: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._history = history
        self._seen: tuple[int, _Window] | None = None

    def _window(self, study: optuna.Study, trial: FrozenTrial) -> "_Window":
        if self._seen is None or self._seen[0] != trial.number:
            self._seen = trial.number, _Window(study, self._history)
        return self._seen[1]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        found: dict[str, BaseDistribution] = super().infer_relative_search_space(
            self._window(study, trial), trial
        )
        return found

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn: dict[str, Any] = super().sample_relative(
            self._window(study, trial), trial, search_space
        )
        return drawn

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        window = self._window(study, trial)
        return super().sample_independent(window, trial, param_name, param_distribution)


class _Window:
    """An Optuna study that shows a sampler the best and the latest of its ended trials."""

    def __init__(self, study: optuna.Study, history: int) -> None:
        self._study = study
        trials = study.get_trials(deepcopy=False)
        ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        if len(ended) > history:
            best = heapq.nsmallest(_BEST, ended, key=_merit)
            kept = {trial.number for trial in [*best, *ended[_BEST - history :]]}
            ended = [trial for trial in ended if trial.number in kept]
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        self.trials = sorted([*ended, *running], key=lambda trial: trial.number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, **_: bool
    ) -> list[FrozenTrial]:
        return [trial for trial in self.trials if states is None or trial.state in states]


def _merit(trial: FrozenTrial) -> tuple[float, ...]:
    """Smaller is better, as TPE orders them: finished by value, then pruned by step and value."""
    if trial.state == TrialState.COMPLETE:
        return (0, -trial.value)
    step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return (1, -step, -value)
