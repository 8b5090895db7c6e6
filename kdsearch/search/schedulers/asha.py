"""ASHA: at rungs in epochs, only the best 1/reduction_factor of the students so far go on.

Li et al., MLSys 2020 (arXiv 1810.05934), the stopping variant. The rungs are grace_period times
powers of reduction_factor, below the number of epochs.
"""

from ray.tune.schedulers import ASHAScheduler, TrialScheduler


def build(
    metric: str, epochs: int, grace_period: int = 3, reduction_factor: float = 3
) -> TrialScheduler:
    if not 1 <= grace_period < epochs:
        raise ValueError(f"1 <= grace_period < epochs={epochs} must hold, but got {grace_period}")
    if reduction_factor <= 1:
        raise ValueError(f"reduction_factor > 1 must hold, but got {reduction_factor}")
    return ASHAScheduler(
        time_attr="training_iteration",
        metric=metric,
        mode="max",
        max_t=epochs,
        grace_period=grace_period,
        reduction_factor=reduction_factor,
    )
