"""Who may import whom: the rooms of the package, held to one table by their syntax trees.

Imports inside functions count as much as those at the top of a file.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import kdsearch

PACKAGE = Path(kdsearch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

SHARED = {"errors", "catalogue", "values", "files", "halving"}
ROOMS = {
    "errors": set(),
    "files": {"errors"},
    "halving": set(),
    "catalogue": {"errors"},
    "values": {"errors"},
    "objectives": SHARED,
    "spaces": SHARED,
    "data": SHARED,
    "models": SHARED,
    "training": SHARED | {"objectives", "data", "models"},
    "teachers": SHARED | {"objectives", "data", "models", "training"},
    "baselines": SHARED,
    "tracking": SHARED,
    "reporting": SHARED | {"tracking", "baselines"},
    "export": SHARED | {"models", "objectives", "reporting", "tracking", "training"},
    "progress": SHARED | {"tracking"},
    "watching": SHARED | {"tracking", "progress", "reporting"},
    "search": SHARED
    | {"baselines", "objectives", "spaces", "data", "models", "training", "teachers", "tracking"},
    "doctor": SHARED | {"data", "search", "teachers", "tracking", "training"},
    "__init__": {"objectives"},
}
"""What each room may import beside itself; a room is a folder or a file of the package."""
ROOMS["commands"] = set(ROOMS)
ROOMS["cli"] = set(ROOMS)

ONLY_IN = {
    "ray": ("search",),
    "optuna": ("search", "reporting/dimensions.py"),
    "mlflow": ("tracking/mlflow.py", "export/registry.py", "export/served.py"),
    "onnxruntime": ("export/formats.py",),
    "timm": ("models/timm.py",),
    "PIL": ("data/pictures.py",),
    "plotly": ("reporting/figures.py",),
}
HEAVY = ("torch", "torchvision", "timm", "ray", "mlflow", "optuna", "matplotlib", "plotly")


def room(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(file):
    """The dotted names that a file imports; a name taken from a module counts as part of it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(file):
    """The rooms that a file imports, but its own; `kdsearch.__version__` is of no room."""
    steps = [name.split(".") for name in imports(file)]
    names = {step[1] for step in steps if step[0] == "kdsearch" and len(step) > 1}
    return {name for name in names if not name.startswith("__")} - {room(file)}


def test_the_table_holds_every_room_there_is():
    assert {room(file) for file in FILES} <= set(ROOMS)


def test_the_table_has_no_way_round():
    open_, order = dict(ROOMS), []
    while ready := [name for name, needs in open_.items() if not needs & (set(open_) - {name})]:
        order += ready
        for name in ready:
            del open_[name]
    assert open_ == {}
    assert order.index("objectives") < order.index("training") < order.index("search")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_what_its_room_may(file):
    assert rooms_imported(file) <= ROOMS.get(room(file), set())


def test_nothing_imports_the_terminal():
    assert [file for file in FILES if "cli" in rooms_imported(file)] == []


@pytest.mark.parametrize(("library", "places"), ONLY_IN.items())
def test_a_library_is_imported_in_one_place(library, places):
    users = {
        file.relative_to(PACKAGE)
        for file in FILES
        if any(name.split(".")[0] == library for name in imports(file))
    }
    assert users
    assert {user for user in users if not any(map(user.is_relative_to, places))} == set()


def test_ray_is_used_through_tune_and_core_alone():
    names = {name for file in FILES for name in imports(file)}
    parts = {".".join(name.split(".")[:2]) for name in names if name.split(".")[0] == "ray"}
    assert parts & {"ray.train", "ray.air", "ray.rllib", "ray.serve"} == set()
    assert "ray.tune" in parts


def test_a_plan_alone_needs_no_autoscaler(root):
    script = (
        "import sys; from kdsearch import commands;"
        f" commands.check({str(root / 'search_spaces' / 'digits.yaml')!r});"
        " sys.exit('ray.autoscaler' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_room_for_odds_and_ends():
    assert {file.stem for file in FILES} & {"utils", "util", "helpers", "misc", "common"} == set()


@pytest.mark.parametrize(
    "code",
    [
        "import kdsearch; kdsearch.__version__",
        "import kdsearch.cli, sys; sys.argv = ['kdsearch', '--help']; kdsearch.cli.main()",
        "import kdsearch.cli, sys; sys.argv[1:] = ['list', 'objectives']; kdsearch.cli.main()",
        "import kdsearch.cli, sys; sys.argv[1:] = ['list', 'models']; kdsearch.cli.main()",
        "import kdsearch.cli, sys; sys.argv[1:] = ['list', 'datasets']; kdsearch.cli.main()",
    ],
)
def test_what_must_be_quick_loads_nothing_heavy(code):
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded', *(set({HEAVY}) & set(sys.modules))))\n{code}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "loaded"
    assert ("kd " in done.stdout) == ("objectives" in code)
    assert ("resnet8x4 " in done.stdout) == ("models" in code)
