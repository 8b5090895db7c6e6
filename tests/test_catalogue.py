"""Every plug-in is one documented file with one function, and its listing tells the truth."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import kdsearch
from kdsearch import catalogue
from kdsearch.errors import NameNotFound

PLUGINS = [
    pytest.param(folder, function, name, id=f"{kind}-{name}")
    for kind, (folder, function) in catalogue.FOLDERS.items()
    for name in catalogue.names(folder)
]
every_plugin = pytest.mark.parametrize(("folder", "function", "name"), PLUGINS)
every_folder = pytest.mark.parametrize(
    ("kind", "folder"), [(kind, folder) for kind, (folder, _) in catalogue.FOLDERS.items()]
)


@every_plugin
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
    assert public == [function]


@every_plugin
def test_the_settings_that_are_listed_are_those_of_the_function(folder, function, name):
    signature = inspect.signature(getattr(catalogue.load(folder, name), function))
    settings = {
        parameter.name: parameter.default
        for parameter in signature.parameters.values()
        if parameter.default is not parameter.empty
    }
    entry = catalogue.describe(folder, name)
    listed = ast.parse(f"dict({entry.settings})", mode="eval").body.keywords
    assert {word.arg: ast.literal_eval(word.value) for word in listed} == settings
    assert [word.arg for word in listed] == list(settings)
    assert entry.name == name


@every_folder
def test_a_folder_lists_its_public_files_in_order(kind, folder):
    files = (Path(kdsearch.__file__).parent / folder).iterdir()
    public = {file.stem for file in files if re.fullmatch(r"[a-z]\w*\.py", file.name)}
    assert catalogue.names(folder) == tuple(sorted(public))
    assert public


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
