"""Transforms: what a divergence gets to see of the teacher's and of the student's logits.

    Temperature(temperature=4.0)          logits / 4
    TopK(k=0.25, temperature=1.0)         the teacher's largest quarter, the rest spread evenly

A transform maps logits (N, C) and labels (N,) to logits (N, C). Log-probabilities are logits whose
softmax is their exponential, so a transform may return either and no part needs to ask which.
"""

import math
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor

from kdsearch.errors import ShapeError
from kdsearch.values import Value

PositiveTemperature = Annotated[float, Field(gt=0)]


class Identity(Value):
    """The logits as they are."""

    kind: Literal["identity"] = "identity"
    formula: ClassVar[str] = "{x}"
    reads_teacher: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits


class Centred(Value):
    """Logits shifted to mean 0: all that is left of them at an infinite temperature.

    KL versus MSE (arXiv 2105.08919), Theorem 1: the squared-temperature KL tends to half the mean
    squared difference of centred logits.
    """

    kind: Literal["centred"] = "centred"
    formula: ClassVar[str] = "{x} - mean({x})"
    reads_teacher: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits - logits.mean(dim=1, keepdim=True)


class Temperature(Value):
    """Logits divided by a temperature > 0, which is the power transform with gamma = 1/temperature.

    Hinton et al. 2015 (arXiv 1503.02531); as a power transform: TTM (arXiv 2402.11148), Eqs. 7-9.
    """

    kind: Literal["temperature"] = "temperature"
    formula: ClassVar[str] = "{x} / {temperature:g}"
    reads_teacher: ClassVar[bool] = True
    temperature: PositiveTemperature

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits / self.temperature


class Standardise(Value):
    """Logits shifted to mean 0, scaled to (unbiased) standard deviation 1, then divided by T > 0.

    Logit Standardization in Knowledge Distillation (CVPR 2024, arXiv 2403.01427), Algorithm 1.
    """

    kind: Literal["standardise"] = "standardise"
    formula: ClassVar[str] = "zscore({x}) / {temperature:g}"
    reads_teacher: ClassVar[bool] = True
    temperature: PositiveTemperature

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        centred = logits - logits.mean(dim=1, keepdim=True)
        # The constant is the authors' own: it keeps a row of equal logits finite.
        return centred / (centred.std(dim=1, keepdim=True) + 1e-7) / self.temperature


class Smoothed(Value):
    """The smoothed label, (1 - delta) * one-hot + delta / C with delta in [0, 1]; no teacher.

    Universe-level target of Understanding and Improving KD (arXiv 2002.03532).
    """

    kind: Literal["smoothed"] = "smoothed"
    formula: ClassVar[str] = "smoothed(y, {delta:g})"
    reads_teacher: ClassVar[bool] = False
    delta: float = Field(ge=0, le=1)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        target = torch.full_like(logits, self.delta / logits.shape[1])
        target.scatter_add_(1, labels[:, None], torch.full_like(target[:, :1], 1 - self.delta))
        return target.log()


class TrueClass(Value):
    """The teacher's probability of the true class, the remaining mass spread evenly (KD-pt).

    It keeps how hard the teacher finds each example and removes which classes it confuses:
    the instance level of Understanding and Improving KD (arXiv 2002.03532).
    """

    kind: Literal["true_class"] = "true_class"
    formula: ClassVar[str] = "true_class({x} / {temperature:g})"
    reads_teacher: ClassVar[bool] = True
    temperature: PositiveTemperature = 1.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = (logits / self.temperature).log_softmax(dim=1)
        rest = other_classes(log_p, labels).logsumexp(dim=1) - math.log(logits.shape[1] - 1)
        target = rest[:, None].expand_as(log_p)
        return target.scatter(1, labels[:, None], log_p.gather(1, labels[:, None]))


class TopK(Value):
    """The teacher's k largest probabilities, the remaining mass spread evenly (KD-topk).

    `k` is a number of classes (an integer >= 1) or a share of them (strictly between 0 and 1).
    Understanding and Improving KD (arXiv 2002.03532).
    """

    kind: Literal["top_k"] = "top_k"
    formula: ClassVar[str] = "top({k:g}, {x} / {temperature:g})"
    reads_teacher: ClassVar[bool] = True
    k: int | float
    temperature: PositiveTemperature = 1.0

    @field_validator("k", mode="before")
    @classmethod
    def _count_or_share(cls, k: object) -> object:
        count = isinstance(k, int) and not isinstance(k, bool) and k >= 1
        if count or (isinstance(k, float) and 0 < k < 1):
            return k
        raise ValueError(
            f"k must be an integer >= 1 or a share strictly between 0 and 1, but got {k!r}."
        )

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        classes = logits.shape[1]
        k = max(1, round(self.k * classes)) if isinstance(self.k, float) else self.k
        log_p = (logits / self.temperature).log_softmax(dim=1)
        if k >= classes:
            return log_p
        top = log_p.topk(k, dim=1)
        rest = log_p.scatter(1, top.indices, -torch.inf).logsumexp(dim=1) - math.log(classes - k)
        return rest[:, None].expand_as(log_p).scatter(1, top.indices, top.values)


class ClassSimilarity(Value):
    """How alike the classes are to the true one: row y of sign(s) |s|^power / temperature (KD-sim).

    s is the cosine similarity of the teacher's last-layer rows, or of its mean logits per class
    (`similarity.py`); both power and temperature are > 0. It keeps which classes resemble each
    other and removes all that differs between examples of a class: the domain level of
    Understanding and Improving KD (arXiv 2002.03532). `similarity` (C, C) in [-1, 1] is filled in
    when a training begins; before that it is None, no class like any other, the identity.
    """

    kind: Literal["class_similarity"] = "class_similarity"
    formula: ClassVar[str] = "similar(y)^{power:g} / {temperature:g}"
    reads_teacher: ClassVar[bool] = True
    power: float = Field(1.0, gt=0)
    temperature: PositiveTemperature = 0.3
    similarity: tuple[tuple[Annotated[float, Field(ge=-1, le=1)], ...], ...] | None = None

    @field_validator("similarity")
    @classmethod
    def _square(cls, rows: tuple[tuple[float, ...], ...] | None) -> object:
        if rows is not None and any(len(row) != len(rows) for row in rows):
            raise ValueError(
                "similarity must have one row and one column per class, but got"
                f" {len(rows)} rows of {sorted({len(row) for row in rows})} columns."
            )
        return rows

    def informed(self, similarity: Tensor) -> Self:
        """The same transform with the similarity (C, C) of a teacher's classes."""
        rows = tuple(map(tuple, similarity.tolist()))
        return type(self)(power=self.power, temperature=self.temperature, similarity=rows)

    @cached_property
    def _tables(self) -> "_Tables":
        return _Tables(self)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self._tables.beside(logits)[labels]


class _Tables:
    """A similarity as target logits (C, C), made once for each device and type.

    Kept apart from the value, which pydantic compares and tensors cannot be.
    """

    def __init__(self, of: ClassSimilarity) -> None:
        self._of = of
        self._made: dict[tuple[torch.device, torch.dtype, int], Tensor] = {}

    def beside(self, logits: Tensor) -> Tensor:
        classes = logits.shape[1]
        key = (logits.device, logits.dtype, classes)
        if key not in self._made:
            rows = self._of.similarity
            alike = (
                torch.eye(classes).double()
                if rows is None
                else torch.tensor(rows, dtype=torch.float64)
            )
            if len(alike) != classes:
                raise ShapeError(
                    f"similarity must be of as many classes as the logits {tuple(logits.shape)},"
                    f" but got {tuple(alike.shape)}."
                )
            target = alike.sign() * alike.abs() ** self._of.power / self._of.temperature
            self._made[key] = target.to(logits.device, logits.dtype)
        return self._made[key]


TeacherTransform = Annotated[
    Identity | Centred | Temperature | Standardise | Smoothed | TrueClass | TopK | ClassSimilarity,
    Field(discriminator="kind"),
]
# The other four replace the logits by a target, which only a teacher can be.
StudentTransform = Annotated[
    Identity | Centred | Temperature | Standardise, Field(discriminator="kind")
]


def other_classes(values: Tensor, labels: Tensor) -> Tensor:
    """The columns of (N, C) that are not each row's label, in order: (N, C - 1)."""
    columns = torch.arange(values.shape[1] - 1, device=values.device)
    return values.gather(1, columns + (columns >= labels[:, None]))
