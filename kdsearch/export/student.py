"""A final's network, put together again from a search's folder."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch import models
from kdsearch.errors import SearchError
from kdsearch.tracking import Outcomes, Record, TrialRecord
from kdsearch.training import Network


class Standalone(nn.Module):
    """Inputs as they are in the data, to logits (N, classes): the normalisation is part of it.

    Images (N, channels, H, W) have values of 0 to 255, of any number type; features (N, D) are
    normalised alike; token ids (N, L) stay as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor, tokens: bool) -> None:
        super().__init__()
        self.network, self.tokens = network, tokens
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, inputs: Tensor) -> Tensor:
        seen = inputs if self.tokens else (inputs.float() - self.mean) / self.std
        logits: Tensor = self.network(seen)
        return logits


@dataclass(frozen=True)
class Student:
    """A final with its network in evaluation mode.

    shape: of one input. dtype: of the inputs that the exported files take.
    """

    record: Record
    final: TrialRecord
    module: Standalone
    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, record: Record, outcomes: Outcomes, row: str, seed: int | None) -> "Student":
        """The final of a row with a seed, by default its first.

        Raises:
            SearchError: there is no such final, or the search kept too little of it.
            StoreError: its weights are gone.
            SettingError: its network cannot be built, as where a user's own file is not found.
        """
        final = _final(record, row, seed)
        inputs = record.header.get("inputs")
        if inputs is None:
            raise SearchError(
                "a student is exported with the normalisation of its data, but this search was run"
                " by a version that kept none. Run the study again with `--fresh`."
            )
        weights = outcomes.weights(final.id)
        network = Network.model_validate(final.experiment["model"])
        shape = tuple(inputs["shape"])
        classes = record.header["sizes"]["classes"]
        model = models.build(network.name, classes, shape[0], **network.size)
        model.load_state_dict(weights)
        mean, std = (torch.tensor(inputs[which]) for which in ("mean", "std"))
        if len(shape) == 3:
            mean, std = mean[:, None, None], std[:, None, None]
        tokens = inputs["dtype"] == "int64"
        module = Standalone(model, mean, std, tokens).eval()
        return cls(record, final, module, shape, torch.int64 if tokens else torch.float32)

    def example(self, count: int, seed: int = 0) -> Tensor:
        """Random inputs (count, ...) of the kind that the student takes."""
        generator = torch.Generator().manual_seed(seed)
        size = (count, *self.shape)
        if self.dtype == torch.int64:
            return torch.zeros(size, dtype=torch.int64)
        if len(self.shape) == 3:
            return torch.randint(256, size, generator=generator).float()
        return self.module.mean + self.module.std * torch.randn(size, generator=generator)


def _final(record: Record, row: str, seed: int | None) -> TrialRecord:
    finals = [t for t in record.of_kind("final") if t.status == "finished"]
    rows: dict[str, dict[int, Any]] = {}
    for trial in finals:
        rows.setdefault(trial.row, {})[trial.experiment["seed"]] = trial
    if row not in rows:
        raise SearchError(
            f"a row must be one whose finals have finished, but got {row!r}. Valid:"
            f" {', '.join(rows) or 'none yet'}."
        )
    chosen = min(rows[row]) if seed is None else seed
    if chosen not in rows[row]:
        raise SearchError(
            f"{row} must have been trained with the seed, but got {seed}. Valid:"
            f" {', '.join(map(str, rows[row]))}."
        )
    found: TrialRecord = rows[row][chosen]
    return found
