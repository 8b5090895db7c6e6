"""Search spaces: trees with distributions at their leaves, drawn flat and assembled back."""

from kdsearch.spaces.distributions import Integer, LogUniform, Uniform
from kdsearch.spaces.space import Dimension, Point, Space

__all__ = ["Dimension", "Integer", "LogUniform", "Point", "Space", "Uniform"]
