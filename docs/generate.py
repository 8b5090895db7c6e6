"""Write the generated documents, or say which are out of step.

    python docs/generate.py [--check]

README.md's leaderboard comes from docs/results/digits.md, its objective table from the objectives'
own files, its overhead from docs/results/overhead.md. docs/objectives.md is written whole.
"""

import re
import sys
from pathlib import Path

from kdsearch import catalogue
from kdsearch.objectives import PAPERS, objective

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


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


def _code(settings: str) -> str:
    return f"`{settings}`" if settings else ""


def generated(text: str) -> str:
    """The text with its marked parts written anew."""
    for part in (leaderboard, objectives, overhead):
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
        README: generated(README.read_text(encoding="utf-8")),
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
