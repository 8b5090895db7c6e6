"""An objective is five parts:

    loss = hard * CE(student, label)
         + soft * mean_i( weight_i * D(phi_T(teacher_i), phi_S(student_i), label_i) )

    Objective(                                       # Hinton's distillation at temperature 4
        teacher=Temperature(temperature=4), student=Temperature(temperature=4),
        divergence=KL(), weight=Uniform(), balance=Balance.convex(lam=0.9, scale=16),
    )

A published method is a point in this space: see the files in `papers/`, each one composition.
Points that nobody has published are written the same way.
"""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsearch.errors import ShapeError
from kdsearch.objectives.balance import Balance
from kdsearch.objectives.divergences import KL, Divergence
from kdsearch.objectives.transforms import (
    ClassSimilarity,
    Identity,
    StudentTransform,
    TeacherTransform,
)
from kdsearch.objectives.weights import Uniform, Weight
from kdsearch.values import Value


class Terms(NamedTuple):
    """The two weighted summands per example, both (N,): their sum's mean is the batch loss."""

    hard: Tensor
    soft: Tensor


class Objective(Value):
    """A distillation objective as a value: compare it, hash it, store it as JSON, call it."""

    teacher: TeacherTransform = Identity()
    student: StudentTransform = Identity()
    divergence: Divergence = KL()
    weight: Weight = Uniform()
    balance: Balance = Balance()

    @property
    def needs_teacher(self) -> bool:
        """Whether any part reads the teacher's logits; where not, they may be None."""
        reads = self.teacher.reads_teacher or self.weight.reads_teacher
        return self.balance.soft > 0 and reads

    @property
    def needs_similarity(self) -> bool:
        """Whether it waits for the similarity of the teacher's classes; see `informed`."""
        teacher = self.teacher
        return isinstance(teacher, ClassSimilarity) and teacher.similarity is None

    def informed(self, similarity: Tensor) -> Self:
        """The same objective, its open similarity filled in with (C, C); see `similarity.py`."""
        if not self.needs_similarity or not isinstance(self.teacher, ClassSimilarity):
            return self
        return self.model_copy(update={"teacher": self.teacher.informed(similarity)})

    @property
    def formula(self) -> str:
        """The loss as text; z are the student's logits, v the teacher's, y the label.

        A divergence of transformed logits stands for that of their softmaxes, apart from MSE.
        """
        terms = []
        if self.balance.hard > 0:
            terms.append(f"{self.balance.hard:.4g} * CE(z, y)")
        if self.balance.soft > 0:
            p, q = (_text(part, x=x) for part, x in ((self.teacher, "v"), (self.student, "z")))
            weight = _text(self.weight, x="v")
            terms.append(f"{self.balance.soft:.4g} * {weight}{_text(self.divergence, p=p, q=q)}")
        warmup = f" (warm-up {self.balance.warmup} epochs)" if self.balance.warmup else ""
        return (" + ".join(terms) or "0") + warmup

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        epoch: int | None = None,
    ) -> Tensor:
        """The batch loss, a scalar. Arguments and errors as in `terms`."""
        hard, soft = self.terms(student_logits, teacher_logits, labels, epoch)
        return (hard + soft).mean()

    def terms(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        epoch: int | None = None,
    ) -> Terms:
        """The per-example summands, balance and sample weight included.

        Half precision is computed in float32; other types keep theirs.

        Args:
            student_logits: (N, C), raw.
            teacher_logits: (N, C), raw; None where `needs_teacher` is False. Never differentiated.
            labels: (N,), integers in [0, C).
            epoch: counted from 1, for a balance with warm-up; None means after it.

        Returns:
            Terms(hard, soft), both (N,).

        Raises:
            ShapeError: the shapes or types do not fit, or a needed teacher is missing.
        """
        self._check(student_logits, teacher_logits, labels)
        student = _at_least_float32(student_logits)
        teacher = student if teacher_logits is None else teacher_logits.to(student.dtype)
        teacher = teacher.detach()
        hard = soft = torch.zeros_like(student[:, 0])
        if self.balance.hard > 0:
            hard = self.balance.hard * F.cross_entropy(student, labels, reduction="none")
        if self.balance.soft > 0:
            distance = self.divergence(
                self.teacher(teacher, labels), self.student(student, labels), labels
            )
            soft = self.balance.soft_at(epoch) * self.weight(teacher, labels) * distance
        return Terms(hard, soft)

    def _check(self, student: Tensor, teacher: Tensor | None, labels: Tensor) -> None:
        if student.ndim != 2 or student.shape[1] < 2:
            raise ShapeError(
                "student logits must have shape (N, C) with C >= 2,"
                f" but got {tuple(student.shape)}."
            )
        if labels.shape != student.shape[:1] or labels.dtype != torch.int64:
            raise ShapeError(
                f"labels must be int64 of shape ({len(student)},) beside student logits"
                f" {tuple(student.shape)}, but got {labels.dtype} of {tuple(labels.shape)}."
            )
        if teacher is None:
            if self.needs_teacher:
                raise ShapeError("this objective reads the teacher's logits, but got None.")
        elif teacher.shape != student.shape:
            raise ShapeError(
                f"teacher logits must have the student's shape {tuple(student.shape)},"
                f" but got {tuple(teacher.shape)}."
            )


def _text(part: TeacherTransform | Divergence | Weight, **symbols: str) -> str:
    return part.formula.format(
        **{name: getattr(part, name) for name in type(part).model_fields} | symbols
    )


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
