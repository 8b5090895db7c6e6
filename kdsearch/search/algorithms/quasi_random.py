"""Quasi-random search: a scrambled Sobol sequence over all dimensions, active or not.

Covers the space more evenly than random search. Every dimension of every branch has its own
coordinate, which Optuna's own sampler cannot give to conditional dimensions.
"""

from collections.abc import Callable, Iterator
from typing import Any

from optuna.samplers import BaseSampler

from kdsearch.search.algorithms._pointwise import PointwiseSampler
from kdsearch.spaces import Space


def build(space: Space, seed: int) -> BaseSampler:
    return PointwiseSampler(space, _sobol(space, seed))


def _sobol(space: Space, seed: int) -> Iterator[Callable[[str], Any]]:
    from scipy.stats import qmc  # takes most of a second to import

    dimensions = space.dimensions()
    columns = {path: column for column, path in enumerate(dimensions)}
    sequence = qmc.Sobol(d=max(1, len(dimensions)), seed=seed)

    def answers(row: Any) -> Callable[[str], Any]:
        def answer(path: str) -> Any:
            share, dimension = float(row[columns[path]]), dimensions[path]
            if isinstance(dimension, tuple):
                return dimension[min(int(share * len(dimension)), len(dimension) - 1)]
            return dimension.at(share)

        return answer

    while True:
        # Powers of two keep the sequence balanced.
        yield from map(answers, sequence.random(64))
