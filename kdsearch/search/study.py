"""A study: one YAML file that says what is asked, of which data and networks, over which space.

`Study.load` reports all mistakes of a file together. A study that loads can be run: every end of
every dimension has been assembled into an experiment and validated.
"""

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydantic
import torch
import yaml
from pydantic import Field

from kdsearch import catalogue, models, values
from kdsearch.data.splits import DATASETS
from kdsearch.errors import KdsearchError, Problem, StudyError
from kdsearch.objectives import PAPERS, family
from kdsearch.objectives import objective as published_objective
from kdsearch.search.yaml12 import parse_yaml
from kdsearch.spaces import Space
from kdsearch.teachers import Teacher
from kdsearch.training import Network, Recipe
from kdsearch.training.experiment import problems_in
from kdsearch.values import Value, problems_of

ALGORITHMS = "search/algorithms"
SCHEDULERS = "search/schedulers"
_SEARCHABLE = ("objective", "recipe", "student")


class Named(Value):
    """A plug-in by name; further keys are its settings."""

    model_config = pydantic.ConfigDict(extra="allow")

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """The keys beside the name."""
        return dict(self.__pydantic_extra__ or {})


class Data(Named):
    """A dataset by name, and the share of its training images held out for validation."""

    validation: float = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)


class Search(Value):
    """How the space is searched."""

    trials: int = Field(64, ge=1)
    algorithm: Named = Named(name="tpe")
    scheduler: Named = Named(name="asha")
    seed: int = Field(0, ge=0)


class Final(Value):
    """How the best are confirmed: `seeds` paired trainings each, at least two for an interval."""

    seeds: int = Field(5, ge=2)


class Resources(Value):
    """What one trial takes of the cluster; `gpu` may be a fraction up to 1, or a whole number."""

    cpu: float = Field(1, gt=0)
    gpu: float = Field(0, ge=0)
    max_concurrent: int | None = Field(None, ge=1)

    @pydantic.field_validator("gpu")
    @classmethod
    def _whole_above_one(cls, gpu: float) -> float:
        if gpu > 1 and gpu != int(gpu):
            raise ValueError(f"a gpu share must be at most 1 or a whole number, but got {gpu:g}.")
        return gpu


class Tracking(Value):
    """Where MLflow keeps its runs; None is MLFLOW_TRACKING_URI or a file in the storage folder."""

    uri: str | None = None


class Study(Value):
    """A validated study."""

    name: str
    question: str = ""
    data: Data
    teacher: Teacher
    student: Network
    recipe: Recipe = Recipe()
    space: dict[str, Any]
    search: Search = Search()
    final: Final = Final()
    resources: Resources = Resources()
    tracking: Tracking = Tracking()

    @classmethod
    def load(cls, path: str | Path) -> "Study":
        """Read a study file.

        Raises:
            StudyError: everything that is wrong with it.
        """
        path = Path(path)
        try:
            content = parse_yaml(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StudyError(
                str(path), [Problem("", f"cannot be read: {error.strerror}.")]
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise StudyError(str(path), [Problem("", f"is not YAML: {_reason(error)}")]) from None
        if not isinstance(content, Mapping):
            law = "a study must be a mapping of sections (data, teacher, student, space, ...)"
            raise StudyError(str(path), [Problem("", f"{law}, but got {type(content).__name__}.")])
        return cls.of({"name": path.stem, **content}, source=path.name)

    @classmethod
    def of(cls, content: Mapping[str, Any], source: str = "study") -> "Study":
        """A study from a mapping. Errors as in `load`."""
        try:
            study = cls.model_validate(content)
        except pydantic.ValidationError as error:
            problems = [*problems_of(error, cls), *_space_problems(content)]
            with suppress(pydantic.ValidationError):
                problems += _problems(cls.model_validate(_without(content, error)))
            raise StudyError(source, dict.fromkeys(problems)) from None
        if problems := [*_space_problems(content), *_problems(study)]:
            raise StudyError(source, dict.fromkeys(problems))
        return study

    @property
    def parsed_space(self) -> Space:
        """The space as a tree of dimensions."""
        return Space(self.space)

    @property
    def digest(self) -> str:
        """A short hash of all that decides the outcome; where it runs and is tracked does not."""
        content = self.model_dump(mode="json", exclude={"question", "resources", "tracking"})
        return values.digest(content)

    def assembled(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The experiment that a draw of the space stands for, as a mapping."""
        base = {
            "model": self.student.model_dump(mode="json"),
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.search.seed,
        }
        drawn = {("model" if key == "student" else key): value for key, value in drawn.items()}
        return _merged(base, drawn)

    def published(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """`ce`, `kd`, and each objective named in the space, at its paper's settings.

        Yields (draw, objective): the draw has the keys that the space would give it, so that it
        can be located there if its values lie inside; the objective is what it stands for.
        """
        base = {name: self._default(name) for name in _drawn_elsewhere(self.space)}
        options = {family(option): option for option in _objective_options(self.space)}
        named = [name for name in options if name in catalogue.names(PAPERS)]
        for name in dict.fromkeys(["ce", "kd", *named]):
            defaults = _defaults(name)
            written = {k: defaults.get(k, v) for k, v in options.get(name, {"name": name}).items()}
            same = published_objective(**written) == published_objective(name)
            draw = written if same and name in options else {"name": name}
            yield {"objective": draw, **base}, draw

    def _default(self, section: str) -> dict[str, Any]:
        """What the study itself says for every key that its space varies in a section."""
        own = self.recipe if section == "recipe" else self.student
        said = own.model_dump(mode="json")
        return {key: said[key] for key in self.space[section] if key in said}


def _problems(study: Study) -> Iterator[Problem]:
    yield from _plugin_problems(study)
    yield from _model_problems(study)
    for section in study.space:
        if section not in _SEARCHABLE:
            law = f"a space may vary {', '.join(_SEARCHABLE)}"
            yield Problem(f"space.{section}", f"{law}, but got {section!r}.")
    if "objective" not in study.space:
        yield Problem("space", "a space must say which objectives to try under 'objective'.")
        return
    try:
        space = study.parsed_space
    except StudyError:
        return
    told: dict[tuple[str, str], Problem] = {}
    for corner in space.corners():
        for problem in _corner_problems(study, space.assemble(corner)):
            # One wrong end shows in many corners, each with other settings around it.
            told.setdefault((problem.path, problem.message.rpartition(": ")[2]), problem)
    yield from told.values()


def _corner_problems(study: Study, drawn: Mapping[str, Any]) -> Iterator[Problem]:
    experiment = study.assembled({key: drawn[key] for key in drawn if key in _SEARCHABLE})
    problems = problems_in(experiment, "space")
    for path, message in problems:
        yield Problem(path.replace("space.model", "space.student", 1), message)
    if problems:
        return
    if experiment["recipe"]["epochs"] != study.recipe.epochs:
        message = "all trials must have the same number of epochs to be comparable: fix it."
        yield Problem("space.recipe.epochs", message)
    if "student" in drawn:
        yield from _network_problems("space.student", Network.model_validate(experiment["model"]))


def _space_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        Space(content.get("space"))
    except StudyError as error:
        yield from error.problems


def _plugin_problems(study: Study) -> Iterator[Problem]:
    plugins = {
        "data": (DATASETS, study.data),
        "search.algorithm": (ALGORITHMS, study.search.algorithm),
        "search.scheduler": (SCHEDULERS, study.search.scheduler),
    }
    for path, (folder, plugin) in plugins.items():
        if plugin.name not in catalogue.names(folder):
            try:
                catalogue.load(folder, plugin.name)
            except KdsearchError as error:
                yield Problem(f"{path}.name", str(error))
            continue
        settings = catalogue.describe(folder, plugin.name).settings
        valid = [setting.partition("=")[0] for setting in settings.split(", ") if setting]
        for key in plugin.settings:
            if key not in valid:
                law = f"{plugin.name!r} has the settings {', '.join(valid) or '(none)'}"
                yield Problem(f"{path}.{key}", f"{law}, but got {key!r}.")


def _model_problems(study: Study) -> Iterator[Problem]:
    for path, network in {"teacher.model": study.teacher.model, "student": study.student}.items():
        yield from _network_problems(path, network)


def _network_problems(path: str, network: Network) -> Iterator[Problem]:
    try:
        # The meta device allocates nothing: this checks names and sizes, however large.
        with torch.device("meta"):
            models.build(network.name, classes=10, **network.size)
    except KdsearchError as error:
        yield Problem(path, str(error))


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{error.problem} in line {mark.line + 1}, column {mark.column + 1}."
    return " ".join(str(error).split())


def _without(content: Mapping[str, Any], error: pydantic.ValidationError) -> dict[str, Any]:
    """The content without what was refused, so that the rest can be checked all the same."""
    rest = copy.deepcopy(dict(content))
    for found in error.errors():
        steps = found["loc"][: -1 if found["type"] == "missing" else None]
        section: Any = rest
        for step in steps[:-1]:
            section = section[step] if isinstance(section, dict) else {}
        if steps and isinstance(section, dict):
            section.pop(steps[-1], None)
    return rest


def _objective_options(space: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The objectives that a space names, one mapping per option."""
    tree = space["objective"]
    options = tree.get("choice", [tree]) if isinstance(tree, Mapping) else []
    return [option for option in options if isinstance(option, Mapping)]


def _drawn_elsewhere(space: Mapping[str, Any]) -> list[str]:
    return [section for section in space if section != "objective"]


def _defaults(name: str) -> dict[str, Any]:
    """The settings of a published objective, as its paper gives them."""
    parameters = inspect.signature(catalogue.load(PAPERS, name).objective).parameters
    values = {key: parameter.default for key, parameter in parameters.items()}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
