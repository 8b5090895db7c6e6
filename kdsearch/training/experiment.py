"""Experiment: everything that decides one training, as a value with a digest."""

from collections.abc import Mapping
from typing import Any, Self

import pydantic
from pydantic import Field, model_validator

from kdsearch import values
from kdsearch.errors import Problem, SettingError
from kdsearch.objectives import Objective, from_spec, spec_problems
from kdsearch.training.recipe import Recipe
from kdsearch.values import Value


class Network(Value):
    """A model by name; further keys are its sizes."""

    model_config = pydantic.ConfigDict(extra="allow")

    name: str

    @property
    def size(self) -> dict[str, Any]:
        """The keys beside the name."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def known_as(self) -> str:
        """What papers call it: a library's network has its name there."""
        library = self.name in ("torchvision", "timm")
        return str(self.size.get("model", self.name)) if library else self.name


class Experiment(Value):
    """One network, one objective, one recipe, one seed.

    `objective` is kept as written in a study (`{name: kd, temperature: 4}` or parts); `loss` is
    the objective it stands for.
    """

    model: Network
    objective: dict[str, Any]
    recipe: Recipe = Recipe()
    seed: int = Field(0, ge=0)

    @property
    def loss(self) -> Objective:
        """The objective as five parts."""
        return from_spec(self.objective)

    @property
    def digest(self) -> str:
        """A short hash of all that decides the outcome: equal parts under any spelling agree."""
        content = self.model_dump(mode="json") | {"objective": self.loss.model_dump(mode="json")}
        return values.digest(content)

    @model_validator(mode="after")
    def _objective_builds(self) -> Self:
        if problems := spec_problems(self.objective, "objective"):
            raise ValueError("; ".join(problem.message for problem in problems))
        return self


def problems_in(mapping: Mapping[str, Any], prefix: str = "") -> list[Problem]:
    """Every mistake of a mapping that should be an experiment; empty where it is one."""
    problems = spec_problems(mapping.get("objective"), values.dotted(prefix, "objective"))
    try:
        Experiment.model_validate({**mapping, "objective": {"name": "ce"}})
    except pydantic.ValidationError as error:
        problems += values.problems_of(error, Experiment, prefix)
    except SettingError as error:
        problems.append(Problem(prefix, str(error)))
    return problems
