"""Gaussian process: Bayesian optimisation of the dimensions that all branches share.

Optuna's GPSampler; dimensions that exist in one branch only are drawn at random.
"""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler

from kdsearch.spaces import Space


def build(space: Space, seed: int, startup_trials: int = 10) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return GPSampler(seed=seed, n_startup_trials=startup_trials)
