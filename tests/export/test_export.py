"""A student goes home: files that give its outputs, also where there is no kdsearch."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdsearch import models
from kdsearch.errors import SearchError, StoreError
from kdsearch.export import Student, formats, registry
from kdsearch.tracking import Outcomes, Record
from tests.reporting.made import Made

MEAN, STD, SHAPE = [3.0], [2.0], [1, 8, 8]
NO_KDSEARCH = "import sys; sys.modules['kdsearch'] = None\n"


def experiment(model: dict[str, Any], seed: int) -> dict[str, Any]:
    objective = {"name": "kd", "temperature": 2.0, "lam": 0.5}
    return {
        "model": model,
        "objective": objective,
        "recipe": {"learning_rate": 0.1, "epochs": 2},
        "seed": seed,
    }


def searched(folder: Path, model: dict[str, Any], network: torch.nn.Module) -> Record:
    """A search whose one row has two finals of this network, with weights of their own."""
    made = Made()
    header = made.record.header
    header["inputs"] = {"shape": SHAPE, "dtype": "uint8", "mean": MEAN, "std": STD}
    header["study"] |= {"teacher": {"model": {"name": "cnn", "width": 32}}}
    for seed in (1, 2):
        made.add("trial", id=f"f000-{seed}", kind="final", family="kd", origin="found",
                 row="kd (found)", experiment=experiment(model, seed))  # fmt: skip
        made.add("epoch", id=f"f000-{seed}", epoch=1, accuracy=0.9 + seed / 100, loss=1.0,
                 train_loss=1.0, seconds=1.0)  # fmt: skip
        made.add("end", id=f"f000-{seed}", status="finished")
        with torch.no_grad():
            for value in network.parameters():
                value.add_(0.1)
        file = io.BytesIO()
        torch.save({"weights": network.state_dict()}, file)
        Outcomes(folder).keep(f"f000-{seed}", file.getvalue())
    return made.record


@pytest.fixture
def record(tmp_path: Path) -> Record:
    size = {"width": 4, "depth": 2}
    return searched(tmp_path, {"name": "cnn", **size}, models.build("cnn", 10, 1, **size))


def test_a_student_takes_pixels_and_normalises_them(record: Record, tmp_path: Path) -> None:
    student = Student.of(record, Outcomes(tmp_path), "kd (found)", 2)
    network = models.build("cnn", 10, 1, width=4, depth=2).eval()
    network.load_state_dict(Outcomes(tmp_path).weights("f000-2"))
    pixels = student.example(3)
    expected = network((pixels - MEAN[0]) / STD[0])
    assert torch.equal(student.module(pixels), expected)
    assert torch.equal(student.module(pixels.byte()), expected)
    first = Student.of(record, Outcomes(tmp_path), "kd (found)", None)
    assert first.final.id == "f000-1"
    assert not torch.equal(first.module(pixels), expected)


@pytest.mark.parametrize("onnx", [False, True])
def test_files_give_the_students_logits_without_kdsearch(
    onnx: bool, record: Record, tmp_path: Path
) -> None:
    student = Student.of(record, Outcomes(tmp_path), "kd (found)", None)
    out = tmp_path / "out"
    names = [path.name for path in formats.write(student, out, onnx)]
    assert names == ["student.pt", "student.pt2", *["student.onnx"][: int(onnx)], "README.md"]
    inputs = student.example(5, seed=3)
    np.save(out / "inputs.npy", inputs.numpy())
    load = (
        "import numpy as np, onnxruntime as o; s = o.InferenceSession('student.onnx');"
        " y = s.run(None, {'inputs': np.load('inputs.npy')})[0]"
        if onnx
        else "import numpy as np, torch; m = torch.export.load('student.pt2').module();"
        " y = m(torch.from_numpy(np.load('inputs.npy'))).detach().numpy()"
    )
    code = f"{NO_KDSEARCH}{load}; np.save('logits.npy', y)"
    subprocess.run([sys.executable, "-c", code], cwd=out, check=True, timeout=120)
    expected = student.module(inputs).detach().numpy()
    assert np.load(out / "logits.npy") == pytest.approx(expected, abs=1e-4)
    weights = torch.load(out / "student.pt", weights_only=True)
    models.build("cnn", 10, 1, width=4, depth=2).load_state_dict(weights)


def test_the_card_says_what_a_reader_must_know(record: Record, tmp_path: Path) -> None:
    student = Student.of(record, Outcomes(tmp_path), "kd (found)", 2)
    formats.write(student, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for telling in (
        "92.00 % (seed 2)",
        "91.50 % over 2 seeds (95 % interval",
        "`0.5 * CE(z, y) + 2 * KL(v / 2 || z / 2)`",
        "digest 0123456789abcdef",
        "3 epochs, the last one counts",
        "Inputs: (N, 1, 8, 8), float32, pixels of 0 to 255",
    ):
        assert telling in card


def test_a_file_that_says_something_else_is_refused(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = Student.of(record, Outcomes(tmp_path), "kd (found)", 1)
    other = Student.of(record, Outcomes(tmp_path), "kd (found)", 2)
    program = torch.export.export(
        other.module, (other.example(2),), dynamic_shapes={"inputs": {0: torch.export.Dim.AUTO}}
    )
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: program)
    with pytest.raises(StoreError, match="must give the student's logits, but they differ by"):
        formats.write(student, tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "seed", "said"),
    [
        ("ttm (found)", None, r"a row must be one .* Valid: kd \(found\)"),
        ("kd (found)", 7, r"with the seed, but got 7. Valid: 1, 2"),
    ],
)
def test_what_is_not_there_is_told(
    row: str, seed: int | None, said: str, record: Record, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=said):
        Student.of(record, Outcomes(tmp_path), row, seed)


def test_a_search_of_before_is_told(record: Record, tmp_path: Path) -> None:
    del record.header["inputs"]
    with pytest.raises(SearchError, match="a version that kept none"):
        Student.of(record, Outcomes(tmp_path), "kd (found)", None)


@pytest.mark.slow
def test_a_registered_student_predicts_in_a_clean_process(record: Record, tmp_path: Path) -> None:
    student = Student.of(record, Outcomes(tmp_path), "kd (found)", None)
    out, uri = tmp_path / "out", f"sqlite:///{tmp_path / 'mlflow.db'}"
    *_, card = formats.write(student, out)
    program, artifacts = out / "student.pt2", tmp_path / "artifacts"
    for version in (1, 2):
        named = registry.register(student, program, card, "digits", uri, artifacts)
        assert named == f"digits/{version}"
    program.unlink()
    inputs = student.example(5, seed=3).numpy()
    np.save(out / "inputs.npy", inputs)
    code = (
        f"{NO_KDSEARCH}import mlflow, numpy as np; mlflow.set_tracking_uri({uri!r})\n"
        "m = mlflow.pyfunc.load_model('models:/digits/2')\n"
        "(given,) = m.metadata.signature.inputs.inputs\n"
        "assert tuple(given.shape) == (-1, 1, 8, 8), given\n"
        "assert m.input_example.shape == (2, 1, 8, 8)\n"
        "np.save('logits.npy', m.predict(np.load('inputs.npy')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=out, check=True, timeout=200)
    expected = student.module(torch.from_numpy(inputs)).detach().numpy()
    assert np.load(out / "logits.npy") == pytest.approx(expected, abs=1e-4)
    assert not (Path.cwd() / "mlruns").exists()
    assert "MLFLOW_TRACKING_URI" not in os.environ  # or all that comes after would write there


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8x4", "shufflenet_v1"])
def test_the_papers_students_export(name: str, tmp_path: Path) -> None:
    record = searched(tmp_path, {"name": name}, models.build(name, 10, 3))
    record.header["inputs"] |= {"shape": [3, 32, 32], "mean": [125.0] * 3, "std": [60.0] * 3}
    student = Student.of(record, Outcomes(tmp_path), "kd (found)", None)
    assert len(formats.write(student, tmp_path / "out", onnx=True)) == 4
