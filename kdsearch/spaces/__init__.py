"""Search spaces: trees with distributions at their leaves, drawn flat and assembled back."""

from kdsearch.spaces.distributions import Integer, LogUniform, Uniform
from kdsearch.spaces.space import RESERVED, Dimension, Point, Space

__all__ = ["RESERVED", "Dimension", "Integer", "LogUniform", "Point", "Space", "Uniform"]
