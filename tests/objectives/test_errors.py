"""Impossible objectives are refused with one sentence: the law, what came, what would be valid.

Every message speaks of the setting that was given, never of the part that it ends up in.
"""

import inspect
import re

import pytest
import torch

from kdsearch import catalogue
from kdsearch.errors import KdsearchError, NameNotFound, SettingError, ShapeError
from kdsearch.objectives import from_spec, objective, spec_problems
from tests.objectives.batches import tensors

NAN, INFINITE = float("nan"), float("inf")
VALID = "Valid: " + ", ".join(catalogue.names("objectives/papers")) + "."

IMPOSSIBLE = {
    "kd": {"temperature": (0, -1.5, "hot", None, NAN, -INFINITE, 1e200), "lam": (-0.1, 1.5, NAN)},
    "kd_pt": {"temperature": (0, -1), "lam": (2, None)},
    "kd_topk": {"k": (0, -1, 1.5, "many", None), "temperature": (0,), "lam": (2, "half")},
    "kd_sim": {
        "power": (0, "flat"),
        "similarity_temperature": (0,),
        "temperature": (0,),
        "lam": (2,),
        "similarity": ([[1.0, 0.5]], [[2.0]], "alike"),
    },
    "logit_mse": {"lam": (-0.1, 1.1)},
    "logit_standardisation": {"temperature": (0, -1), "beta": (-1, NAN), "hard": (-1,)},
    "ttm": {"temperature": (0, "hot"), "beta": (-1, INFINITE)},
    "wttm": {
        "temperature": (0, -1, INFINITE),
        "beta": (-1,),
        "weighting_power": ("one", INFINITE),
        "normalise": ("often",),
    },
    "ptloss": {
        "epsilons": ([], 0.5, None, ["a"], [NAN], [[]], [0.5, [1.0, INFINITE]]),
        "temperature": (0,),
        "lam": (1.5,),
    },
    "reverse_kl": {"temperature": (0, INFINITE, 1e200), "lam": (-0.1, 1.1)},
    "jensen_shannon": {
        "beta": (0, 1, -0.5, 2, NAN, "half"),
        "temperature": (0, INFINITE),
        "lam": (1.5,),
    },
    "label_smoothing": {"delta": (-0.1, 1.1, "some")},
    "dkd": {"alpha": (-1,), "beta": (-1,), "temperature": (0,), "warmup": (-1, 1.5)},
    "nkd": {"gamma": (-1, NAN, "much"), "temperature": (0, -1, INFINITE, 1e200, "hot")},
    "dist": {"beta": (-1,), "gamma": (-1,), "temperature": (0,)},
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kdd", f"a name must be one of the objectives, but got 'kdd'. Did you mean 'kd'? {VALID}"),
        ("zzz", f"a name must be one of the objectives, but got 'zzz'. {VALID}"),
        ("__init__", f"a name must be one of the objectives, but got '__init__'. {VALID}"),
        (None, f"a name must be one of the objectives, but got None. {VALID}"),
    ],
)
def test_unknown_names(name, message):
    for build in (objective, lambda name: from_spec({"name": name})):
        with pytest.raises(NameNotFound, match=f"^{re.escape(message)}$"):
            build(name)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("kd", {"temprature": 3}, "has the settings temperature, lam, but got 'temprature'."),
        ("kd", {"a": 1, "b": 2}, "has the settings temperature, lam, but got 'a', 'b'."),
        ("ce", {"lam": 1}, "has the settings (none), but got 'lam'."),
        ("kd", {"temperature": 0}, "temperature > 0 must hold, but got 0."),
        ("kd", {"temperature": NAN}, "temperature must be a finite number, but got nan."),
        ("label_smoothing", {"delta": 2}, "delta <= 1 must hold, but got 2."),
        ("dkd", {"warmup": -1}, "warmup >= 0 must hold, but got -1."),
        (
            "dkd",
            {"alpha": -2, "beta": -1},
            "alpha >= 0 must hold, but got -2. beta >= 0 must hold, but got -1.",
        ),
    ],
)
def test_unknown_settings_and_impossible_values_in_a_whole_sentence(name, settings, message):
    whole = rf"^'?{name}\b.*{re.escape(message)}$"
    with pytest.raises(SettingError, match=whole):
        objective(name, **settings)
    with pytest.raises(SettingError, match=whole):
        from_spec({"name": name, **settings})


def test_every_setting_has_an_impossible_value_in_the_table():
    signatures = {
        name: set(inspect.signature(catalogue.load("objectives/papers", name).objective).parameters)
        for name in catalogue.names("objectives/papers")
    }
    assert {name: set(IMPOSSIBLE.get(name, {})) for name in signatures} == signatures


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        (name, setting, value)
        for name, settings in IMPOSSIBLE.items()
        for setting, values in settings.items()
        for value in values
    ],
)
def test_impossible_values_are_refused_under_the_name_they_were_given(name, setting, value):
    with pytest.raises(SettingError, match=rf"\b{setting}\b") as caught:
        objective(name, **{setting: value})
    assert re.search(r"constrained|after validation|tuple\[", str(caught.value)) is None
    assert "must" in str(caught.value)
    assert "but got" in str(caught.value)


PARTS = [
    ({"nmae": "kd"}, [("nmae", "there is no setting 'nmae' here.")]),
    ({"balance": {"softt": 2}}, [("balance.softt", "Did you mean 'soft'? Valid: hard, soft,")]),
    ({"balance": {"hard": -1}}, [("balance.hard", "hard >= 0 must hold, but got -1.")]),
    ({"balance": 3}, [("balance", "but got 3.")]),
    ({"divergence": {"kind": "kll"}}, [("divergence", "'kl', 'reverse_kl', 'jensen_shannon',")]),
    ({"divergence": {}}, [("divergence", "'kl', 'reverse_kl', 'jensen_shannon',")]),
    (
        {"divergence": {"kind": "decoupled", "alfa": 1}},
        [("divergence.alfa", "'alfa' here. Did you mean 'alpha'? Valid: kind, alpha, beta.")],
    ),
    (
        {"weight": {"kind": "power_sum", "gamma": 0}},
        [("weight.gamma", "gamma > 0 must hold, but got 0.")],
    ),
    ({"teacher": {"kind": "top_k", "k": 0}}, [("teacher.k", "but got 0.")]),
    (
        {"student": {"kind": "smoothed", "delta": 0.1}},
        [
            (
                "student",
                "one of 'identity', 'centred', 'temperature', 'standardise', but got 'smoothed'.",
            )
        ],
    ),
    (
        {
            "teacher": {"kind": "temperature"},
            "divergence": {"kind": "mse", "alpha": 1},
            "balance": {"hard": -1, "warmup": 0.5},
        },
        [
            ("teacher.temperature", "a value for 'temperature' is needed, but none was given."),
            ("divergence.alpha", "there is no setting 'alpha' here. Valid: kind."),
            ("balance.hard", "hard >= 0 must hold, but got -1."),
            ("balance.warmup", "warmup must be a valid integer"),
        ],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), PARTS)
def test_every_mistake_among_parts_is_told_at_its_place_in_the_file(spec, expected):
    problems = spec_problems(spec, "study.objective")
    assert [problem.path for problem in problems] == [f"study.objective.{p}" for p, _ in expected]
    with pytest.raises(SettingError) as caught:
        from_spec(spec)
    for problem, (_, message) in zip(problems, expected, strict=True):
        assert message in problem.message
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, "an objective must be a mapping with a name or parts, got None."),
        ("kd", "an objective must be a mapping with a name or parts, got 'kd'."),
        ({"name": "kdd"}, "Did you mean 'kd'?"),
        ({"name": "kd", "lam": 2}, "0 <= lam <= 1 must hold, but got 2."),
        ({"name": "kd", "weight": {}}, "has the settings temperature, lam, but got 'weight'."),
        ({"name": "kd", 3: 4}, "3"),
    ],
)
def test_a_named_objectives_mistake_is_told_at_the_objective(spec, message):
    (problem,) = spec_problems(spec, "study.objective")
    assert problem.path == "study.objective"
    assert message in problem.message
    if isinstance(spec, dict):
        with pytest.raises(KdsearchError, match=re.escape(problem.message)):
            from_spec(spec)


@pytest.mark.parametrize("spec", [{}, {"name": "kd"}, {"divergence": {"kind": "mse"}}])
def test_a_valid_objective_has_no_problems(spec):
    assert spec_problems(spec, "study.objective") == []
    assert from_spec(spec).needs_teacher


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, v, y: (z[0], v, y), "must have shape (N, C) with C >= 2, but got (7,)."),
        (lambda z, v, y: (z[:, :1], v, y), "(N, C) with C >= 2, but got (6, 1)."),
        (lambda z, v, y: (z, v, y.int()), "labels must be int64 of shape (6,)"),
        (lambda z, v, y: (z, v, y[:5]), "logits (6, 7), but got torch.int64 of (5,)."),
        (lambda z, v, y: (z, v[:, :6], y), "the student's shape (6, 7), but got (6, 6)."),
        (lambda z, v, y: (z, v[:1], y), "the student's shape (6, 7), but got (1, 7)."),
        (lambda z, v, y: (z, None, y), "reads the teacher's logits, but got None."),
    ],
)
def test_tensors_that_do_not_fit(change, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        objective("kd")(*change(*tensors()))


@pytest.mark.parametrize("coefficients", [[0.1, 0.2, 0.3], [0.1]])
def test_as_many_coefficients_per_class_as_there_are_classes(coefficients):
    with pytest.raises(
        ShapeError, match=rf"\b{len(coefficients)}\b.*\b7\b|\b7\b.*\b{len(coefficients)}\b"
    ):
        objective("ptloss", epsilons=[coefficients])(*tensors(dtype=torch.float32))
