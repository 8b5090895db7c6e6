"""docs/your-own.md, followed to the letter: its files written, its commands run, in its order."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from kdsearch import data
from kdsearch.errors import KdsearchError
from kdsearch.search.runner import Run
from kdsearch.search.study import Study
from kdsearch.teachers import elsewhere
from tests.search.driving import leaderboard

CLASSES = ("bird", "cat", "dog")


@pytest.fixture
def document(root: Path) -> str:
    return (root / "docs" / "your-own.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's working folder: pictures, and nothing else yet."""
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path / "images")
    return tmp_path


def blocks(document: str) -> Iterator[tuple[str, str, str]]:
    """Of each block of code: the file that it is (the line before names it), language, content."""
    pattern = r"(?:^`([\w.]+)`:\n\n)?^```(\w+)\n(.*?)^```$"
    for found in re.finditer(pattern, document, flags=re.M | re.S):
        yield found[1] or "", found[2], found[3]


def teacher_of(document: str) -> torch.nn.Module:
    """What the document's own code builds for the pictures."""
    code: dict[str, Any] = {}
    exec(next(content for name, _, content in blocks(document) if name == "my_teacher.py"), code)
    network: torch.nn.Module = code["build"](len(CLASSES), 3)
    return network


def draw_pictures(folder: Path) -> None:
    """Stripes in three directions, moved about and under noise: 40 of 16x16 in each class."""
    random = np.random.default_rng(0)
    down, across = np.mgrid[:16, :16]
    for name, stripes in zip(CLASSES, (down, across, down + across), strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            bright = (stripes + random.integers(4)) % 4 < 2
            pixels = 96 + 64 * bright[..., None] + random.normal(0, 64, (16, 16, 3))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / name / f"{number}.png")


def train(network: torch.nn.Module, folder: Path) -> None:
    """As the user did it: without kdsearch, classes in alphabetical order."""
    files = [file for name in CLASSES for file in sorted((folder / name).iterdir())]
    pictures = [np.asarray(Image.open(file).resize((32, 32), 2)) for file in files]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
    labels = torch.tensor([CLASSES.index(file.parent.name) for file in files])
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(10):
        for rows in torch.randperm(len(labels)).split(16):
            optimiser.zero_grad()
            F.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimiser.step()


@pytest.mark.slow
def test_the_document_leads_from_a_folder_to_a_report(folder: Path, document: str) -> None:
    torch.manual_seed(0)
    network = teacher_of(document)
    train(network, folder / "images")
    torch.save(network.state_dict(), "teacher.pth")
    # The environment's own programs, as after `activate`; the tests' working tree comes first.
    place = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(place)}
    for name, language, content in blocks(document):
        if name:
            Path(name).write_text(content, encoding="utf-8")
            continue
        assert language == "sh", content
        done = subprocess.run(
            ["sh", "-ec", content], capture_output=True, text=True, timeout=300, env=environment
        )
        assert done.returncode == 0, f"{content}{done.stdout}{done.stderr}"

    names = shown(folder, "my_study")
    published = {"ce (published)", "kd (published)", "wttm (published)"}
    # Where the published settings were the best, none are found.
    assert published <= names <= published | {"kd (found)", "wttm (found)"}
    with (folder / "my_report.csv").open() as file:
        assert {row["name"] for row in csv.DictReader(file)} == names
    assert "for my pictures?" in (folder / "my_report.html").read_text(encoding="utf-8")
    own = {"ce (published)", "kd (published)", "my_objective.mine (found)"}
    assert shown(folder, "my_features") == own
    assert_told_logits_are_the_checkpoints(folder)


def shown(folder: Path, study: str) -> set[str]:
    """The rows of a study's leaderboard, each of two finals of which none has failed."""
    (search,) = (folder / "runs" / "searches").glob(f"{study}-*")
    rows = leaderboard(folder / "runs", search.name)
    assert {(row["n"], row["failed"]) for row in rows} == {(2, 0)}
    return {row["name"] for row in rows}


def assert_told_logits_are_the_checkpoints(folder: Path) -> None:
    """The document's own logits are those that kdsearch made of the checkpoint, row by row."""
    study = Study.load(folder / "my_study.yaml")
    splits = data.load(**study.data.arguments)
    told = elsewhere.logits("logits.parquet", splits.fitted, splits.classes)
    (signals,) = (folder / "runs" / "signals").glob("*/plain.arrow")
    made = elsewhere.logits(str(signals), splits.fitted, splits.classes)
    assert told == pytest.approx(made, abs=0.01, rel=2e-3)


def picture(folder: Path, **change: Any) -> None:
    """Make the first picture grey, or of another size."""
    file = folder / "images" / "bird" / "0.png"
    Image.open(file).convert(change.get("mode")).resize(change.get("size", (16, 16))).save(file)


def resave(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    torch.save(change(torch.load(folder / "teacher.pth")), folder / "teacher.pth")


def nothing(folder: Path) -> None:
    """The study alone is wrong."""


@pytest.mark.parametrize(
    ("change", "said", "refused"),
    [
        (nothing, "data: {test: null}", "must hold the folder 'train'"),
        (lambda folder: picture(folder, size=(20, 18)), "data: {size: null}",
         "pictures must be of one size"),
        (lambda folder: picture(folder, mode="L"), "",
         "pictures must be all grey or all in colour"),
        (lambda folder: resave(folder, lambda state: {"model": state, "by": folder}), "",
         "must be a checkpoint of weights alone"),
        (lambda folder: (folder / "images/fox").symlink_to("cat"), "",
         "another number of classes than the data"),
        (nothing, "teacher: {model: {width: 8}}", "Name the network that it was saved from"),
        (lambda folder: resave(folder, lambda state: {"x": state["5.bias"]}), "",
         "Name the network that it was saved from"),
        (nothing, "student: {file: my_student.py, name: wrong}", "logits, but gives"),
    ],
)  # fmt: skip
def test_refusals_are_worded_as_the_document_says(
    folder: Path, document: str, change: Callable[[Path], None], said: str, refused: str
) -> None:
    for name, _, content in blocks(document):
        if name:
            Path(name).write_text(content, encoding="utf-8")
    with Path("my_student.py").open("a") as file:
        file.write("\n\ndef wrong(classes, channels, width):\n    return nn.Flatten()\n")
    torch.save(teacher_of(document).state_dict(), "teacher.pth")
    change(folder)
    Path("wrong.yaml").write_text(f"extends: my_study.yaml\n{said}\n")
    assert f"| `{refused}` |" in document
    with pytest.raises(KdsearchError, match=refused):
        Run(Study.load("wrong.yaml"), folder / "search", folder)
