"""Median stopping: a student whose best epoch is below the median of the others' means is stopped.

Golovin et al., KDD 2017 (Google Vizier), section 3.2.1.
"""

from ray.tune.schedulers import MedianStoppingRule, TrialScheduler


def build(metric: str, epochs: int, grace_period: int = 3, min_samples: int = 5) -> TrialScheduler:
    if not 1 <= grace_period < epochs:
        raise ValueError(f"1 <= grace_period < epochs={epochs} must hold, but got {grace_period}")
    return MedianStoppingRule(
        time_attr="training_iteration",
        metric=metric,
        mode="max",
        grace_period=grace_period,
        min_samples_required=min_samples,
        min_time_slice=float("inf"),  # else students take turns, which costs a checkpoint each
    )
