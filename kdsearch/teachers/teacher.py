"""The teacher: a network trained once, stored by what decided it, and loaded ever after."""

import io
from typing import Any

import torch
from pydantic import Field
from torch import nn

from kdsearch import models, values
from kdsearch.data import Splits
from kdsearch.errors import StoreError
from kdsearch.training import Experiment, Network, Recipe, Training, part
from kdsearch.values import Value

_FORMAT = 1


class Teacher(Value):
    """The network that students learn from, trained on the train part alone with cross entropy."""

    model: Network
    recipe: Recipe = Recipe()
    seed: int = Field(0, ge=0)

    def digest(self, data: Splits) -> str:
        """The key of the trained weights: what was trained, how, and on which images."""
        return values.digest([_FORMAT, self.model_dump(mode="json"), data.digest])

    def training(self, data: Splits, device: str = "cpu") -> Training:
        """The teacher's own training, judged on the validation part."""
        experiment = Experiment(
            model=self.model, objective={"name": "ce"}, recipe=self.recipe, seed=self.seed
        )
        learn, judge = (part(data, rows, device) for rows in (data.train, data.validation))
        return Training(experiment, learn, judge, data.classes)


def pack(model: nn.Module, digest: str) -> bytes:
    """A trained teacher's weights with the digest that they belong to, as a file's content."""
    buffer = io.BytesIO()
    torch.save({"digest": digest, "model": model.state_dict()}, buffer)
    return buffer.getvalue()


def unpack(content: bytes, teacher: Teacher, data: Splits) -> nn.Module:
    """A trained teacher in evaluation mode; weights only, no code of the file is run.

    Raises:
        StoreError: the content is damaged, or another teacher's.
    """
    try:
        packed: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
        digest = packed["digest"]
        model = models.build(
            teacher.model.name, data.classes, data.images.shape[1], **teacher.model.size
        )
        model.load_state_dict(packed["model"])
    except Exception as error:  # noqa: BLE001 - a damaged archive raises whatever it likes
        raise StoreError(f"it cannot be read as weights ({type(error).__name__}).") from None
    if digest != teacher.digest(data):
        raise StoreError("it holds the weights of another teacher.")
    return model.eval()
