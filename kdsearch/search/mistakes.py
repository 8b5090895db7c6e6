"""The mistakes of a study beyond the form of its fields, each at its path, each once.

Names that no folder holds, settings that a plug-in does not have, networks that cannot be built,
and ends of the space that are no valid experiment.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import torch
import yaml

from kdsearch import baselines, catalogue, models
from kdsearch.data.splits import DATASETS, HELD
from kdsearch.errors import KdsearchError, Problem, StudyError
from kdsearch.objectives import from_spec
from kdsearch.objectives.guard import refusal
from kdsearch.spaces import Space
from kdsearch.training import Network
from kdsearch.training.experiment import problems_in

if TYPE_CHECKING:
    from kdsearch.search.study import Study

ALGORITHMS = "search/algorithms"
SCHEDULERS = "search/schedulers"
_SEARCHABLE = ("objective", "recipe", "student")


def of_study(study: "Study", remote: bool = False) -> Iterator[Problem]:
    """Everything that is wrong with a study whose fields are well-formed.

    `remote`: absolute paths are another machine's, and not looked for.
    """
    yield from _plugin_problems(study)
    yield from _model_problems(study, remote)
    if name := study.data.published_as:
        try:
            baselines.query(dataset=name)
        except KdsearchError as error:
            yield Problem("data.published_as", str(error))
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
    if not told:
        yield from _refusals(study, space)
        yield from _point_problems(study, space)


def _point_problems(study: "Study", space: Space) -> Iterator[Problem]:
    """First points that the space does not hold."""
    for number, point in enumerate(study.search.points):
        draw = study.drawn(point)
        if space.locate(draw) is None:
            law = "a first point must lie in the space"
            came = f"but {draw} does not"
            remedy = "Widen the space, or ask `kdsearch suggest` for others"
            yield Problem(f"search.points.{number}", f"{law}, {came}. {remedy}.")


def _refusals(study: "Study", space: Space) -> Iterator[Problem]:
    """A space that holds nothing but combinations without meaning."""
    objectives = [
        from_spec(study.assembled(space.assemble(corner))["objective"])
        for corner in space.corners()
    ]
    reasons = [refusal(objective) for objective in objectives]
    if all(reasons):
        law = "at least one combination must mean something"
        yield Problem("space.objective", f"{law}, but of the first, {reasons[0]}.")


def _corner_problems(study: "Study", drawn: Mapping[str, Any]) -> Iterator[Problem]:
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


def of_space(content: Mapping[str, Any]) -> Iterator[Problem]:
    """The malformed distributions of a study's space."""
    try:
        Space(content.get("space"))
    except StudyError as error:
        yield from error.problems


def _plugin_problems(study: "Study") -> Iterator[Problem]:
    plugins = {
        "data": (DATASETS, study.data),
        "search.algorithm": (ALGORITHMS, study.search.algorithm),
        "search.scheduler": (SCHEDULERS, study.search.scheduler),
    }
    for path, (folder, plugin) in plugins.items():
        if "file" in plugin.settings and folder == DATASETS:
            try:
                catalogue.own(plugin.settings["file"], plugin.name)
            except KdsearchError as error:
                yield Problem(path, str(error))
            continue
        if plugin.name not in catalogue.names(folder):
            try:
                catalogue.load(folder, plugin.name)
            except KdsearchError as error:
                yield Problem(f"{path}.name", str(error))
            continue
        valid = catalogue.describe(folder, plugin.name).defaults
        for key in plugin.settings:
            if key not in valid:
                law = f"{plugin.name!r} has the settings {', '.join(valid) or '(none)'}"
                yield Problem(f"{path}.{key}", f"{law}, but got {key!r}.")


def _model_problems(study: "Study", remote: bool) -> Iterator[Problem]:
    yield from _network_problems("student", study.student)
    for depth, teacher in enumerate(study.teacher.chain, start=1):
        path = "teacher." * depth
        if teacher.model:
            yield from _network_problems(f"{path}model", teacher.model)
        for kind in ("checkpoint", "logits"):
            file = getattr(teacher, kind)
            if file and not (Path(file).is_file() or (remote and Path(file).is_absolute())):
                yield Problem(f"{path}{kind}", f"must be a file, but {file!r} is none.")
    if study.teacher.logits and not study.data.views.identity:
        law = "a teacher known by its logits alone has none of augmented images"
        yield Problem("data.views", f"{law}: leave views out, or give the teacher's checkpoint.")
    views = study.data.views
    if views.area and not study.data.streamed and "file" not in study.data.settings:
        yield Problem("data.views.area", HELD)
    if study.data.streamed and study.signals == "stored" and not (views.identity or views.count):
        law = "the teacher of a stream must run beside its students, or views must have a count"
        yield Problem(
            "signals", f"{law}, but ever new views were to be stored. Say `signals: online`."
        )
    if study.teacher.logits and study.signals == "online":
        yield Problem("signals", "logits alone cannot run online: leave it out.")


def _network_problems(path: str, network: Network) -> Iterator[Problem]:
    try:
        # The meta device allocates nothing: this checks names and sizes, however large.
        with torch.device("meta"):
            models.build(network.name, classes=10, **network.size)
    except KdsearchError as error:
        yield Problem(path, str(error))


def sentence(error: Exception) -> str:
    """What is wrong with a text that is not YAML, and where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{error.problem} in line {mark.line + 1}, column {mark.column + 1}."
    return " ".join(str(error).split())


def without(content: Mapping[str, Any], error: pydantic.ValidationError) -> dict[str, Any]:
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
