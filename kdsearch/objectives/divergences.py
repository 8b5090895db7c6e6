"""Divergences: how far the student is from the teacher, one number per example.

    KL()                                  sum_c p_c (log p_c - log q_c)
    PerturbedKL(epsilons=(0.5, -0.1))     KL + sum_c p_c (0.5 (1 - q_c) - 0.1 (1 - q_c)^2)

A divergence maps transformed teacher logits (N, C), transformed student logits (N, C) and labels
(N,) to (N,). p is the softmax of the teacher's, q of the student's. No divergence hides a
temperature's square or any other weight: what its formula does not show belongs to the balance.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator
from torch import Tensor

from kdsearch.errors import ShapeError
from kdsearch.objectives.transforms import PositiveTemperature, other_classes
from kdsearch.values import Value


class KL(Value):
    """Kullback-Leibler divergence D(p || q)."""

    kind: Literal["kl"] = "kl"
    formula: ClassVar[str] = "KL({p} || {q})"

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        return _kl(teacher.log_softmax(dim=1), student.log_softmax(dim=1))


class ReverseKL(Value):
    """Kullback-Leibler divergence the other way, D(q || p), which seeks the teacher's modes."""

    kind: Literal["reverse_kl"] = "reverse_kl"
    formula: ClassVar[str] = "KL({q} || {p})"

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        return _kl(student.log_softmax(dim=1), teacher.log_softmax(dim=1))


class JensenShannon(Value):
    """Jensen-Shannon divergence beta D(p || m) + (1 - beta) D(q || m), m = beta p + (1 - beta) q.

    beta lies strictly between 0 and 1; 1/2 is the symmetric one, at most log 2. Divided by beta it
    tends to D(p || q) as beta falls to 0, divided by 1 - beta to D(q || p) as it rises to 1.
    Generalised as in GKD (arXiv 2306.13649), Eq. 1.
    """

    kind: Literal["jensen_shannon"] = "jensen_shannon"
    formula: ClassVar[str] = "JS[{beta:g}]({p}, {q})"
    beta: float = Field(0.5, gt=0, lt=1)

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        # Clamped: where both are -inf, the gradient of logaddexp is not a number.
        lowest = torch.finfo(teacher.dtype).min
        log_p = teacher.log_softmax(dim=1).clamp_min(lowest)
        log_q = student.log_softmax(dim=1).clamp_min(lowest)
        log_m = torch.logaddexp(log_p + math.log(self.beta), log_q + math.log1p(-self.beta))
        return self.beta * _kl(log_p, log_m) + (1 - self.beta) * _kl(log_q, log_m)


class MSE(Value):
    """Squared difference of the logits themselves, averaged over classes.

    KL versus MSE (arXiv 2105.08919): the text sums over classes, the authors' code averages.
    """

    kind: Literal["mse"] = "mse"
    formula: ClassVar[str] = "MSE({p}, {q})"

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        return (student - teacher).square().mean(dim=1)


class PerturbedKL(Value):
    """PTLoss: D(p || q) + sum_c p_c sum_m epsilon_m (1 - q_c)^m, for orders m = 1 .. M.

    `epsilons` lists epsilon_1 .. epsilon_M, each one number for all classes or one per class.
    All zero is KL. PTLoss (arXiv 2305.05010): the leading M terms of KL's Maclaurin series are
    perturbed; the logarithm stays, because the truncated series is far off for small q_c.
    """

    kind: Literal["perturbed_kl"] = "perturbed_kl"
    formula: ClassVar[str] = "PerturbedKL{epsilons}({p} || {q})"
    epsilons: tuple[float | Annotated[tuple[float, ...], Field(min_length=1)], ...] = Field(
        min_length=1
    )

    @field_validator("epsilons", mode="wrap")
    @classmethod
    def _one_per_order(cls, value: object, validate: ValidatorFunctionWrapHandler) -> object:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(
                "epsilons must list one entry per order, each a finite number or a list of one"
                f" per class, but got {value!r}."
            ) from None

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        log_p, log_q = teacher.log_softmax(dim=1), student.log_softmax(dim=1)
        miss = -torch.expm1(log_q)
        for epsilon in self.epsilons:
            if isinstance(epsilon, tuple) and len(epsilon) != miss.shape[1]:
                raise ShapeError(
                    f"epsilons per class must be as many as the {miss.shape[1]} classes,"
                    f" but got {len(epsilon)}."
                )
        # Horner's scheme over the orders: miss * (e_1 + miss * (e_2 + ...)).
        correction = torch.zeros_like(miss)
        for epsilon in reversed(self.epsilons):
            correction = miss * (correction + miss.new_tensor(epsilon))
        return _kl(log_p, log_q) + (log_p.exp() * correction).sum(dim=1)


class Decoupled(Value):
    """DKD: alpha * D(true class against rest) + beta * D(among the other classes); both >= 0.

    Decoupled Knowledge Distillation (CVPR 2022, arXiv 2203.08679), Eq. 7 and Algorithm 1.
    """

    kind: Literal["decoupled"] = "decoupled"
    formula: ClassVar[str] = "DKD[{alpha:g}, {beta:g}]({p} || {q})"
    alpha: float = Field(1.0, ge=0)
    beta: float = Field(8.0, ge=0)

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        log_p, log_q = teacher.log_softmax(dim=1), student.log_softmax(dim=1)
        others_p, others_q = other_classes(log_p, labels), other_classes(log_q, labels)
        target = _kl(
            _true_and_rest(log_p, others_p, labels), _true_and_rest(log_q, others_q, labels)
        )
        non_target = _kl(others_p.log_softmax(dim=1), others_q.log_softmax(dim=1))
        return self.alpha * target + self.beta * non_target


class Normalised(Value):
    """NKD: -p_y log q_y + others * CE among the other classes, these renormalised to sum to 1.

    The others are compared at a temperature > 0 of their own, the true class y at the transforms'.
    Cross entropies as published: KL differs by the teacher's entropy, which has no gradient. Not
    zero at q = p, for the first term always rewards the true class.
    From Knowledge Distillation to Self-Knowledge Distillation (ICCV 2023, arXiv 2303.13005).
    """

    kind: Literal["normalised"] = "normalised"
    formula: ClassVar[str] = "NKD[{others:g}, {temperature:g}]({p}, {q})"
    others: float = Field(1.5, ge=0)
    temperature: PositiveTemperature = 1.0

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        true = [x.log_softmax(dim=1).gather(1, labels[:, None]) for x in (teacher, student)]
        rest = [
            (other_classes(x, labels) / self.temperature).log_softmax(dim=1)
            for x in (teacher, student)
        ]
        return _cross_entropy(*true) + self.others * _cross_entropy(*rest)


class Relational(Value):
    """DIST: inter * (1 - correlation within each example) + intra * (1 - that within each class).

    Correlations are Pearson's between p and q, over the classes of an example (inter) and over the
    batch of a class (intra). The second belongs to the whole batch: every example carries it, so
    that the mean over examples is the paper's loss.
    Knowledge Distillation from A Stronger Teacher (NeurIPS 2022, arXiv 2205.10536), Eqs. 9-11.
    """

    kind: Literal["relational"] = "relational"
    formula: ClassVar[str] = "DIST[{inter:g}, {intra:g}]({p}, {q})"
    inter: float = Field(2.0, ge=0)
    intra: float = Field(2.0, ge=0)

    def __call__(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        p, q = teacher.softmax(dim=1), student.softmax(dim=1)
        within_examples = 1 - _pearson(p, q)
        within_classes = 1 - _pearson(p.T, q.T).mean()
        return self.inter * within_examples + self.intra * within_classes


Divergence = Annotated[
    KL | ReverseKL | JensenShannon | MSE | PerturbedKL | Decoupled | Normalised | Relational,
    Field(discriminator="kind"),
]


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """D(p || q) over the last dimension; an entry with p = 0 counts 0 whatever q is."""
    lowest = torch.finfo(log_p.dtype).min
    return (log_p.exp() * (log_p.clamp_min(lowest) - log_q.clamp_min(lowest))).sum(dim=-1)


def _cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    """-sum p log q over the last dimension; an entry with p = 0 counts 0 whatever q is."""
    return -(log_p.exp() * log_q.clamp_min(torch.finfo(log_q.dtype).min)).sum(dim=-1)


def _true_and_rest(log_p: Tensor, others: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities of (true class, all others together): (N, 2)."""
    true = log_p.gather(1, labels[:, None])
    return torch.cat([true, others.logsumexp(dim=1, keepdim=True)], dim=1)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of corresponding rows; 0 where a row is constant."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    lengths = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    correlation: Tensor = (a * b).sum(dim=1) / (lengths + 1e-8)
    return correlation
