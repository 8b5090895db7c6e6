"""Write the generated parts of README.md, or say that they are out of step.

    python docs/generate.py [--check]

The leaderboard comes from docs/results/digits.md, the objective table from the objectives' own
files, the overhead from docs/results/overhead.md.
"""

import re
import sys
from pathlib import Path

from kdsearch import catalogue
from kdsearch.objectives import PAPERS

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


if __name__ == "__main__":
    old = README.read_text(encoding="utf-8")
    new = generated(old)
    if "--check" in sys.argv and new != old:
        sys.exit("README.md is out of step with what it shows. Run `python docs/generate.py`.")
    README.write_text(new, encoding="utf-8")
