"""The one plug-in mechanism: a folder is a registry, a file's name is its key.

    names("objectives/papers")              -> ("ce", "dist", "dkd", ...)
    load("objectives/papers", "wttm")       -> the imported module
    describe("objectives/papers", "wttm")   -> name, settings and summary, read without importing

A file may also name points of its family, as a literal, each with the settings that it fixes:

    VARIANTS = {"resnet8x4": {"depth": 8, "width": 4}, ...}
    load("models", "resnet8x4")             -> the module of the family, resnet
    point("models", "resnet8x4")            -> Point("resnet", {"depth": 8, "width": 4})

A user's own file is a plug-in too, wherever it lies: `own("my_model.py", "build")`, and `call_own`
holds what it returns to the contract.

To add a plug-in, add a file. Nothing is registered, so nothing is overwritten: a name that two
files claim is an error. Listing a folder imports nothing: names, summaries and settings come from
the files' syntax trees.
"""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar, cast

from kdsearch.errors import NameNotFound, NameTwice, SettingError

T = TypeVar("T")

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
    """One plug-in as `kdsearch list` shows it; `defaults` as Python spells them."""

    name: str
    defaults: dict[str, str]
    summary: str

    @property
    def settings(self) -> str:
        """The free settings with their defaults, in a line."""
        return ", ".join(f"{name}={default}" for name, default in self.defaults.items())


class Point(NamedTuple):
    """What a name stands for: a file, and the settings that the name fixes (none: all are free)."""

    file: str
    fixed: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file} with {', '.join(f'{k}={v!r}' for k, v in self.fixed.items())}"


@cache
def points(folder: str) -> dict[str, Point]:
    """Every name of a plug-in folder: its files, sorted, each followed by its variants.

    Files that start with an underscore are private.

    Raises:
        NameTwice: two files claim one name.
    """
    found: dict[str, Point] = {}
    for file in sorted(path.stem for path in (_PACKAGE / folder).glob("[!_]*.py")):
        for name, fixed in {file: {}, **_variants(folder, file)}.items():
            if name in found:
                raise NameTwice(
                    f"a name must belong to one file, but {name!r} is in {found[name].file}.py"
                    f" and in {file}.py of {folder}: rename one."
                )
            found[name] = Point(file, fixed)
    return found


def names(folder: str) -> tuple[str, ...]:
    """The keys of a plug-in folder, in the order of `points`."""
    return tuple(points(folder))


def point(folder: str, name: str) -> Point:
    """The file and the fixed settings that a name stands for.

    Raises:
        NameNotFound: no such name; the message lists the folder and the nearest match.
    """
    if name not in names(folder):
        near = difflib.get_close_matches(str(name), names(folder), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        kind = next((kind for kind, (place, _) in FOLDERS.items() if place == folder), folder)
        raise NameNotFound(
            f"a name must be one of the {kind}, but got {name!r}.{hint}"
            f" Valid: {', '.join(names(folder))}."
        )
    return points(folder)[name]


def load(folder: str, name: str) -> ModuleType:
    """Import the file of one plug-in. Errors as `point`."""
    file = point(folder, name).file
    return importlib.import_module(f"kdsearch.{folder.replace('/', '.')}.{file}")


def describe(folder: str, name: str) -> Entry:
    """Name, free settings with their defaults, and first docstring line, without importing.

    The summary of a variant is its family and what it fixes.
    """
    found = point(folder, name)
    function = dict(FOLDERS.values()).get(folder, "build")
    tree = _tree(folder, found.file)
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    free: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            defaults: list[ast.expr | None] = [*node.args.defaults, *node.args.kw_defaults]
            pairs = zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)
            free = {
                a.arg: ast.unparse(d)
                for a, d in pairs
                if d is not None and a.arg not in found.fixed
            }
    return Entry(name, free, f"{found}." if found.fixed else summary)


def own(file: str, name: str, sha256: str = "") -> Callable[..., Any]:
    """A function of a user's own file, which is run to import it.

    Raises:
        SettingError: the file is missing, fails to import or lacks the function; or it is not the
            one whose `own_digest` is given.
    """
    found = own_digest(file)
    if sha256 and found != sha256:
        raise SettingError(
            f"{file} must stay as it was when this began, but it has changed. Put it back, or"
            " start anew with `kdsearch run --fresh`."
        )
    function = getattr(_imported(file, found), name, None)
    if not callable(function):
        raise SettingError(f"{file} must have a function {name!r}, but it has none.")
    return cast("Callable[..., Any]", function)


def call_own(
    file: str,
    name: str,
    sha256: str,
    settings: Mapping[str, Any],
    task: str,
    kind: type[T],
    shown: str,
) -> T:
    """What a function of a user's own file returns, called for a task with settings.

    `task` ("build a network") and `shown`, the kind that it must return, are words for messages.

    Raises:
        SettingError: as `own`; the function fails, or returns something of another kind.
    """
    function = own(file, name, sha256)
    call = f"{file}: {name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})"
    try:
        made = function(**settings)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises is the study's mistake
        raise SettingError(f"{call} must {task}, but: {type(error).__name__}: {error}.") from None
    if not isinstance(made, kind):
        raise SettingError(f"{call} must return a {shown}, but returned {type(made).__name__}.")
    return made


def own_digest(file: str) -> str:
    """The content of a user's own file, short.

    Raises:
        SettingError: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise SettingError(f"{file} cannot be read: {error.strerror}.") from None


@cache
def _imported(file: str, digest: str) -> ModuleType:
    name = f"kdsearch_own_{Path(file).stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SettingError(f"{file} must be a Python file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    # Known by name, so that what it defines can be pickled and dataclasses find their module.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises is its mistake
        del sys.modules[name]
        beside = isinstance(error, ModuleNotFoundError) and error.name
        hint = f" If {beside} lies beside it, name that folder in PYTHONPATH." if beside else ""
        raise SettingError(
            f"{file} must import, but: {type(error).__name__}: {error}.{hint}"
        ) from None
    return module


def _variants(folder: str, file: str) -> dict[str, dict[str, Any]]:
    for node in _tree(folder, file).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VARIANTS":
            variants: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
            return variants
    return {}


def _tree(folder: str, file: str) -> ast.Module:
    return ast.parse((_PACKAGE / folder / f"{file}.py").read_text(encoding="utf-8"))
