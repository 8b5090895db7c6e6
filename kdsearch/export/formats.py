"""A student as files: state dictionary, exported program, ONNX; each checked against the student.

student.pt      its state dictionary, for kdsearch's own network or the user's
student.pt2     torch.export's program: needs torch alone
student.onnx    needs any ONNX runtime
README.md       the model card
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from kdsearch.errors import SearchError, StoreError
from kdsearch.export.card import card
from kdsearch.export.student import Student
from kdsearch.files import write_atomically

TOLERANCE = 1e-3  # of the largest logit: float32 kernels differ in their last digits


def write(student: Student, folder: Path, onnx: bool = False) -> list[Path]:
    """Write the files; returns their paths.

    Raises:
        SearchError: ONNX is wanted, but its extra is not installed.
        StoreError: what was written does not give the student's outputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "student.pt"
    torch.save(student.module.network.state_dict(), weights)
    paths = [weights, _program(student, folder / "student.pt2")]
    if onnx:
        paths.append(_onnx(student, folder / "student.onnx"))
    readme = folder / "README.md"
    write_atomically(readme, card(student).encode())
    return [*paths, readme]


def _program(student: Student, path: Path) -> Path:
    batch = {"inputs": {0: torch.export.Dim.AUTO}}
    program = torch.export.export(
        student.module, (student.example(2),), dynamic_shapes=batch, strict=False
    )
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    _check(student, path, lambda inputs: loaded(inputs).detach().numpy())
    return path


def _onnx(student: Student, path: Path) -> Path:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch's exporter is built on
    except ImportError as error:
        raise SearchError(
            f"ONNX needs the extra `onnx`, but {error.name} is not installed. Install it with"
            " `pip install 'kdsearch[onnx]'`."
        ) from None
    program = torch.onnx.export(
        student.module,
        (student.example(2),),
        input_names=["inputs"],
        output_names=["logits"],
        dynamic_shapes={"inputs": {0: torch.export.Dim.DYNAMIC}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    _check(student, path, lambda inputs: session.run(None, {"inputs": inputs.numpy()})[0])
    return path


def _check(
    student: Student, path: Path, run: Callable[[torch.Tensor], npt.NDArray[np.float32]]
) -> None:
    """Hold a file against the student, on batches of sizes that it was not made with."""
    for count in (1, 7):
        inputs = student.example(count, seed=count)
        with torch.no_grad():
            expected = student.module(inputs).numpy()
        gap = float(np.abs(run(inputs) - expected).max())
        if not gap <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise StoreError(
                f"{path} must give the student's logits, but they differ by {gap:.3g}. Use"
                " student.pt with the network's own code, and report the network."
            )
