"""A space is a tree: whatever is drawn from it can be found in it again.

Random trees of mappings, lists, scalars, ranges and choices are drawn from at random; what a draw
owes is asserted of all of them. Mistakes and counts are tables.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.errors import Problem, StudyError
from kdsearch.spaces import Space

WORDS = ("uniform", "log_uniform", "integer")

quickly = settings(deadline=None, max_examples=100)
keys = st.sampled_from(["name", "kind", "x", "y", "z"])
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["x", "y", "kd", 0.5])
moderate = st.floats(-1e6, 1e6) | st.integers(-100, 100)


def _ends(numbers):
    return st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)


ranges = (
    st.fixed_dictionaries({"uniform": _ends(moderate)})
    | st.fixed_dictionaries({"log_uniform": _ends(st.floats(1e-6, 1e6))})
    | st.fixed_dictionaries({"integer": _ends(st.integers(-100, 100))})
)


def _named(options):
    """Options that cannot be mistaken for one another: each has a name of its own."""
    return [{**option, "name": f"option{i}"} for i, option in enumerate(options)]


def _grown(inner, distinct=False):
    mappings = st.dictionaries(keys, inner, max_size=3)
    options = st.lists(mappings if distinct else inner, min_size=1, max_size=3)
    choices = st.fixed_dictionaries({"choice": options.map(_named) if distinct else options})
    return mappings | st.lists(inner, max_size=3) | choices


trees = st.recursive(scalars | ranges, _grown, max_leaves=12)
distinct = st.recursive(scalars | ranges, lambda inner: _grown(inner, True), max_leaves=12)


def _drawn(space, seed):
    """A random draw: its mapping and its point; each value is in its dimension, asked once."""
    chance, point = random.Random(seed), {}

    def draw(path, dimension):
        assert path not in point
        assert dimension == space.dimensions()[path]
        if isinstance(dimension, tuple):
            point[path] = chance.choice(dimension)
        else:
            point[path] = dimension.at(chance.random())
            assert dimension.contains(point[path])
        return point[path]

    return space.assemble(draw), point


def _distributions(tree):
    """How many distributions a tree is written with."""
    if isinstance(tree, list):
        return sum(map(_distributions, tree))
    if not isinstance(tree, dict):
        return 0
    if set(tree) & set(WORDS):
        return 1
    return ("choice" in tree) + sum(map(_distributions, tree.values()))


@quickly
@given(trees, st.integers(0, 99))
def test_a_point_assembles_to_what_was_drawn_and_is_found_again(tree, seed):
    space = Space(tree)
    mapping, point = _drawn(space, seed)
    assert space.assemble(point) == mapping
    found = space.locate(mapping)
    assert found is not None
    assert space.assemble(found) == mapping


@quickly
@given(distinct, st.integers(0, 99))
def test_a_mapping_that_names_its_options_is_found_at_the_very_point(tree, seed):
    space = Space(tree)
    mapping, point = _drawn(space, seed)
    assert space.locate(mapping) == point


@quickly
@given(trees)
def test_dimensions_are_all_distributions_each_at_a_path_of_its_own(tree):
    assert len(Space(tree).dimensions()) == _distributions(tree)


@quickly
@given(trees, st.integers(0, 99))
def test_a_point_holds_what_its_options_hold_and_nothing_of_the_others(tree, seed):
    space = Space(tree)
    _, point = _drawn(space, seed)
    for path in space.dimensions():
        inside = [
            point.get(choice) == label
            for choice, labels in space.dimensions().items()
            if isinstance(labels, tuple)
            for label in labels
            for start in [f"{choice}.{label}".lstrip(".")]
            if path != choice and (path == start or path.startswith(f"{start}."))
        ]
        assert (path in point) == all(inside)


@quickly
@given(trees)
def test_corners_visit_both_ends_and_every_option(tree):
    space = Space(tree)
    corners = list(space.corners())
    for path, dimension in space.dimensions().items():
        visited = {corner[path] for corner in corners if path in corner}
        if isinstance(dimension, tuple):
            assert visited == set(dimension)
        else:
            assert visited >= {dimension.at(0.0), dimension.at(1.0)}
    assert all(space.locate(space.assemble(corner)) is not None for corner in corners)


U, L, I9 = {"uniform": [0, 1]}, {"log_uniform": [1, 100]}, {"integer": [1, 2]}


@pytest.mark.parametrize(
    ("tree", "levels", "count"),
    [
        ({}, 3, 1),
        ({"a": 1, "b": [2, "three"]}, 3, 1),
        (U, 3, 3),
        (U, 1, 1),
        (I9, 5, 2),
        ({"a": U, "b": L}, 3, 9),
        ([U, L, I9], 4, 32),
        ({"choice": ["a", "b", "c"]}, 3, 3),
        ({"choice": [{"name": "ce"}, {"name": "kd", "t": L, "lam": U}]}, 3, 10),
        ({"a": {"choice": [{"x": U}, {"choice": [1, 2]}]}, "b": I9}, 3, 10),
    ],
)
def test_the_size_of_a_grid(tree, levels, count):
    points = [tuple(point.items()) for point in Space(tree).grid(levels)]
    assert (len(points), len(set(points))) == (count, count)


def test_the_points_of_a_grid():
    points = {word: [p[""] for p in Space({word: [1, 9]}).grid(3)] for word in WORDS}
    assert points == {"uniform": [1, 5, 9], "log_uniform": [1, 3, 9], "integer": [1, 5, 9]}
    assert [p[""] for p in Space(U).grid(1)] == [0.5]


NAMED = {"choice": [{"t": U, "name": "a"}, {"t": U, "name": "b"}]}


@pytest.mark.parametrize(
    ("tree", "mapping", "point"),
    [
        (NAMED, {"name": "b", "t": 0.5}, {"": "b", "b.t": 0.5}),
        (NAMED, {"name": "b", "t": 1.5}, None),
        (NAMED, {"name": "c", "t": 0.5}, None),
        ({"choice": [1, True]}, True, {"": "True"}),
        ({"a": 4, "b": [I9]}, {"a": 4.0, "b": (2,)}, {"b.0": 2}),
        ({"a": 4, "b": [I9]}, {"a": 4, "b": [2, 2]}, None),
        ({"a": 4, "b": [I9]}, {"a": 4}, None),
        ({"a": U}, {"a": 1, "b": 2}, None),
        ({"a": U}, {"a": "high"}, None),
        ({"a": U}, [0.5], None),
    ],
)
def test_a_mapping_is_found_where_it_lies_and_nowhere_else(tree, mapping, point):
    assert Space(tree).locate(mapping) == point


EXACTLY = "a distribution has exactly one key of uniform, log_uniform, integer, choice,"
WRONG = [
    ({"uniform": [0, 1], "to": 3}, "", f"{EXACTLY} but got the keys uniform, to."),
    ({"choice": [1], "uniform": [0, 1]}, "", f"{EXACTLY} but got the keys choice, uniform."),
    ({"choice": []}, "", "choice takes a list of at least one option, but got []."),
    ({"choice": "ab"}, "", "choice takes a list of at least one option, but got 'ab'."),
    ({"choice": {"a": 1}}, "", "choice takes a list of at least one option, but got {'a': 1}."),
    ({"uniform": [1, 0]}, "", "low < high must hold, but got uniform: [1, 0]."),
    ([0, {"integer": [1]}], ".1", "integer takes two numbers [low, high], but got [1]."),
    ({"t": {"uniform": None}}, ".t", "uniform takes two numbers [low, high], but got None."),
    (
        {"choice": [1, {"name": "kd", "t": {"log_uniform": [0, 1]}}]},
        ".kd.t",
        "0 < low must hold, but got log_uniform: [0, 1].",
    ),
    ({"choice": [{"uniform": 3}]}, ".0", "uniform takes two numbers [low, high], but got 3."),
]


@pytest.mark.parametrize(("tree", "place", "message"), WRONG)
def test_a_malformed_distribution_is_told_at_its_place(tree, place, message):
    with pytest.raises(StudyError) as caught:
        Space(tree, source="file")
    assert caught.value.problems == (Problem(f"file{place}", message),)
    assert str(caught.value) == f"file has 1 mistake:\n  file{place}: {message}"


@quickly
@given(st.lists(st.tuples(trees, st.sampled_from(WRONG)), min_size=2, max_size=5))
def test_all_mistakes_are_told_together_in_the_order_of_the_tree(parts):
    tree = {f"part{i}": {"good": good, "bad": bad} for i, (good, (bad, _, _)) in enumerate(parts)}
    with pytest.raises(StudyError, match=rf"^space has {len(parts)} mistakes:") as caught:
        Space(tree)
    assert caught.value.problems == tuple(
        Problem(f"space.part{i}.bad{place}", message)
        for i, (_, (_, place, message)) in enumerate(parts)
    )


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ([1, 0.5, None, True, "x"], ("1", "0.5", "None", "True", "x")),
        ([{"name": "kd"}, {"kind": "mse"}, {"x": 1}, [2]], ("kd", "mse", "2", "3")),
        ([{"name": "kd"}, "x", {"name": "kd", "x": 1}], ("kd-1", "x", "kd-2")),
        (["a", "a", "a-1"], None),
    ],
)
def test_every_option_has_a_label_of_its_own(options, labels):
    (found,) = Space({"choice": options}).dimensions().values()
    assert len(set(found)) == len(options)
    assert labels in (None, found)


def test_two_dimensions_at_one_path_are_refused():
    with pytest.raises(StudyError, match=r"space\.a\.b: "):
        Space({"a.b": U, "a": {"b": L}})
