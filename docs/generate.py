"""Write the generated documents, or say which are out of step.

    python docs/generate.py [--check]

README.md's leaderboard comes from docs/results/digits.md, its objective table from the objectives'
own files, its overhead from docs/results/overhead.md; docs/study.md's keys from the study's fields.
docs/objectives.md is written whole.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from kdsearch import catalogue
from kdsearch.objectives import PAPERS, objective
from kdsearch.search.study import Study
from kdsearch.training import Recipe
from kdsearch.values import Value

ROOT = Path(__file__).parent.parent
README, STUDY = ROOT / "README.md", ROOT / "docs" / "study.md"


def leaderboard() -> str:
    """The Markdown table of the committed run."""
    result = (ROOT / "docs" / "results" / "digits.md").read_text(encoding="utf-8")
    return "\n".join(line for line in result.splitlines() if line.startswith("|"))


def objectives() -> str:
    """One row per published objective: name, settings with defaults, summary."""
    entries = [catalogue.describe(PAPERS, name) for name in catalogue.names(PAPERS)]
    rows = [f"| `{e.name}` | {_code(e.settings)} | {e.summary} |" for e in entries]
    return "\n".join(["| name | settings | what it is |", "|---|---|---|", *rows])


def overhead() -> str:
    """The committed output of the benchmark."""
    return (ROOT / "docs" / "results" / "overhead.md").read_text(encoding="utf-8").strip()


def keys() -> str:
    """A row per section of a study: its keys, each with its default; `...` must be said."""
    rows = [f"| `{section}` | `{text}` |" for section, text in _sections(Study, "")]
    return "\n".join(["| section | its keys |", "|---|---|", *rows])


def _sections(of: type[Value], path: str) -> Iterator[tuple[str, str]]:
    """A section and those within it; one that has nothing but a name is a key of its section."""
    said, inner = [], []
    for name, field in of.model_fields.items():
        kind = next((k for k in _kinds(field.annotation) if issubclass(k, Value)), None)
        free = kind and any(not each.is_required() for each in kind.model_fields.values())
        if not free or field.default is None:
            said.append(f"{name}: {_default(field)}")
        elif kind is not Recipe or not path:  # the teacher's is like the student's
            inner.append((kind, f"{path}{name}"))
    yield path.rstrip(".") or "the study", ", ".join(said)
    for kind, below in inner:
        yield from _sections(kind, f"{below}.")


def _kinds(annotation: Any) -> list[type]:
    return [each for each in (annotation, *get_args(annotation)) if isinstance(each, type)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "..."
    plain = TypeAdapter(Any).dump_python(field.default, mode="json")
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).partition("\n")[0]


def _code(settings: str) -> str:
    return f"`{settings}`" if settings else ""


def generated(text: str) -> str:
    """The text with its marked parts written anew."""
    for part in (leaderboard, objectives, overhead, keys):
        mark = part.__name__
        pattern = rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)"
        text = re.sub(pattern, lambda m, p=part: f"{m[1]}{p()}\n{m[2]}", text, flags=re.S)
    return text


def objectives_page() -> str:
    """docs/objectives.md: every published objective as formula, parts, settings and source."""
    sections = [_INTRODUCTION]
    for name in catalogue.names(PAPERS):
        entry, found = catalogue.describe(PAPERS, name), objective(name)
        text = catalogue.load(PAPERS, name).__doc__.strip()
        parts = {part: getattr(found, part) for part in type(found).model_fields}
        rows = [f"| {part} | `{value!r}` |" for part, value in parts.items()]
        sections.append(
            f"## {name}\n\n{text}\n\nSettings: {_code(entry.settings) or 'none'}\n\n"
            f"    {found.formula}\n\n| part | at the defaults |\n|---|---|\n" + "\n".join(rows)
        )
    return "\n\n".join(sections) + "\n"


_INTRODUCTION = """# Objectives

Written by `python docs/generate.py` from the objectives themselves.

    loss = hard * CE(z, y) + soft * mean_i( weight_i * D(phi_T(v_i), phi_S(z_i), y_i) )

z are the student's logits, v the teacher's, y the label. A divergence of transformed logits is that
of their softmaxes, apart from MSE, which takes the logits. *Evidence* says what an objective was
checked against. Every row is also compared, value and gradient, with an independent implementation
in float64 (`tests/objectives/reference.py`)."""


if __name__ == "__main__":
    written = {
        **{file: generated(file.read_text(encoding="utf-8")) for file in (README, STUDY)},
        ROOT / "docs" / "objectives.md": objectives_page(),
    }
    stale = [
        file.name
        for file, new in written.items()
        if not file.exists() or file.read_text(encoding="utf-8") != new
    ]
    if "--check" in sys.argv and stale:
        sys.exit(f"{', '.join(stale)} out of step. Run `python docs/generate.py`.")
    for file, new in written.items():
        file.write_text(new, encoding="utf-8")
