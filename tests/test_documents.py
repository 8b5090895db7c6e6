"""Documents are in step with the code: generated parts, commands, examples and links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from kdsearch.cli import cli
from kdsearch.search.study import Study

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "docs/objectives.md"]
DOCUMENTS += ["docs/results/digits.md", "docs/results/digits_noise.md", "docs/results/proxy.md"]
DOCUMENTS += ["docs/results/handover.md", "docs/results/memory.md", "docs/results/gpu.md"]
DOCUMENTS += ["docs/cluster.md", "docs/faults.md", "docs/leaderboard.md", "docs/your-own.md"]
DOCUMENTS += ["docs/mlflow.md", "docs/study.md", "docs/scale.md"]
DOCUMENTS += ["docs/results/scale.md"]


def test_generated_parts_are_in_step(root: Path) -> None:
    command = [sys.executable, str(root / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_readme_shows_every_command(root: Path) -> None:
    readme = (root / "README.md").read_text()
    for name in cli.commands:
        assert f"kdsearch {name}" in readme


def test_the_readmes_study_loads(root: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (root / "README.md").read_text(), flags=re.S)
    study = Study.of({"name": "readme", **yaml.safe_load(text)})
    assert study.resources.gpu == 0.25


def test_the_readmes_python_runs(root: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), flags=re.S)
    names = {
        "student_logits": torch.randn(4, 10),
        "teacher_logits": torch.randn(4, 10),
        "labels": torch.arange(4),
    }
    exec(code, names)  # runs the README's own lines
    assert "loss" in names


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_paths_lead_somewhere(document: str, root: Path) -> None:
    lines = (root / document).read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("    "))  # no code blocks
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (root / document).parent.joinpath(target).exists(), target
    for path in re.findall(r"\b(?:tests|benchmarks|deploy|docs|search_spaces)/[\w./-]+\w", text):
        assert (root / path).exists(), path


def test_every_fault_is_injected_by_a_test(root: Path) -> None:
    code = "".join(file.read_text() for file in (root / "tests").rglob("test_*.py"))
    rows = (root / "docs" / "faults.md").read_text().split("|---|---|---|---|\n")[1]
    for row in rows.partition("\n\n")[0].splitlines():
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        for name in named:
            assert f"def {name}(" in code, name
