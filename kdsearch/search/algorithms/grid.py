"""Grid: every combination of options, with `levels` values per range; ends when all were tried."""

from optuna.samplers import BaseSampler

from kdsearch.search.algorithms._pointwise import PointwiseSampler
from kdsearch.spaces import Space


def build(space: Space, seed: int, levels: int = 3) -> BaseSampler:
    if levels < 1:
        raise ValueError(f"levels >= 1 must hold, but got {levels}")
    return PointwiseSampler(space, (point.__getitem__ for point in space.grid(levels)))
