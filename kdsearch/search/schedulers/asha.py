"""ASHA: at rungs in epochs, only the best 1/reduction_factor of the students so far go on.

Li et al., MLSys 2020 (arXiv 1810.05934), the stopping variant. The rungs lie grace_period times
powers of reduction_factor epochs after the warm-up; a `step` schedule adds one after its first drop
of the learning rate, unless one lies there anyway. Ray's own scheduler compares as this one does,
but cannot place a rung, and lets students pass whose accuracy is not a number.
"""

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from kdsearch import halving
from kdsearch.training import Recipe


def build(
    metric: str, recipe: Recipe, grace_period: int = 3, reduction_factor: float = 3
) -> TrialScheduler:
    rungs = halving.rungs(
        recipe.epochs, grace_period, reduction_factor, recipe.warmup, recipe.settled
    )
    return Halving(metric, rungs, reduction_factor)


class Halving(FIFOScheduler):  # type: ignore[misc]
    """Stops students at rungs; `met` holds the accuracies of each rung by student, as they came."""

    def __init__(self, metric: str, rungs: tuple[int, ...], factor: float) -> None:
        super().__init__()
        self.rungs, self.factor, self._metric = rungs, factor, metric
        self.met: dict[int, dict[str, float]] = {rung: {} for rung in rungs}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop the student at a rung that it is too weak for; one that comes again has passed."""
        met = self.met.get(result["training_iteration"])
        # One that ran out of memory comes again as another trial.
        student = str(trial.config.get("job", trial.trial_id))
        if met is None or student in met:
            return str(TrialScheduler.CONTINUE)
        value = result[self._metric]
        good = halving.goes_on(value, met.values(), self.factor)
        met[student] = value
        return str(TrialScheduler.CONTINUE if good else TrialScheduler.STOP)
