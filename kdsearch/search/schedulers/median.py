"""Median stopping: a student whose best epoch is below the median of the others' means is stopped.

Golovin et al., KDD 2017 (Google Vizier), section 3.2.1.
"""

from ray.tune.schedulers import MedianStoppingRule, TrialScheduler

from kdsearch import halving
from kdsearch.training import Recipe


def build(
    metric: str, recipe: Recipe, grace_period: int = 3, min_samples: int = 5
) -> TrialScheduler:
    (first, *_) = halving.rungs(recipe.epochs, grace_period, 2, recipe.warmup)
    return MedianStoppingRule(
        time_attr="training_iteration",
        metric=metric,
        mode="max",
        grace_period=first,
        min_samples_required=min_samples,
        min_time_slice=float("inf"),  # else students take turns, which costs a checkpoint each
    )
