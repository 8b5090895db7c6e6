"""Random search: every point drawn afresh, the yardstick for all others."""

from optuna.samplers import BaseSampler, RandomSampler

from kdsearch.spaces import Space


def build(space: Space, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)
