"""Outcomes: what is kept of every final beside its figures, in its search's folder.

finals/f000-0.pt     its weights, and what it said of each test example
finals/test.arrow    of each test example its label, and what the teacher said
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kdsearch.errors import StoreError
from kdsearch.files import write_atomically

if TYPE_CHECKING:  # figures and tables need none of it
    import torch


class Said(NamedTuple):
    """What a network said of the test examples: classes int64 (N,), confidence float32 (N,)."""

    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]


class Outcomes:
    """The outcomes in a search's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "finals"

    def keep(self, final: str, packed: bytes) -> None:
        """Write what a final's worker packed.

        Raises:
            StoreError: it cannot be written.
        """
        write_atomically(self._folder / f"{final}.pt", packed)

    def keep_test(self, labels: npt.NDArray[np.int64], teacher: Said | None) -> None:
        """Write the test part's labels and what the teacher said of it. Errors as `keep`."""
        import pyarrow as pa

        columns: dict[str, npt.NDArray[Any]] = {"label": labels}
        if teacher:
            columns |= {"predicted": teacher.predicted, "confidence": teacher.confidence}
        table, sink = pa.table(columns), pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        write_atomically(self._folder / "test.arrow", sink.getvalue().to_pybytes())

    def said(self, final: str) -> Said | None:
        """What a final said of the test part; None where it was not kept."""
        kept = self._loaded(final)
        return Said(kept["predicted"].numpy(), kept["confidence"].numpy()) if kept else None

    def weights(self, final: str) -> dict[str, "torch.Tensor"]:
        """A final's state dictionary.

        Raises:
            StoreError: it was not kept.
        """
        kept = self._loaded(final)
        if kept is None:
            raise StoreError(
                f"the weights of {final} must be in {self._folder}, but there are none: an earlier"
                " version kept none, or they were removed. Run the study again with `--fresh`."
            )
        return dict(kept["weights"])

    def test(self) -> tuple[npt.NDArray[np.int64], Said | None] | None:
        """The test labels, and what the teacher said; None where they were not kept."""
        import pyarrow as pa

        file = self._folder / "test.arrow"
        if not file.exists():
            return None
        table = pa.ipc.open_file(file).read_all()
        labels = table["label"].to_numpy()
        if "predicted" not in table.column_names:
            return labels, None
        return labels, Said(table["predicted"].to_numpy(), table["confidence"].to_numpy())

    def _loaded(self, final: str) -> dict[str, Any] | None:
        import torch

        file = self._folder / f"{final}.pt"
        if not file.exists():
            return None
        try:
            return dict(torch.load(io.BytesIO(file.read_bytes()), weights_only=True))
        except Exception as error:  # noqa: BLE001 - torch raises many kinds for a damaged file
            raise StoreError(
                f"{file} must be as it was written, but is damaged ({type(error).__name__})."
                " Remove it and run the study again with `--fresh`."
            ) from None
