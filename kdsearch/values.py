"""Frozen, typed values, and how their mistakes read.

Every configuration and every part of an objective is a `Value`: equal by content, hashable, JSON
both ways, unknown keys refused. `problems_of` turns pydantic's findings into kdsearch's sentences:
the law, then what came, then the valid choices.
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from typing import Any, get_args

import pydantic

from kdsearch.errors import Problem


class Value(pydantic.BaseModel):
    """A frozen value: compared by content, usable as a key, refusing unknown fields."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,  # where a law allows infinity, its own field says so
        ser_json_inf_nan="constants",
        validate_default=True,
    )


def digest(content: Any) -> str:
    """A short hexadecimal SHA-256 of JSON-like content, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def problems_of(
    error: pydantic.ValidationError, model: type[Value] | None = None, prefix: str = ""
) -> list[Problem]:
    """The findings of a validation as kdsearch's problems.

    Args:
        error: what pydantic found.
        model: the class that was validated; its fields are listed where an unknown key was met.
        prefix: a dotted path put before each problem's own.
    """
    problems = []
    for found in error.errors(include_url=False):
        path, place = _in_file(model, found["loc"])
        name = path[-1] if path else "value"
        came = f"but got {_short(found.get('input'))}."
        context = found.get("ctx", {})
        match found["type"]:
            case "extra_forbidden":
                fields = tuple(getattr(_in_file(model, found["loc"][:-1])[1], "model_fields", ()))
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                valid = f" Valid: {', '.join(fields)}." if fields else ""
                message = f"there is no setting {name!r} here.{hint}{valid}"
            case "missing":
                message = f"a value for {name!r} is needed, but none was given."
            case "greater_than":
                message = f"{name} > {context['gt']:g} must hold, {came}"
            case "greater_than_equal":
                message = f"{name} >= {context['ge']:g} must hold, {came}"
            case "less_than":
                message = f"{name} < {context['lt']:g} must hold, {came}"
            case "less_than_equal":
                message = f"{name} <= {context['le']:g} must hold, {came}"
            case "literal_error" | "union_tag_invalid":
                choices = context.get("expected") or context.get("expected_tags")
                given = context.get("tag", found.get("input"))
                message = f"{name} must be one of {choices}, but got {_short(given)}."
            case "union_tag_not_found":
                kinds = ", ".join(map(repr, _kinds(place)))
                message = f"{name} needs a kind, one of {kinds}, {came}"
            case "value_error":
                message = str(context.get("error", found["msg"]))
            case _:
                law = found["msg"].replace("Input should be", f"{name} must be")
                message = f"{law}, {came}"
        problems.append(Problem(dotted(prefix, *path), message))
    return problems


def _in_file(annotation: Any, steps: Sequence[Any]) -> tuple[list[str], Any]:
    """An error's location as keys of the file, and the type that is expected there.

    Pydantic's location also holds the tags of unions, which are no keys.
    """
    path: list[str] = []
    for step in steps:
        kinds = _kinds(annotation)
        if step in kinds:
            annotation = kinds[step]
            continue
        path.append(str(step))
        field = getattr(annotation, "model_fields", {}).get(step)
        annotation = field.annotation if field else None
    return path, annotation


def _kinds(annotation: Any) -> dict[str, Any]:
    """The members of a tagged union by their tags; empty for anything else."""
    members = [m for m in get_args(annotation) if "kind" in getattr(m, "model_fields", {})]
    return {member.model_fields["kind"].default: member for member in members}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def dotted(*steps: str) -> str:
    """A dotted path of the steps that are not empty."""
    return ".".join(step for step in steps if step)
