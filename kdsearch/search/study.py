"""A study: one YAML file that says what is asked, of which data and networks, over which space.

`Study.load` reports all mistakes of a file together. A study that loads can be run: every end of
every dimension has been assembled into an experiment and validated.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

import pydantic
import yaml
from pydantic import Field

from kdsearch import catalogue, values
from kdsearch.baselines import published_settings
from kdsearch.data.noise import Noise
from kdsearch.data.normalisation import Normalisation
from kdsearch.data.splits import DATASETS
from kdsearch.data.views import PLAIN, Views
from kdsearch.errors import Problem, StudyError
from kdsearch.objectives import PAPERS, family
from kdsearch.objectives import objective as published_objective
from kdsearch.search import mistakes
from kdsearch.search.yaml12 import parse_yaml
from kdsearch.spaces import RESERVED, Space
from kdsearch.teachers import Teacher
from kdsearch.training import Network, Recipe
from kdsearch.values import Value, problems_of


class Named(Value):
    """A plug-in by name; further keys are its settings."""

    model_config = pydantic.ConfigDict(extra="allow")

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """The keys beside the name."""
        return dict(self.__pydantic_extra__ or {})


class Data(Named):
    """A dataset by name, the share of its training images held out, and what is done to it.

    `classes`, `per_class` and `test_per_class` keep a part, `noise` makes labels wrong, `views`
    augments, `normalisation` is given where trained networks expect another than the data's own;
    `published_as` is the name under which papers publish the set, where it is not its
    own.
    """

    validation: float = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    noise: Noise | None = None
    views: Views = PLAIN
    normalisation: Normalisation | None = None
    classes: int | None = Field(None, ge=2)
    per_class: int | None = Field(None, ge=2)
    test_per_class: int | None = Field(None, ge=1)
    published_as: str | None = None

    @property
    def places(self) -> list[str]:
        """The files, folders and URIs that it is read from."""
        named = dict(self.settings)
        if "file" not in named:
            load = catalogue.load(DATASETS, self.name).load
            parameters = inspect.signature(load).parameters.values()
            named = {each.name: each.default for each in parameters} | named
        found = [named[key] for key in ("root", "train", "test") if named.get(key)]
        places = [each if isinstance(each, list) else [each] for each in found]
        return [place for each in places for place in each if isinstance(place, str)]

    @property
    def arguments(self) -> dict[str, Any]:
        """What `data.load` takes."""
        return self.model_dump(exclude={"published_as"})

    @property
    def streamed(self) -> bool:
        """Whether its pictures stay in their files; not known of a user's own dataset."""
        return bool(self.settings.get("stream"))

    @property
    def published(self) -> str | None:
        """The name to look for in the papers; None for a part of a set, which is another task."""
        changed = (self.noise, self.classes, self.per_class, self.test_per_class)
        return None if any(changed) else self.published_as or self.name


class Search(Value):
    """How the space is searched.

    control: how long kd alone is searched on, so that tuned kd is compared with: until it has had
    as many student-epochs as the objective that took most (`family`), or as the whole search.
    points: draws to try after the published ones, as `kdsearch suggest` finds them in the past; a
    section of the space that a point leaves out is as the study says itself.
    """

    trials: int = Field(64, ge=1)
    algorithm: Named = Named(name="tpe")
    scheduler: Named = Named(name="asha")
    control: Literal["family", "search", "none"] = "family"
    seed: int = Field(0, ge=0)
    points: tuple[dict[str, Any], ...] = ()


class Final(Value):
    """How the best are confirmed: `seeds` paired trainings each, at least two for an interval."""

    seeds: int = Field(5, ge=2)


def _whole_above_one(gpu: float) -> float:
    if gpu > 1 and gpu != int(gpu):
        raise ValueError(f"a gpu share must be at most 1 or a whole number, but got {gpu:g}.")
    return gpu


Gpu = Annotated[float, Field(ge=0), pydantic.AfterValidator(_whole_above_one)]
"""A fraction of a GPU up to 1, or a whole number of them."""


class Share(Value):
    """What one task takes of the cluster."""

    cpu: float = Field(1, gt=0)
    gpu: Gpu = 0

    def __str__(self) -> str:
        return f"{self.cpu:g} CPU and {self.gpu:g} GPU"


class Wanted(Value):
    """What a study says of a task's share; None is left to its default."""

    cpu: float | None = Field(None, gt=0)
    gpu: Gpu | None = None


class Resources(Value):
    """What one trial takes of the cluster; `gpu: auto` is measured when the search begins.

    The teacher's tasks take as many CPUs, and a whole GPU where trials use any, unless `teacher`
    says otherwise: it is larger than a student.
    """

    cpu: float = Field(1, gt=0)
    gpu: float | Literal["auto"] = 0
    max_concurrent: int | None = Field(None, ge=1)
    teacher: Wanted = Wanted()

    @pydantic.field_validator("gpu", mode="plain")
    @classmethod
    def _number_or_auto(cls, gpu: Any) -> float | Literal["auto"]:
        if gpu == "auto":
            return "auto"
        if isinstance(gpu, str):
            raise ValueError(f"gpu must be a number, or auto to have it measured, but got {gpu!r}.")
        number: float = pydantic.TypeAdapter(Gpu).validate_python(gpu)
        return number

    def of_trial(self, measured: float) -> Share:
        """A trial's share, where `auto` is what was measured."""
        return Share(cpu=self.cpu, gpu=measured if self.gpu == "auto" else self.gpu)

    def of_teacher(self, trial: Share) -> Share:
        """That of each of the teacher's tasks, beside trials of this share."""
        cpu, gpu = self.teacher.cpu, self.teacher.gpu
        whole = 1 if trial.gpu else 0
        return Share(cpu=cpu or trial.cpu, gpu=whole if gpu is None else gpu)


class Tracking(Value):
    """Where MLflow keeps its runs; None is MLFLOW_TRACKING_URI or a file in the storage folder."""

    uri: str | None = None


class Study(Value):
    """A validated study.

    signals: `stored` keeps the teacher's logits of every view that students see; `online` runs the
    teacher beside every student, which costs its forward pass each time and no disk.
    """

    name: str
    question: str = ""
    data: Data
    teacher: Teacher
    signals: Literal["stored", "online"] = "stored"
    student: Network
    recipe: Recipe = Recipe()
    space: dict[str, Any]
    search: Search = Search()
    final: Final = Final()
    resources: Resources = Resources()
    tracking: Tracking = Tracking()

    @classmethod
    def load(cls, path: str | Path, remote: bool = False) -> "Study":
        """Read a study file; with `extends: other.yaml` it says only what differs from that one, or
        from several, of which each is laid over those before it.

        `remote`: it is to run on another machine, which alone can find its absolute paths.

        Raises:
            StudyError: everything that is wrong with it.
        """
        path = Path(path)
        return cls.of({"name": path.stem, **_read(path)}, path.name, remote)

    @classmethod
    def of(cls, content: Mapping[str, Any], source: str = "study", remote: bool = False) -> "Study":
        """A study from a mapping. `remote` and errors as in `load`."""
        try:
            study = cls.model_validate(content)
        except pydantic.ValidationError as error:
            found = [*problems_of(error, cls), *mistakes.of_space(content)]
            with suppress(pydantic.ValidationError):
                rest = cls.model_validate(mistakes.without(content, error))
                found += mistakes.of_study(rest, remote)
            raise StudyError(source, dict.fromkeys(found)) from None
        if found := [*mistakes.of_space(content), *mistakes.of_study(study, remote)]:
            raise StudyError(source, dict.fromkeys(found))
        return study

    @property
    def parsed_space(self) -> Space:
        """The space as a tree of dimensions."""
        return Space(self.space)

    @property
    def digest(self) -> str:
        """A short hash of all that decides the outcome; where it runs and is tracked does not."""
        content = self.model_dump(mode="json", exclude={"question", "resources", "tracking"})
        if not self.search.points:  # a study without is what it was before there were any
            del content["search"]["points"]
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

    @property
    def families(self) -> dict[str, list[dict[str, Any]]]:
        """The objectives that the space reaches, by name, each with examples from its corners."""
        space = self.parsed_space
        found: dict[str, list[dict[str, Any]]] = {}
        for corner in space.corners():
            spec = space.assemble(corner)["objective"]
            found.setdefault(family(spec), []).append(spec)
        return found

    @property
    def code(self) -> list[str]:
        """The user's own files that it names."""
        named = named_files(self.model_dump(mode="json"))
        return list(dict.fromkeys(file for path, file in named if path.endswith("file")))

    def published(self) -> Iterator[dict[str, Any]]:
        """`ce`, `kd`, and each named objective of the space, at its paper's settings, as draws.

        Those for this pair of networks where the paper has them, else the defaults. Where they lie
        in the space, the draw is written so that it is found there.
        """
        space, families = self.parsed_space, self.families
        base = {section: self._default(section) for section in self.space if section != "objective"}
        named = [name for name in families if name in catalogue.names(PAPERS)]
        for name in dict.fromkeys(["ce", "kd", *named]):
            taught = self.teacher.name
            pair = (taught and published_settings(name, taught, self.student.known_as)) or {}
            wanted = published_objective(name, **pair)
            known = _defaults(name) | pair
            draw = {"objective": {"name": name, **known}, **base}
            for example in families.get(name, []):
                spec = {key: known.get(key, value) for key, value in example.items()}
                same = published_objective(**spec) == wanted
                if same and space.locate({"objective": spec, **base}) is not None:
                    draw = {"objective": spec, **base}
                    break
            yield draw

    def warm(self) -> list[dict[str, Any]]:
        """Its own first points, as draws, without those that are published ones anyway."""
        published = list(self.published())
        draws = map(self.drawn, self.search.points)
        return [draw for draw in draws if draw not in published]

    def drawn(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A first point as a whole draw."""
        sections = [section for section in self.space if section != "objective"]
        return _merged({section: self._default(section) for section in sections}, point)

    def _default(self, section: str) -> dict[str, Any]:
        """What the study itself says for every key that its space varies in a section."""
        own = self.recipe if section == "recipe" else self.student
        said = own.model_dump(mode="json")
        return {key: said[key] for key in self.space[section] if key in said}


def _read(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A study file's content over that of the file that it extends, or of several in turn.

    Raises:
        StudyError: a file cannot be read, is not YAML, or extends itself.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(str(path), [Problem("", f"cannot be read: {error.strerror}.")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(
            str(path), [Problem("", f"is not YAML: {mistakes.sentence(error)}")]
        ) from None
    if not isinstance(content, Mapping):
        law = "a study must be a mapping of sections (data, teacher, student, space, ...)"
        raise StudyError(str(path), [Problem("", f"{law}, but got {type(content).__name__}.")])
    settled: dict[str, Any] = _settled(dict(content), path.parent)
    bases = settled.pop("extends", None) or []
    merged: dict[str, Any] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        place = path.parent / str(base)
        if place.resolve() in (path.resolve(), *below):
            raise StudyError(str(path), [Problem("extends", f"must not lead back to {base!r}.")])
        merged = _merged(merged, _read(place, (*below, path.resolve())))
    return _merged(merged, settled)


def _settled(content: Any, folder: Path) -> Any:
    """The content with its files found from the study's folder, and its code by what it says.

    Paths become relative to the working folder where they lie in it, so that a stored study can be
    read on another machine. A user's own `file` gets the digest that it must keep.
    """
    if isinstance(content, list):
        return [_settled(each, folder) for each in content]
    if not isinstance(content, dict):
        return content
    settled = {key: _settled(value, folder) for key, value in content.items()}
    for key in FILES & settled.keys():
        if isinstance(settled[key], str) and settled[key]:
            place = (folder / settled[key]).resolve()
            near = place.is_relative_to(Path.cwd())
            settled[key] = str(place.relative_to(Path.cwd()) if near else place)
            if key == "file" and place.is_file():
                settled["sha256"] = catalogue.own_digest(settled[key])
    return settled


FILES = {"file", "checkpoint", "logits"}
"""Keys whose values are files, found from the folder of the study that names them."""


def _defaults(name: str) -> dict[str, Any]:
    """The settings of a published objective, as its paper gives them."""
    parameters = inspect.signature(catalogue.load(PAPERS, name).objective).parameters
    values = {key: parameter.default for key, parameter in parameters.items()}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` above `base`, section by section; a distribution on either side is not mixed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if _is_section(value) and _is_section(below):
            value = _merged(below, value)
        merged[key] = value
    return merged


def _is_section(content: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(content, Mapping) and content.keys().isdisjoint(RESERVED)


def named_files(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The files in a study's content, each with its dotted path."""
    if isinstance(content, list):
        for each in content:
            yield from named_files(each, path)
    elif isinstance(content, dict):
        for key, value in content.items():
            here = f"{path}.{key}".lstrip(".")
            if key in FILES and isinstance(value, str) and value:
                yield here, value
            yield from named_files(value, here)
