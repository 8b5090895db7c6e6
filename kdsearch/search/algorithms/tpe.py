"""Tree-structured Parzen estimator: models good and bad points, branch by branch of the space.

Bergstra et al., NeurIPS 2011; multivariate form: Falkner et al., ICML 2018. `group` models the
dimensions of each branch jointly; `constant_liar` spreads the proposals of parallel trials.
"""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler

from kdsearch.spaces import Space


def build(
    space: Space,
    seed: int,
    startup_trials: int = 10,
    multivariate: bool = True,
    group: bool = True,
    constant_liar: bool = True,
) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(
            seed=seed,
            n_startup_trials=startup_trials,
            multivariate=multivariate,
            group=group,
            constant_liar=constant_liar,
        )
