"""Training: one experiment, epoch by epoch."""

from kdsearch.data.part import Part, part
from kdsearch.training.experiment import Experiment, Network
from kdsearch.training.loop import EpochResult, Training, predict
from kdsearch.training.recipe import Recipe

__all__ = ["EpochResult", "Experiment", "Network", "Part", "Recipe", "Training", "part", "predict"]
