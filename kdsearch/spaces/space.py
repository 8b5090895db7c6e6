"""A search space is a tree whose leaves may vary; a draw of it is a plain mapping again.

    objective:
      choice:
        - {name: ce}
        - {name: kd, temperature: {log_uniform: [1, 20]}, lam: {uniform: [0, 1]}}
    recipe: {learning_rate: {log_uniform: [0.01, 0.3]}}

    draw   -> {"objective": "kd", "objective.kd.temperature": 4.2, "objective.kd.lam": 0.8, ...}
    tree   -> {"objective": {"name": "kd", "temperature": 4.2, "lam": 0.8}, "recipe": {...}}

A mapping with exactly one reserved key (`uniform`, `log_uniform`, `integer`, `choice`) is a
distribution and nothing else is. Dimensions below an option exist only where it is chosen, and
their paths carry its label, so a flat searcher can treat them as conditional parameters.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kdsearch.errors import Problem, SettingError, StudyError
from kdsearch.spaces.distributions import RANGES, Range
from kdsearch.values import dotted

RESERVED = (*RANGES, "choice")

Dimension = Range | tuple[str, ...]
"""A range, or the labels of a choice."""

Draw = Callable[[str, Dimension], Any]
"""Answers a dimension: a number of the range, or one of the labels."""

Point = dict[str, Any]
"""A flat draw: {path: number or label}, with the active dimensions only."""


@dataclass(frozen=True)
class _Leaf:
    """A range at a path."""

    path: str
    range: Range


@dataclass(frozen=True)
class _Choice:
    """Labelled options at a path, each a sub-tree of nodes."""

    path: str
    options: dict[str, Any]


class Space:
    """A parsed search space: list its dimensions, draw from it, find a mapping in it."""

    def __init__(self, tree: Any, source: str = "space") -> None:
        """Parse a tree of mappings, lists, scalars and distributions.

        Raises:
            StudyError: every malformed distribution, with its path.
        """
        problems: list[Problem] = []
        self.tree = tree
        self._root = _parse(tree, "", source, problems)
        paths = [path for path, _ in _dimensions(self._root)]
        for path in dict.fromkeys(path for path in paths if paths.count(path) > 1):
            law = "two dimensions must not have the same path"
            problems.append(Problem(dotted(source, path), f"{law}: rename one of the keys."))
        if problems:
            raise StudyError(source, problems)

    def dimensions(self) -> dict[str, Dimension]:
        """Every dimension of every branch, in the order of the file."""
        return dict(_dimensions(self._root))

    def assemble(self, draw: Draw | Point) -> Any:
        """The mapping that a draw stands for; asks the dimensions that are active, in order."""
        return _assemble(
            self._root, (lambda path, _: draw[path]) if isinstance(draw, dict) else draw
        )

    def locate(self, mapping: Any) -> Point | None:
        """The point whose assembled mapping equals this one; None where the space has none."""
        point: Point = {}
        return point if _locate(self._root, mapping, point) else None

    def corners(self) -> Iterator[Point]:
        """Points that visit both ends of every range and every option at least once."""
        yield from _corners(self._root)

    def grid(self, levels: int) -> Iterator[Point]:
        """Every option crossed with `levels` values per range, fewer where a range has fewer."""
        yield from _grid(self._root, levels)


def _parse(tree: Any, path: str, source: str, problems: list[Problem]) -> Any:
    if isinstance(tree, Mapping):
        reserved = [key for key in tree if key in RESERVED]
        if not reserved:
            return {
                key: _parse(value, dotted(path, str(key)), source, problems)
                for key, value in tree.items()
            }
        if len(tree) > 1:
            law = f"a distribution has exactly one key of {', '.join(RESERVED)}"
            came = f"but got the keys {', '.join(map(str, tree))}"
            problems.append(Problem(dotted(source, path), f"{law}, {came}."))
            return None
        word, content = next(iter(tree.items()))
        if word == "choice":
            return _parse_choice(content, path, source, problems)
        try:
            return _Leaf(path, RANGES[word](content))
        except SettingError as error:
            problems.append(Problem(dotted(source, path), str(error)))
            return None
    if isinstance(tree, list | tuple):
        return [_parse(v, dotted(path, str(i)), source, problems) for i, v in enumerate(tree)]
    return tree


def _parse_choice(content: Any, path: str, source: str, problems: list[Problem]) -> _Choice | None:
    if not isinstance(content, list | tuple) or not content:
        message = f"choice takes a list of at least one option, but got {content!r}."
        problems.append(Problem(dotted(source, path), message))
        return None
    labels = [_label(option, index) for index, option in enumerate(content)]
    while len(set(labels)) < len(labels):
        labels = [
            label if labels.count(label) == 1 else f"{label}-{labels[:index].count(label) + 1}"
            for index, label in enumerate(labels)
        ]
    options = {
        label: _parse(option, dotted(path, label), source, problems)
        for label, option in zip(labels, content, strict=True)
    }
    return _Choice(path, options)


def _label(option: Any, index: int) -> str:
    """What an option is called in paths: its name or kind, the scalar itself, or its position."""
    if isinstance(option, Mapping):
        name = option.get("name", option.get("kind"))
        return name if isinstance(name, str) else str(index)
    return str(index) if isinstance(option, list | tuple) else str(option)


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


def _dimensions(node: Any) -> Iterator[tuple[str, Dimension]]:
    if isinstance(node, _Leaf):
        yield node.path, node.range
    elif isinstance(node, _Choice):
        yield node.path, tuple(node.options)
        for option in node.options.values():
            yield from _dimensions(option)
    for child in _children(node):
        yield from _dimensions(child)


def _assemble(node: Any, draw: Draw) -> Any:
    if isinstance(node, _Leaf):
        return draw(node.path, node.range)
    if isinstance(node, _Choice):
        return _assemble(node.options[draw(node.path, tuple(node.options))], draw)
    if isinstance(node, dict):
        return {key: _assemble(child, draw) for key, child in node.items()}
    if isinstance(node, list):
        return [_assemble(child, draw) for child in node]
    return node


def _locate(node: Any, target: Any, point: Point) -> bool:
    if isinstance(node, _Leaf):
        point[node.path] = target
        return node.range.contains(target)
    if isinstance(node, _Choice):
        for label, option in node.options.items():
            below: Point = {}
            if _locate(option, target, below):
                point |= {node.path: label} | below
                return True
        return False
    if isinstance(node, dict):
        same = isinstance(target, Mapping) and node.keys() == target.keys()
        return same and all(_locate(child, target[key], point) for key, child in node.items())
    if isinstance(node, list):
        same = isinstance(target, list | tuple) and len(node) == len(target)
        return same and all(_locate(c, t, point) for c, t in zip(node, target, strict=True))
    return isinstance(node, bool) == isinstance(target, bool) and bool(node == target)


def _corners(node: Any) -> Iterator[Point]:
    if isinstance(node, _Leaf):
        yield {node.path: node.range.at(0.0)}
        yield {node.path: node.range.at(0.381966)}
        yield {node.path: node.range.at(1.0)}
    elif isinstance(node, _Choice):
        for label, option in node.options.items():
            for below in _corners(option):
                yield {node.path: label} | below
    else:
        # One child at a time visits its corners while the others stay at their first: the full
        # product would be exponential in the number of leaves.
        children = list(_children(node))
        firsts = [next(_corners(child)) for child in children]
        rest = [_merged([*firsts[:i], *firsts[i + 1 :]]) for i in range(len(children))]
        yield _merged(firsts)
        for child, others in zip(children, rest, strict=True):
            yield from (others | corner for corner in itertools.islice(_corners(child), 1, None))


def _grid(node: Any, levels: int) -> Iterator[Point]:
    if isinstance(node, _Leaf):
        shares = [i / (levels - 1) for i in range(levels)] if levels > 1 else [0.5]
        for value in dict.fromkeys(node.range.at(share) for share in shares):
            yield {node.path: value}
    elif isinstance(node, _Choice):
        for label, option in node.options.items():
            yield from ({node.path: label} | below for below in _grid(option, levels))
    else:
        parts = [list(_grid(child, levels)) for child in _children(node)]
        yield from map(_merged, itertools.product(*parts))


def _merged(points: Any) -> Point:
    return {path: value for point in points for path, value in point.items()}
