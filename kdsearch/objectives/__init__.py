"""Objectives: what a student minimises. Published ones by name, all others as five parts.

objective("wttm", temperature=10.0, beta=3.0, weighting_power=1.0)
from_spec({"divergence": {"kind": "mse"}, "student": {"kind": "temperature", "temperature": 2}})
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from kdsearch import catalogue
from kdsearch.errors import Problem, SettingError
from kdsearch.objectives.objective import Objective, Terms
from kdsearch.values import problems_of

__all__ = ["Objective", "Terms", "from_spec", "objective", "spec_problems"]

PAPERS = "objectives/papers"


def objective(name: str, **settings: Any) -> Objective:
    """A published objective; settings that are left out have the paper's values.

    Args:
        name: one of `kdsearch list objectives`.
        settings: the names shown there, for example `temperature`, `lam`, `beta`.

    Raises:
        NameNotFound: no objective has this name.
        SettingError: the objective has no such setting, or the value is impossible.
    """
    build: Callable[..., Objective] = catalogue.load(PAPERS, name).objective
    valid = tuple(inspect.signature(build).parameters)
    if unknown := [setting for setting in settings if setting not in valid]:
        raise SettingError(
            f"{name!r} has the settings {', '.join(valid) or '(none)'},"
            f" but got {', '.join(map(repr, unknown))}."
        )
    try:
        return build(**settings)
    except pydantic.ValidationError as error:
        raise SettingError(
            f"{name} with {_told(settings)}: "
            + " ".join(problem.message for problem in problems_of(error))
        ) from None
    except (TypeError, OverflowError) as error:
        raise SettingError(
            f"{name}: every setting must be a number or a list of numbers, not too large,"
            f" but got {settings!r} ({error})."
        ) from None


def from_spec(spec: Mapping[str, Any]) -> Objective:
    """An objective from a study file: `{name: ..., settings}` or a mapping of parts.

    `{file: my_objective.py, name: ..., settings}` is a user's own, a function that returns an
    `Objective`.

    Raises:
        NameNotFound, SettingError: as `objective`.
    """
    if "file" in spec:
        return _own(**{str(key): value for key, value in spec.items()})
    if "name" in spec:
        return objective(**{str(key): value for key, value in spec.items()})
    try:
        return Objective.model_validate(spec)
    except pydantic.ValidationError as error:
        problems = problems_of(error, Objective)
        raise SettingError(" ".join(str(problem) for problem in problems)) from None


def spec_problems(spec: Any, path: str) -> list[Problem]:
    """The mistakes of an objective in a study file, each at its path; empty where it builds."""
    if not isinstance(spec, Mapping):
        return [
            Problem(path, f"an objective must be a mapping with a name or parts, got {spec!r}.")
        ]
    if "name" not in spec and "file" not in spec:
        try:
            Objective.model_validate(spec)
        except pydantic.ValidationError as error:
            return problems_of(error, Objective, path)
        return []
    try:
        from_spec(spec)
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is the study's mistake
        return [Problem(path, str(error))]
    return []


def _own(file: str, name: str = "objective", sha256: str = "", **settings: Any) -> Objective:
    shown = "kdsearch.objectives.Objective, its five parts"
    return catalogue.call_own(file, name, sha256, settings, "build an objective", Objective, shown)


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def family(spec: Mapping[str, Any]) -> str:
    """What a leaderboard groups by: the objective's name, or `parts` for a free combination.

    A user's own is `file.name`, so that it is never taken for a published one.
    """
    if "file" in spec:
        return f"{Path(spec['file']).stem}.{spec.get('name', 'objective')}"
    return str(spec.get("name", "parts"))
