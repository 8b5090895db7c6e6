"""A study that loads can be run; one that cannot says everything that is wrong with it at once.

Most of it is tables: what is changed in a good study, and the sentence that this must give.
"""

import copy
import csv
import io
import json
import math
from pathlib import Path

import pytest
import yaml

from kdsearch import baselines, catalogue
from kdsearch.baselines import published_settings
from kdsearch.errors import StudyError
from kdsearch.objectives import from_spec, objective
from kdsearch.search import runner
from kdsearch.search.plan import plan
from kdsearch.search.study import Study
from kdsearch.teachers import Teacher
from kdsearch.training import Recipe
from kdsearch.training.experiment import problems_in

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
KD = {"name": "kd", "temperature": {"log_uniform": [1, 20]}, "lam": {"uniform": [0, 1]}}
GOOD = {
    "name": "good",
    "data": {"name": "digits"},
    "teacher": {"model": {"name": "cnn", "width": 32}},
    "student": {"name": "cnn", "width": 8},
    "recipe": {"epochs": 27, "learning_rate": 0.1},
    "space": {
        "objective": {"choice": [{"name": "ce"}, KD]},
        "recipe": {"learning_rate": {"log_uniform": [0.01, 0.5]}},
    },
}


def changed(*changes):
    """The good study with values put at dotted places."""
    content = copy.deepcopy(GOOD)
    for place, value in changes:
        *sections, key = place.split(".")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return content


def mistakes(content):
    """What is said to be wrong with a mapping, a line each."""
    with pytest.raises(StudyError, match=r"^study has \d+ mistakes?:\n  ") as caught:
        Study.of(content)
    lines = str(caught.value).splitlines()[1:]
    assert lines == [f"  {problem}" for problem in caught.value.problems]
    return [line.strip() for line in lines]


def says(line, told):
    """Whether a line begins as told, and holds what is told after the dots."""
    start, _, end = told.partition(" … ")
    return line.startswith(start) and end in line


def _no(path, valid, near):
    key = path.rpartition(".")[2]
    return f"{path}: there is no setting {key!r} here. Did you mean {near!r}? Valid: {valid}."


RECIPE = ", ".join(Recipe.model_fields)
SECTIONS = (
    "name, question, data, teacher, signals, student, recipe, space, search, final, resources"
)
ALGORITHMS = ", ".join(catalogue.names("search/algorithms"))
FIELDS = [
    ("recpie", 1, _no("recpie", f"{SECTIONS}, tracking", "recipe")),
    ("recipe.lerning_rate", 1, _no("recipe.lerning_rate", RECIPE, "learning_rate")),
    ("teacher.modle", 1, _no("teacher.modle", ", ".join(Teacher.model_fields), "model")),
    ("teacher.recipe.epohcs", 1, _no("teacher.recipe.epohcs", RECIPE, "epochs")),
    (
        "search.trails",
        1,
        _no("search.trails", "trials, algorithm, scheduler, control, seed, points", "trials"),
    ),
    ("final.seed", 1, _no("final.seed", "seeds", "seeds")),
    ("resources.gpus", 1, _no("resources.gpus", "cpu, gpu, max_concurrent, teacher", "gpu")),
    ("tracking.url", "x", _no("tracking.url", "uri", "uri")),
    ("question", 3, "question: question must be a valid string, but got 3."),
    ("data.validation", 1, "data.validation: validation < 1 must hold, but got 1."),
    ("data.classes", 1, "data.classes: classes >= 2 must hold, but got 1."),
    ("data.per_class", 1, "data.per_class: per_class >= 2 must hold, but got 1."),
    ("data.test_per_class", 0, "data.test_per_class: test_per_class >= 1 must hold, but got 0."),
    ("teacher.seed", -1, "teacher.seed: seed >= 0 must hold, but got -1."),
    ("recipe.epochs", 0, "recipe.epochs: epochs >= 1 must hold, but got 0."),
    (
        "recipe.optimiser",
        "lamb",
        "recipe.optimiser: optimiser must be one of 'sgd', 'adam' or 'adamw', but",
    ),
    ("search.trials", "many", "search.trials: trials must be a valid integer, unable to parse"),
    ("search.algorithm", {}, "search.algorithm.name: a value for 'name' is needed, but none was"),
    ("final.seeds", 1, "final.seeds: seeds >= 2 must hold, but got 1."),
    ("resources.cpu", 0, "resources.cpu: cpu > 0 must hold, but got 0."),
    ("resources.gpu", 1.5, "resources.gpu: a gpu share must be at most 1 or a whole number, but"),
    ("resources.gpu", -1, "resources.gpu: gpu >= 0 must hold, but got -1."),
    (
        "resources.gpu",
        "atuo",
        "resources.gpu: gpu must be a number, or auto to have it measured, but got 'atuo'.",
    ),
    ("resources.teacher", {"gpu": 1.5}, "resources.teacher.gpu: a gpu share must be at most 1 or"),
    ("space.recipe.momentum", {"uniform": [1, 0]}, "space.recipe.momentum: low < high must hold,"),
]
PLUGINS = [
    ("data.published_as", "cifra100", "data.published_as: a dataset must be … 'cifar100'"),
    ("data.tset", 0.1, "data.tset: 'digits' has the settings test, but got 'tset'."),
    (
        "search.algorithm",
        {"name": "tpee"},
        f"search.algorithm.name: … Did you mean 'tpe'? Valid: {ALGORITHMS}.",
    ),
    (
        "search.scheduler",
        {"name": "asha", "grace_perod": 3},
        "search.scheduler.grace_perod: 'asha' has the settings grace_period, reduction_factor, but",
    ),
    ("student.widht", 3, "student: model 'cnn' has the sizes width, depth, but got 'widht'."),
    ("teacher.model", {"name": "cnnn"}, "teacher.model: a name must be one of the models, but got"),
]
ALONE = [
    ("data.name", "digit", "data.name: a name must be one of the datasets, but got 'digit'. Did"),
    ("space", {}, "space: a space must say which objectives to try under 'objective'."),
    ("space.data", {}, "space.data: a space may vary objective, recipe, student, but got 'data'."),
    ("space.objective", "ce", "space.objective: an objective must be a mapping with a name or"),
    (
        "space.objective",
        {"choice": [{"name": "ce"}, {**KD, "lam": {"uniform": [0, 2.5]}}]},
        "space.objective: 0 <= lam <= 1 must hold, but got 2.5. 0 is labels only.",
    ),
    (
        "space.objective",
        {"choice": [{"name": "ce"}, {**KD, "temperature": {"uniform": [-1.5, 5]}}]},
        "space.objective: kd … temperature > 0 must hold, but got -1.5.",
    ),
    (
        "space.objective",
        {"choice": [{"balance": {"soft": {"choice": [1, {"uniform": [-0.5, 1]}]}}}]},
        "space.objective.balance.soft: soft >= 0 must hold, but got -0.5.",
    ),
    ("space.recipe.batch_size", {"integer": [1, 8]}, "space.recipe.batch_size: batch_size >= 2"),
    ("space.recipe.batch_size", {"uniform": [2, 8]}, "space.recipe.batch_size: batch_size must be"),
    ("space.recipe.epochs", {"integer": [1, 3]}, "space.recipe.epochs: all trials must have the"),
    ("space.recipe.epochs", 5, "space.recipe.epochs: all trials must have the same number of"),
    ("space.recipe", {"choice": [{"epochs": 2}, {}]}, "space.recipe … same number of epochs"),
    ("space.student.name", {"choice": ["cnn", 3]}, "space.student.name: name must be a valid"),
    ("space.student.width", {"integer": [0, 4]}, "space.student: model 'cnn' cannot be built with"),
    ("space.student.widht", {"integer": [1, 4]}, "space.student: model 'cnn' has the sizes width,"),
    ("data.views", {"area": 0.08}, "data.views.area: views must have no `area` where images are"),
    (
        "data.normalisation",
        {"mean": [0.5], "std": [1, 1]},
        "data.normalisation: mean and std must be as many, but got",
    ),
    (
        "data",
        {"name": "image_folder", "stream": True, "size": 8, "views": {"area": 0.08}},
        "signals: the teacher of a stream must run beside its students, or views must have a",
    ),
    ("teacher.checkpoint", "x", "teacher.checkpoint: must be a file, but 'x' is none."),
]


@pytest.mark.parametrize(("place", "value", "told"), [*FIELDS, *PLUGINS, *ALONE])
def test_a_mistake_is_told_at_its_place_and_nothing_else_is(place, value, told):
    (line,) = mistakes(changed((place, value)))
    assert says(line, told)


@pytest.mark.parametrize("table", [FIELDS, PLUGINS, [*FIELDS, *PLUGINS]])
def test_all_mistakes_of_a_file_are_told_together(table, tmp_path):
    rows = {place: (value, told) for place, value, told in table}
    content = changed(*((place, value) for place, (value, _) in rows.items()))
    lines = mistakes(content)
    assert [t for _, t in rows.values() if not any(says(line, t) for line in lines)] == []
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(StudyError, match=rf"^wrong.yaml has {len(rows)} mistakes:\n"):
        Study.load(file)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_shipped_study_loads_and_all_its_published_settings_are_experiments(file):
    study = Study.load(file)
    first, second, *_ = (draw["objective"]["name"] for draw in study.published())
    assert (first, second) == ("ce", "kd")
    for draw in study.published():
        spec = draw["objective"]
        pair = published_settings(spec["name"], study.teacher.name, study.student.known_as) or {}
        assert objective(**spec) == objective(spec["name"], **pair)
        assert problems_in(study.assembled(draw)) == []


SAME = {
    "question": "Why?",
    "resources": {"cpu": 2, "gpu": "auto", "max_concurrent": 3, "teacher": {"gpu": 1}},
    "tracking.uri": "sqlite:///elsewhere.db",
    "search.trials": 64,
    "student.width": 8,
}
OTHER = {
    "name": "other",
    "data.validation": 0.3,
    "data.seed": 1,
    "data.test": 0.5,
    "data.views": {"crop": 1},
    "data.normalisation": {"mean": [0.5], "std": [0.5]},
    "signals": "online",
    "teacher.model.width": 16,
    "teacher.recipe.epochs": 3,
    "teacher.seed": 1,
    "student.width": 16,
    "recipe.epochs": 28,
    "space.recipe.learning_rate": {"log_uniform": [0.01, 0.4]},
    "space.objective": {"choice": [KD, {"name": "ce"}]},
    "search.trials": 65,
    "search.algorithm": {"name": "random"},
    "search.scheduler": {"name": "asha", "grace_period": 4},
    "search.seed": 1,
    "final.seeds": 6,
}


def test_the_digest_is_of_what_decides_the_outcome():
    assert {place.partition(".")[0] for place in SAME | OTHER} == set(Study.model_fields)
    good = Study.of(GOOD).digest
    assert {Study.of(changed(change)).digest for change in SAME.items()} == {good}
    others = {Study.of(changed(change)).digest for change in OTHER.items()}
    assert len(others - {good}) == len(OTHER)


def test_a_study_comes_back_from_json():
    study = Study.of(changed(*OTHER.items(), *SAME.items()))
    again = Study.of(json.loads(study.model_dump_json()))
    assert (again, again.digest) == (study, study.digest)


def test_what_is_published_comes_first_each_once_in_the_order_of_the_file():
    free = {"divergence": {"kind": "mse"}}
    options = [{"name": "ttm", "beta": {"uniform": [1, 100]}}, free, KD, {"name": "dist"}]
    study = Study.of(changed(("space.objective", {"choice": options})))
    specs = [draw["objective"] for draw in study.published()]
    assert [spec["name"] for spec in specs] == ["ce", "kd", "ttm", "dist"]
    assert [objective(**spec) for spec in specs] == [objective(spec["name"]) for spec in specs]
    assert specs[2] == {"name": "ttm", "beta": 100.0}
    assert [draw["recipe"] for draw in study.published()] == [{"learning_rate": 0.1}] * 4


@pytest.mark.parametrize(
    ("options", "rate", "point"),
    [
        ([KD], [0.1, 1], {"": "kd", ".kd.temperature": 4.0, ".kd.lam": 0.9}),
        ([{"name": "kd", "temperature": 4}], [0.1, 1], {"": "kd"}),
        ([{"name": "kd"}, KD], [0.1, 1], {"": "kd-1"}),
        (
            [{**KD, "temperature": 2}, KD],
            [0.1, 1],
            {"": "kd-2", ".kd-2.temperature": 4.0, ".kd-2.lam": 0.9},
        ),
        (
            [{"choice": [KD]}],
            [0.1, 1],
            {"": "0", ".0": "kd", ".0.kd.temperature": 4.0, ".0.kd.lam": 0.9},
        ),
        ([{**KD, "temperature": 2}], [0.1, 1], None),
        ([{**KD, "lam": {"uniform": [0, 0.5]}}], [0.1, 1], None),
        ([{"name": "ce"}], [0.1, 1], None),
        ([KD], [0.2, 1], None),
    ],
)
def test_published_settings_are_found_in_the_space_where_they_lie_inside(options, rate, point):
    space = {"objective": {"choice": options}, "recipe": {"learning_rate": {"log_uniform": rate}}}
    study = Study.of(changed(("space", space)))
    draw = list(study.published())[1]
    spec = draw["objective"]
    assert (spec["name"], objective(**spec)) == ("kd", objective("kd"))
    base = {"recipe.learning_rate": 0.1}
    expected = point and base | {f"objective{path}": value for path, value in point.items()}
    assert study.parsed_space.locate(draw) == expected


def test_a_draw_is_merged_into_what_the_study_fixes():
    study = Study.of(changed(("student.depth", 3), ("search.seed", 7)))
    drawn = {"objective": {"name": "ce"}, "recipe": {"momentum": 0.5}, "student": {"width": 2}}
    assert study.assembled(drawn) == {
        "model": {"name": "cnn", "width": 2, "depth": 3},
        "objective": {"name": "ce"},
        "recipe": {**study.recipe.model_dump(mode="json"), "epochs": 27, "momentum": 0.5},
        "seed": 7,
    }
    assert study.student.size == {"width": 8, "depth": 3}


def test_an_infinite_temperature_survives_json_and_reaches_the_objective(tmp_path):
    kd = {"name": "kd", "temperature": {"choice": [4, math.inf]}}
    study = Study.of(changed(("space.objective", kd)))
    again = Study.of(json.loads(study.model_dump_json()))
    assert again == study
    drawn = again.parsed_space.assemble(
        {"objective.temperature": "inf", "recipe.learning_rate": 0.1}
    )
    assert from_spec(again.assembled(drawn)["objective"]) == objective("kd", temperature=math.inf)
    file = tmp_path / "hot.yaml"
    file.write_text(yaml.safe_dump(study.model_dump(mode="json")).replace(".inf", "inf"))
    assert Study.load(file) == study


def test_a_published_pair_begins_with_its_own_settings():
    """Table 8 of TTM: gamma 0.3 and beta 1.5 for resnet56 and resnet20."""
    wttm = {"name": "wttm", "temperature": {"log_uniform": [1, 20]}, "beta": {"uniform": [1, 9]}}
    content = changed(
        ("teacher.model", {"name": "resnet56"}),
        ("student", {"name": "resnet20"}),
        ("space.objective", {"choice": [wttm, {"name": "ttm"}]}),
    )
    study = Study.model_validate(content)
    ce, kd, wttm, ttm = (draw["objective"] for draw in study.published())
    assert (ce, kd) == ({"name": "ce"}, {"name": "kd", "temperature": 4.0, "lam": 0.9})
    assert wttm == {"name": "wttm", "temperature": pytest.approx(1 / 0.3), "beta": 1.5}
    assert ttm == {"name": "ttm", "temperature": pytest.approx(1 / 0.3), "beta": 7.0}
    located = study.parsed_space.locate({"objective": wttm, "recipe": {"learning_rate": 0.1}})
    assert located is not None


@pytest.mark.parametrize(
    ("data", "published"),
    [
        ({"name": "cifar100"}, "cifar100"),
        ({"name": "image_parquet", "published_as": "CIFAR-100"}, "CIFAR-100"),
        ({"name": "cifar100", "classes": 20}, None),
        ({"name": "cifar100", "per_class": 100}, None),
        ({"name": "image_parquet", "published_as": "cifar100", "test_per_class": 10}, None),
        ({"name": "cifar100", "noise": {"rate": 0.2}}, None),
    ],
)
def test_the_papers_rows_are_those_of_the_whole_set_under_its_published_name(data, published):
    study = Study.of(changed(("data", data)))
    assert study.data.published == published
    assert "published_as" not in study.data.arguments


@pytest.mark.parametrize(
    ("data", "places"),
    [
        ({"name": "digits"}, []),
        ({"name": "image_folder", "root": "cats", "test": 0.2}, ["cats"]),
        ({"name": "image_parquet", "train": ["a", "b"], "test": "c"}, ["a", "b", "c"]),
    ],
)
def test_places_of_data_are_files_and_no_shares(data, places):
    assert Study.of(changed(("data", data))).data.places == places


def test_a_study_may_extend_another_and_say_only_what_differs(tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(GOOD))
    over = tmp_path / "over.yaml"
    over.write_text("extends: base.yaml\nname: over\nstudent: {width: 3}\nsearch: {trials: 5}\n")
    expected = changed(("name", "over"), ("student.width", 3), ("search.trials", 5))
    assert Study.load(over) == Study.of(expected)


@pytest.mark.parametrize(
    "objective",
    [{"name": "kd", "temperature": {"uniform": [1, 9]}}, {"choice": [{"name": "ce"}]}],
)
def test_a_distribution_of_another_study_is_replaced_and_not_mixed(tmp_path, objective):
    below = {"name": "kd", "temperature": {"log_uniform": [1, 20]}}
    base = changed(("space.objective", below))
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    over = {"extends": "base.yaml", "space": {"objective": objective}}
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over))
    assert Study.load(tmp_path / "over.yaml").space["objective"] == objective


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("extends: over.yaml", "extends: must not lead back to 'over.yaml'"),
        ("extends: there.yaml", "there.yaml"),
        ("extends: back.yaml", "extends: must not lead back to 'over.yaml'"),
    ],
)
def test_a_study_that_extends_nothing_or_itself_is_refused(tmp_path, content, message):
    (tmp_path / "over.yaml").write_text(content)
    (tmp_path / "back.yaml").write_text("extends: over.yaml")
    with pytest.raises(StudyError, match=message):
        Study.load(tmp_path / "over.yaml")


def test_every_pair_of_the_papers_is_a_study_with_its_papers_settings():
    """The 13 pairs for which TTM prints gamma and beta; a small one trains at their rate."""
    table = (Path(baselines.__file__).parent / "settings" / "zheng2024ttm.csv").read_text()
    rows = csv.DictReader(io.StringIO(table))
    pairs = {(r["teacher"], r["student"]) for r in rows if r["dataset"] == "cifar100"}
    studies = [
        Study.load(f) for f in SHIPPED if f.stem.startswith("cifar100_") and "quick" not in f.stem
    ]
    assert {(study.teacher.name, study.student.name) for study in studies} == pairs
    assert len(studies) == 13
    for study in studies:
        small = study.student.name in ("mobilenet_v2", "shufflenet_v1", "shufflenet_v2")
        assert study.recipe.learning_rate == (0.01 if small else 0.05)
        assert study.teacher.recipe.learning_rate == 0.05
        assert (study.recipe.epochs, study.recipe.batch_size, study.recipe.schedule) == (
            240,
            64,
            "step",
        )
        assert study.name == f"cifar100_{study.teacher.name}_{study.student.name}"


def test_imagenets_study_is_that_of_its_papers():
    """Torchdistill's recipe, Table 10 of TTM, and the papers' rows of the pair."""
    (file,) = (file for file in SHIPPED if file.stem == "imagenet_resnet34_resnet18")
    study = Study.load(file)
    assert (study.teacher.name, study.student.known_as) == ("resnet34", "resnet18")
    assert study.teacher.epochs == 0
    recipe = study.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (100, 256, 1e-4)
    assert [recipe.rate(epoch) for epoch in (30, 31, 61, 91)] == pytest.approx(
        [0.1, 0.01, 0.001, 0.0001]
    )
    (wttm,) = (d["objective"] for d in study.published() if d["objective"]["name"] == "wttm")
    assert (wttm["temperature"], wttm["beta"]) == (1.25, 1.6)
    rows = runner.published_rows(study)
    assert {(r.method, r.top1) for r in rows if r.table == "5"} >= {("WTTM", 72.19), ("DKD", 71.70)}
    with pytest.raises(StudyError, match=r"data: .*imagenet must hold the folder 'train'"):
        plan(study)
