"""Every plug-in is one documented file with one function, and its listing tells the truth."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import kdsearch
from kdsearch import catalogue
from kdsearch.errors import NameNotFound, NameTwice

PLUGINS = [
    pytest.param(folder, function, name, id=f"{kind}-{name}")
    for kind, (folder, function) in catalogue.FOLDERS.items()
    for name in catalogue.names(folder)
]
every_name = pytest.mark.parametrize(("folder", "function", "name"), PLUGINS)
every_file = pytest.mark.parametrize(
    ("folder", "function", "name"),
    [row for row in PLUGINS if not catalogue.point(row.values[0], row.values[2]).fixed],
)
every_folder = pytest.mark.parametrize(
    ("kind", "folder"), [(kind, folder) for kind, (folder, _) in catalogue.FOLDERS.items()]
)


@every_file
def test_a_plugin_is_one_documented_file_with_one_function(folder, function, name):
    file = Path(kdsearch.__file__).parent / folder / f"{name}.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    first = (ast.get_docstring(tree) or "").partition("\n")[0]
    assert re.fullmatch(r"[A-Z].*[^.]\.", first)
    assert len(first) <= 100
    assert catalogue.describe(folder, name).summary == first
    public = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    optional = {"find"} if folder == "data/datasets" else set()
    assert function in public
    assert set(public) <= {function} | optional


@every_name
def test_the_settings_that_are_listed_are_those_of_the_function(folder, function, name):
    signature = inspect.signature(getattr(catalogue.load(folder, name), function))
    fixed = catalogue.point(folder, name).fixed
    settings = {
        parameter.name: parameter.default
        for parameter in signature.parameters.values()
        if parameter.default is not parameter.empty and parameter.name not in fixed
    }
    assert fixed.keys() <= signature.parameters.keys()
    entry = catalogue.describe(folder, name)
    listed = ast.parse(f"dict({entry.settings})", mode="eval").body.keywords
    assert {word.arg: ast.literal_eval(word.value) for word in listed} == settings
    assert [word.arg for word in listed] == list(settings)
    assert entry.name == name


@every_folder
def test_a_folder_lists_its_public_files_in_order(kind, folder):
    files = (Path(kdsearch.__file__).parent / folder).iterdir()
    public = {file.stem for file in files if re.fullmatch(r"[a-z]\w*\.py", file.name)}
    points = catalogue.points(folder)
    assert [name for name, point in points.items() if not point.fixed] == sorted(public)
    assert catalogue.names(folder) == tuple(points)
    assert public


def test_models_alone_have_variants_and_they_follow_their_family():
    # Whoever builds from another folder would have to pass on what a name fixes, as models do.
    for folder, _ in catalogue.FOLDERS.values():
        points = catalogue.points(folder)
        assert [point.file for point in points.values()] == sorted(p.file for p in points.values())
        assert folder == "models" or not any(point.fixed for point in points.values())
    point = catalogue.point("models", "resnet8x4")
    assert point == ("resnet", {"depth": 8, "width": 4})
    assert catalogue.load("models", "resnet8x4") is catalogue.load("models", "resnet")
    summary = "resnet with depth=8, width=4."
    assert catalogue.describe("models", "resnet8x4") == ("resnet8x4", {}, summary)


@pytest.mark.parametrize("name", ["one", "small"])
def test_a_name_that_two_files_claim_is_an_error(name, tmp_path, monkeypatch):
    folder = tmp_path / "twice"  # a folder that no cache knows
    folder.mkdir()
    (folder / "one.py").write_text('VARIANTS = {"small": {"depth": 1}}')
    (folder / "two.py").write_text(f'VARIANTS = {{"{name}": {{"depth": 2}}}}')
    monkeypatch.setattr(catalogue, "_PACKAGE", tmp_path)
    message = f"a name must belong to one file, but '{name}' is in one.py and in two.py of twice"
    with pytest.raises(NameTwice, match=message):
        catalogue.names("twice")


@every_folder
@pytest.mark.parametrize("name", ["nothing_like_it", "__init__", "_pointwise", "", 0])
def test_an_unknown_name_is_answered_with_the_folder(kind, folder, name):
    valid = ", ".join(catalogue.names(folder))
    message = f"a name must be one of the {kind}, but got {name!r}. Valid: {valid}."
    with pytest.raises(NameNotFound, match=f"^{re.escape(message)}$"):
        catalogue.load(folder, name)


@every_folder
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(kind, folder):
    for name in catalogue.names(folder):
        with pytest.raises(NameNotFound, match=rf"Did you mean '{name}'\? Valid: "):
            catalogue.load(folder, f"{name}_")
