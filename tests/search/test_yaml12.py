"""Study files as people write them: `1e-3` is a number, and what is no study is one sentence."""

import math
import re

import pytest

from kdsearch.errors import StudyError
from kdsearch.search.study import Study
from kdsearch.search.yaml12 import parse_yaml


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1, 2\nb: 3", r"is not YAML: .*line 2"),
        ("a: 1\n\tb: 2", r"is not YAML: .*'\\t'.*line 2"),
        ("data: {}\nrecipe: {}\ndata: {}", r"is not YAML: .*'data' appears twice.*line 3"),
        ("a: {b: 1, b: 2}", r"is not YAML: .*'b' appears twice.*line 1"),
        ("a: !!python/name:os.system", r"is not YAML: .*python/name.*line 1"),
        (b"\xff\xfe\x00", r"is not YAML: .*0xff"),
        ("- 1", r"a study must be a mapping of sections \(data, .*\), but got list\.$"),
        ("", r"a study must be a mapping of sections .* but got NoneType\.$"),
        (None, r"cannot be read: No such file or directory\.$"),
    ],
)
def test_a_file_that_is_no_study_is_one_sentence(text, told, tmp_path):
    file = tmp_path / "study.yaml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError, match=rf"^{re.escape(str(file))} has 1 mistake:\n  ") as caught:
        Study.load(file)
    (problem,) = caught.value.problems
    assert re.match(told, problem.message)
    assert "\n" not in problem.message


SCALARS = {
    "1e-3": 0.001,
    "1E5": 1e5,
    "-2.5e+1": -25.0,
    ".5": 0.5,
    "1.": 1.0,
    "-.inf": -math.inf,
    "12": 12,
    "'1e-3'": "1e-3",
    "1e": "1e",
    "e3": "e3",
    "1-3": "1-3",
    "2.60.0": "2.60.0",
    ".": ".",
    "none": "none",
    "~": None,
    "true": True,
    "- 1e0": [1.0],
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_yaml_scalars_are_what_people_expect(text, value):
    parsed = parse_yaml(text)
    assert (parsed, type(parsed)) == (value, type(value))
