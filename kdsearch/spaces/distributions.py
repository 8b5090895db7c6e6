"""Distributions: the four ways a leaf of a study's space can vary.

uniform: [0.0, 1.0]        a float, evenly
log_uniform: [0.001, 0.3]  a float, evenly in its logarithm
integer: [1, 9]            a whole number, both ends included
choice: [0.9, {…}, …]      one of the options; an option may be a whole sub-tree
"""

import math
import sys
from typing import Any

from kdsearch.errors import SettingError


class _Range:
    """Two numbers `low < high`, compared and shown by content."""

    word: str
    low: float
    high: float

    def __init__(self, ends: Any) -> None:
        numbers = isinstance(ends, list | tuple) and len(ends) == 2 and all(map(_number, ends))
        if not numbers:
            raise SettingError(f"{self.word} takes two numbers [low, high], but got {ends!r}.")
        self.low, self.high = ends
        if not self.low < self.high:
            raise SettingError(
                f"low < high must hold, but got {self.word}: [{ends[0]}, {ends[1]}]."
            )

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.word, self.low, self.high))

    def __repr__(self) -> str:
        return f"{self.word}: [{self.low:g}, {self.high:g}]"

    def contains(self, value: Any) -> bool:
        """Whether the range can produce this value."""
        return _number(value) and self.low <= value <= self.high

    def at(self, share: float) -> float | int:
        """The value at a share in [0, 1] of the range's probability mass."""
        # A weighted mean: exact at both ends, and without a difference that could overflow.
        value: float = self.low * (1 - share) + self.high * share
        return min(max(value, self.low), self.high)


class Uniform(_Range):
    """Floats between low and high, evenly."""

    word = "uniform"


class LogUniform(_Range):
    """Floats between low > 0 and high, evenly in their logarithm."""

    word = "log_uniform"

    def __init__(self, ends: Any) -> None:
        super().__init__(ends)
        if self.low <= 0:
            raise SettingError(
                f"0 < low must hold, but got log_uniform: [{self.low}, {self.high}]."
            )

    def at(self, share: float) -> float:
        # A weighted geometric mean: exact at both ends.
        value: float = self.low ** (1 - share) * self.high**share
        return min(max(value, self.low), self.high)


class Integer(_Range):
    """Whole numbers from low to high, both included."""

    word = "integer"

    def __init__(self, ends: Any) -> None:
        super().__init__(ends)
        if not (isinstance(self.low, int) and isinstance(self.high, int)):
            raise SettingError(f"integer takes two whole numbers [low, high], but got {ends!r}.")

    def contains(self, value: Any) -> bool:
        return super().contains(value) and isinstance(value, int)

    def at(self, share: float) -> int:
        return min(int(self.low) + math.floor(share * (self.high - self.low + 1)), int(self.high))


RANGES = {kind.word: kind for kind in (Uniform, LogUniform, Integer)}
Range = Uniform | LogUniform | Integer


def _number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )
