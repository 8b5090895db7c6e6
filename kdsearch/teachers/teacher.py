"""The teacher: a network trained once, stored by what decided it, and loaded ever after."""

import io
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kdsearch import models, values
from kdsearch.data import Splits
from kdsearch.errors import StoreError
from kdsearch.objectives import from_spec, spec_problems
from kdsearch.teachers import elsewhere
from kdsearch.training import Experiment, Network, Recipe, Training, part
from kdsearch.training.signals import Signals
from kdsearch.values import Value

_FORMAT = 2


class Teacher(Value):
    """The network that students learn from, trained on the train part alone.

    By default with cross entropy; with a `teacher` of its own and an `objective` it is itself a
    student, and so on: sequential distillation, from the largest network to the smallest.
    KL versus MSE (arXiv 2105.08919) studies such chains.

    One that was trained elsewhere is a `model` with a `checkpoint`, or `logits` alone: paths, see
    `elsewhere.py`; or a `model` that comes `trained` from its library, and is used as it is.
    accuracy: what it must reach at least on the validation part, in (0, 1]. None asks of one that
        was trained elsewhere for twice chance, of two classes for 75 %.
    """

    model: Network | None = None
    checkpoint: str = ""
    logits: str = ""
    trained: bool = False
    accuracy: float | None = Field(None, gt=0, le=1)
    recipe: Recipe = Recipe()
    seed: int = Field(0, ge=0)
    objective: dict[str, Any] = Field({"name": "ce"})
    teacher: "Teacher | None" = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.model is None) != bool(self.logits) or (self.logits and self.checkpoint):
            raise ValueError(
                "a teacher must be a `model`, a `model` with its `checkpoint`, or `logits` alone,"
                f" but got {', '.join(sorted(self.model_fields_set)) or 'nothing'}."
            )
        if self.trained and (self.logits or self.checkpoint):
            raise ValueError(
                "a teacher must be trained in its library or have a `checkpoint` or `logits`, but"
                " got both. Leave `trained` out."
            )
        if self.elsewhere and self.teacher:
            raise ValueError("a teacher that was trained elsewhere has no `teacher` here.")
        return self

    @model_validator(mode="after")
    def _objective_has_its_teacher(self) -> Self:
        if problems := spec_problems(self.objective, "objective"):
            raise ValueError("; ".join(problem.message for problem in problems))
        if from_spec(self.objective).needs_teacher != (self.teacher is not None):
            raise ValueError(
                "a teacher that distils needs a `teacher` of its own and an `objective` that reads"
                f" it, but got objective {self.objective} and"
                f" {'a' if self.teacher else 'no'} teacher."
            )
        return self

    @property
    def name(self) -> str:
        """Of its network, as papers know it; empty where only its logits are known."""
        return self.model.known_as if self.model else ""

    @property
    def elsewhere(self) -> bool:
        """Whether it was trained elsewhere."""
        return bool(self.logits or self.checkpoint or self.trained)

    @property
    def epochs(self) -> int:
        """For how many it is trained here."""
        return 0 if self.elsewhere else self.recipe.epochs

    def least(self, classes: int) -> float:
        """The accuracy that it must have on validation: what is claimed.

        Else, of one from elsewhere, twice chance or half way from chance to 1; and anything of one
        that is trained here.
        """
        chance = 1 / classes
        return self.accuracy or (0.0 if self.epochs else min(2 * chance, (1 + chance) / 2))

    @property
    def chain(self) -> tuple["Teacher", ...]:
        """This teacher, then its own, then that one's, up to the largest."""
        return (self, *(self.teacher.chain if self.teacher else ()))

    def digest(self, data: Splits) -> str:
        """The key of the trained weights: what was trained, how, from whom, on which images.

        Raises:
            StoreError: its checkpoint or its logits cannot be read.
        """
        if self.elsewhere:
            network = self.model and self.model.model_dump(mode="json")
            file = self.logits or self.checkpoint
            trained = elsewhere.sha256(file) if file else "by its library"
            return values.digest([_FORMAT, network, trained, data.digest])
        content = self.model_dump(
            mode="json", exclude={"objective", "teacher", "accuracy", "trained"}
        )
        content["objective"] = from_spec(self.objective).model_dump(mode="json")
        if self.teacher:
            content["teacher"] = self.teacher.digest(data)
        if not data.views.identity:
            content["views"] = data.views.unlimited.model_dump()
        return values.digest([_FORMAT, content, data.digest])

    def training(
        self,
        data: Splits,
        device: str = "cpu",
        signals: Tensor | Signals | None = None,
        similarity: Tensor | None = None,
    ) -> Training:
        """Its own training, in ever new views of the train part, judged on validation.

        `signals` are its own teacher's, `similarity` that of its own teacher's classes.
        """
        assert self.model
        experiment = Experiment(
            model=self.model, objective=self.objective, recipe=self.recipe, seed=self.seed
        )
        learn, judge = (part(data, rows, device) for rows in (data.train, data.validation))
        learn = learn.with_views(data.views.unlimited)
        return Training(experiment, learn, judge, data.classes, signals, similarity)


def network(taught: Teacher, data: Splits) -> nn.Module:
    """A teacher's network with fresh weights, or those of its checkpoint.

    Raises:
        StoreError: the checkpoint is damaged, or does not fit the network or the data.
    """
    assert taught.model
    name, size = taught.model.name, taught.model.size
    model = models.build(name, data.classes, data.images.shape[1], **size)
    if taught.checkpoint:
        state = elsewhere.weights(taught.checkpoint)
        model = elsewhere.fit(model, state, taught.checkpoint, name)
    return model


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
        model = network(teacher.model_copy(update={"checkpoint": ""}), data)
        model.load_state_dict(packed["model"])
    except Exception as error:  # noqa: BLE001 - a damaged archive raises whatever it likes
        raise StoreError(f"it cannot be read as weights ({type(error).__name__}).") from None
    if digest != teacher.digest(data):
        raise StoreError("it holds the weights of another teacher.")
    return model.eval()
