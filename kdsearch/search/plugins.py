"""From a study's names to the sampler and the scheduler that they stand for."""

import inspect
from typing import Any

from optuna.samplers import BaseSampler
from ray.tune.schedulers import TrialScheduler

from kdsearch import catalogue
from kdsearch.errors import SettingError
from kdsearch.search.mistakes import ALGORITHMS, SCHEDULERS
from kdsearch.search.searcher import METRIC
from kdsearch.search.study import Named, Study


def sampler_for(study: Study) -> BaseSampler:
    """A fresh sampler of the study's algorithm, seeded by the study.

    Raises:
        SettingError: a setting has an impossible value.
    """
    sampler: BaseSampler = _build(
        ALGORITHMS, study.search.algorithm, space=study.parsed_space, seed=study.search.seed
    )
    return sampler


def scheduler_for(study: Study) -> TrialScheduler:
    """A fresh scheduler of the study. Errors as `sampler_for`."""
    scheduler: TrialScheduler = _build(
        SCHEDULERS, study.search.scheduler, metric=METRIC, recipe=study.recipe
    )
    return scheduler


def _build(folder: str, plugin: Named, **given: Any) -> Any:
    build = catalogue.load(folder, plugin.name).build
    for name, parameter in inspect.signature(build).parameters.items():
        wanted, came = type(parameter.default), plugin.settings.get(name, parameter.default)
        if not isinstance(came, (int, float) if wanted is float else wanted):
            law = f"{name} must be like its default {parameter.default!r}"
            raise SettingError(f"{plugin.name!r}: {law}, but got {came!r}.")
    try:
        return build(**given, **plugin.settings)
    except (TypeError, ValueError, AssertionError) as error:
        raise SettingError(
            f"{plugin.name!r} cannot be set up with {plugin.settings}: {error}."
        ) from None
