"""The one plug-in mechanism: a folder is a registry, a file's name is its key.

    names("objectives/papers")              -> ("ce", "dist", "dkd", ...)
    load("objectives/papers", "wttm")       -> the imported module
    describe("objectives/papers", "wttm")   -> name, settings and summary, read without importing

To add a plug-in, add a file. Nothing is registered, so nothing can be registered twice, and
listing a folder imports nothing: summaries and settings come from the file's syntax tree.
"""

import ast
import difflib
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from kdsearch.errors import NameNotFound

_PACKAGE = Path(__file__).parent

FOLDERS = {
    "objectives": ("objectives/papers", "objective"),
    "datasets": ("data/datasets", "load"),
    "models": ("models", "build"),
    "algorithms": ("search/algorithms", "build"),
    "schedulers": ("search/schedulers", "build"),
}
"""What a user can list: the folder that holds it, and the one function that each file must have."""


class Entry(NamedTuple):
    """One plug-in as `kdsearch list` shows it."""

    name: str
    settings: str
    summary: str


@cache
def names(folder: str) -> tuple[str, ...]:
    """The keys of a plug-in folder, sorted; files that start with an underscore are private."""
    files = (_PACKAGE / folder).glob("*.py")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def load(folder: str, name: str) -> ModuleType:
    """Import one plug-in.

    Raises:
        NameNotFound: no such file; the message lists the folder and the nearest match.
    """
    if name not in names(folder):
        near = difflib.get_close_matches(str(name), names(folder), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        kind = next((kind for kind, (place, _) in FOLDERS.items() if place == folder), folder)
        raise NameNotFound(
            f"a name must be one of the {kind}, but got {name!r}.{hint}"
            f" Valid: {', '.join(names(folder))}."
        )
    return importlib.import_module(f"kdsearch.{folder.replace('/', '.')}.{name}")


def describe(folder: str, name: str) -> Entry:
    """Name, settings with their defaults, and first docstring line, without importing the file."""
    function = dict(FOLDERS.values()).get(folder, "build")
    tree = ast.parse((_PACKAGE / folder / f"{name}.py").read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    settings = ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            defaults: list[ast.expr | None] = [*node.args.defaults, *node.args.kw_defaults]
            pairs = zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)
            settings = ", ".join(f"{a.arg}={ast.unparse(d)}" for a, d in pairs if d is not None)
    return Entry(name, settings, summary)
