"""A range gives what it says: both ends exactly, nothing beyond, and no end that is no number."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdsearch.errors import SettingError
from kdsearch.spaces import Integer, LogUniform, Uniform

NAN, INFINITE = float("nan"), float("inf")
WORDS = {"uniform": Uniform, "log_uniform": LogUniform, "integer": Integer}

quickly = settings(deadline=None, max_examples=100)


def _ends(numbers):
    return st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)


finite = st.floats(allow_nan=False, allow_infinity=False)
ends_of = {
    "uniform": _ends(finite | st.integers(-9, 9)),
    "log_uniform": _ends(st.floats(min_value=1e-300, allow_infinity=False)),
    "integer": _ends(st.integers(-(10**15), 10**15)),
}
ranges = st.sampled_from(list(WORDS)).flatmap(lambda w: st.tuples(st.just(w), ends_of[w]))

NUMBERS = "takes two numbers [low, high], but got"
NEITHER = ([True, 2], [0, NAN], [1, INFINITE], ["1", 2], [1], [1, 2, 3], [], 3, "12", None, {})
ENDS = [
    *((word, ends, f"{word} {NUMBERS} {ends!r}.") for word in WORDS for ends in NEITHER),
    *((word, [1, 10**400], f"{word} {NUMBERS} {[1, 10**400]}.") for word in WORDS),
    *((word, [2, 1], f"low < high must hold, but got {word}: [2, 1].") for word in WORDS),
    *((word, [2, 2], f"low < high must hold, but got {word}: [2, 2].") for word in WORDS),
    ("log_uniform", [0, 1], "0 < low must hold, but got log_uniform: [0, 1]."),
    ("log_uniform", [-1.5, 1], "0 < low must hold, but got log_uniform: [-1.5, 1]."),
    ("integer", [1, 2.0], "integer takes two whole numbers [low, high], but got [1, 2.0]."),
    ("integer", [0.5, 2], "integer takes two whole numbers [low, high], but got [0.5, 2]."),
]


@pytest.mark.parametrize(("word", "ends", "message"), ENDS)
def test_ends_that_are_no_range(word, ends, message):
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        WORDS[word](ends)


@quickly
@example(("uniform", [-0.1, 0.2]))
@example(("uniform", [-1.7e308, 1.7e308]))
@given(ranges)
def test_at_is_exact_at_both_ends_and_rises_between_them(drawn):
    word, ends = drawn
    range_ = WORDS[word](ends)
    values = [range_.at(i / 16) for i in range(17)]
    assert [values[0], values[-1]] == ends
    assert all(map(range_.contains, values))
    slack = 0 if word == "integer" else 1e-12 * max(map(abs, ends))
    assert all(one <= next_ + slack for one, next_ in pairwise(values))


@quickly
@given(st.integers(-50, 50), st.integers(2, 50))
def test_whole_numbers_have_equal_shares(low, count):
    range_ = Integer([low, low + count - 1])
    assert [range_.at((i + 0.5) / count) for i in range(count)] == [*range(low, low + count)]


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        (Uniform([0, 2]), [0, 2, 1.5, 1], [-0.1, 2.1, True, "1", None, NAN, [1]]),
        (LogUniform([1, 2]), [1, 2.0, 1.5], [0.99, 2.1, True, INFINITE]),
        (Integer([0, 2]), [0, 1, 2], [-1, 3, 1.0, 1.5, True, "1"]),
    ],
)
def test_what_a_range_contains(range_, inside, outside):
    assert [value for value in [*inside, *outside] if range_.contains(value)] == inside


def test_ranges_are_values():
    assert {Uniform([0, 1]), Uniform([0.0, 1.0]), Integer([0, 1])} == {
        Uniform([0, 1]),
        Integer([0, 1]),
    }
    assert repr(LogUniform([0.001, 30])) == "log_uniform: [0.001, 30]"
