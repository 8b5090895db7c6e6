"""CMA-ES: evolves the numeric dimensions that all branches share.

Optuna's CmaEsSampler (Hansen 2016, arXiv 1604.00772); choices, and dimensions that exist in one
branch only, are drawn at random.
"""

import warnings

from optuna.samplers import BaseSampler, CmaEsSampler

from kdsearch.spaces import Space


def build(space: Space, seed: int, startup_trials: int = 10) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CmaEsSampler(
            seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False
        )
