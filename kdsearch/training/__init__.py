"""Training: one experiment, epoch by epoch."""

from kdsearch.training.experiment import Experiment, Network
from kdsearch.training.loop import EpochResult, Part, Training, part, predict
from kdsearch.training.recipe import Recipe

__all__ = ["EpochResult", "Experiment", "Network", "Part", "Recipe", "Training", "part", "predict"]
