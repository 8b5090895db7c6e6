"""PTLoss's proxy teacher: the distribution to which a perturbed loss really pulls a student.

    proxy = proxy_teacher(logits, epsilons=(0.5, -0.1))          # (N, C), float64
    ranked = select(logits, labels, candidates(1000, orders=5, low=-0.5, high=3.0, seed=0))

For one example, with t the teacher's softmax, the proxy is the minimiser over the simplex of

    l(p) = KL(t || p) + sum_c t_c sum_m epsilon_{c,m} (1 - p_c)^m

and coefficients are good whose proxies lie near the labels, which needs no student. The paper
(arXiv 2305.05010, Eqs. 8-11) names no solver; this one needs every coordinate to be convex.
Stationarity is t_c (x_c + s_c(1 - 1/x_c)) = mu with x = 1/p and s_c(u) = sum_m m epsilon_{c,m}
u^(m-1). Convex coordinates make its left side increase with x, so a multiplier mu gives each p_c,
and their sum falls with mu: two nested root searches, each Newton's within a bracket that holds
the root. Where epsilon_1 < -1, mu may be negative or next to zero; nothing relies on its sign.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdsearch.errors import SettingError, ShapeError

ABSENT = 1e-300
"""Teacher probabilities up to this count as none, and so does their class in the proxy."""

CHUNK = 30_000
"""Entries solved together on a CPU: they fit its cache, and no operator pays for threads."""

Epsilons = Sequence[float | Sequence[float]]


@torch.no_grad()
def proxy_teacher(logits: Tensor, epsilons: Epsilons, temperature: float = 1.0) -> Tensor:
    """The proxy teacher of every example: probabilities (N, C) in float64, on the logits' device.

    Args:
        logits: the teacher's, (N, C). Where a probability is zero, so is the proxy's.
        epsilons: one entry per order, each a number or a list of one per class.
        temperature: divides the logits.

    Raises:
        SettingError: the coefficients are not convex (`is_convex`), or the values impossible.
        ShapeError: the logits are no matrix, or coefficients per class do not fit it.
    """
    teacher = _teacher(logits, temperature)
    slopes = _slopes(epsilons, teacher.shape[1])
    if not _all_convex(slopes):
        raise SettingError(
            "epsilons must keep every coordinate of the loss convex, 1/p^2 + sum_m m (m - 1)"
            f" epsilon_m (1 - p)^(m - 2) > 0 for p in (0, 1], but got {epsilons!r}. Bring the"
            " negative coefficients of orders 2 and up nearer to zero; any epsilon_1 is convex."
        )
    return _minimise(teacher, slopes)


def is_convex(epsilons: Epsilons, classes: int) -> bool:
    """Whether every coordinate of the loss is convex, so that the proxy teacher is unique.

    What is checked is that 1 + p^2 sum_m m (m - 1) epsilon_m (1 - p)^(m - 2), the second derivative
    times p^2, exceeds 1e-9 on [0, 1]. It is a polynomial, so its least value lies at an end or at a
    root of its derivative: it is evaluated at both ends, at the real parts of all these roots that
    lie between, and on a grid of 257 points in case that roots are badly conditioned. The law is
    sufficient for a unique minimiser, not necessary.
    """
    return _all_convex(_slopes(epsilons, classes))


def distance_to_labels(proxy: Tensor, labels: Tensor) -> Tensor:
    """The mean over examples of the L2 distance to the one-hot label (Eq. 11): a scalar."""
    hit = torch.nn.functional.one_hot(labels, proxy.shape[1])
    distances: Tensor = torch.linalg.vector_norm(proxy - hit, dim=1)
    return distances.mean()


@torch.no_grad()
def select(
    logits: Tensor,
    labels: Tensor,
    candidates: Sequence[Sequence[float]],
    temperature: float = 1.0,
) -> list[tuple[float, tuple[float, ...]]]:
    """Candidates by the distance of their proxies to the labels, as (score, candidate), best first.

    Successive halving: all are scored on 128 examples, the best eighth (but 8 at least) on 512, the
    best eighth of these on all; each subset takes every level of the teacher's confidence in every
    class, so that it ranks as the whole does unless candidates nearly tie. Halving is used, not a
    table of p_c over mu / t_c, since every reported score stays exact and steep coefficients need
    no care; up to 128 examples the search is exhaustive.

    The list holds those that were scored on all examples, and at its end with score inf those
    that are not convex; a candidate that was dropped on a subset is not in it.
    """
    teacher = _teacher(logits, temperature)
    order = _spread(teacher, labels)
    slopes = {tuple(each): _slopes(each, teacher.shape[1]) for each in candidates}
    convex = {each: _all_convex(slope) for each, slope in slopes.items()}
    left = [each for each in slopes if convex[each]]
    scored: list[tuple[float, tuple[float, ...]]] = []
    for size in [*(size for size in (128, 512) if size < len(order)), len(order)]:
        rows = order[torch.arange(size, device=order.device) * len(order) // size]
        part, truth = teacher[rows], labels[rows]
        tolerance, scored = 1e-12 if size == len(order) else 1e-6, []
        for each in left:
            proxy = _minimise(part, slopes[each], tolerance)
            scored.append((float(distance_to_labels(proxy, truth)), each))
        scored.sort(key=lambda pair: pair[0])
        left = [each for _, each in scored[: max(8, math.ceil(len(scored) / 8))]]
    return scored + [(math.inf, each) for each in slopes if not convex[each]]


def candidates(
    count: int, orders: int, low: float, high: float, seed: int
) -> list[tuple[float, ...]]:
    """`count` coefficient sets: all zeros (plain KL), then scrambled Sobol points in [low, high].

    They need not be convex; `select` sets those apart that are not.
    """
    from scipy.stats import qmc

    points = qmc.Sobol(orders, seed=seed).random_base2(max(count - 1, 1).bit_length())
    drawn = low + (high - low) * points[: count - 1]
    return [(0.0,) * orders, *(tuple(float(value) for value in row) for row in drawn)]


def _teacher(logits: Tensor, temperature: float) -> Tensor:
    if not 0 < temperature < math.inf:
        raise SettingError(f"temperature > 0 must hold and be finite, but got {temperature}.")
    if logits.ndim != 2 or not logits.shape[1]:
        raise ShapeError(f"logits must be (N, C), but got {tuple(logits.shape)}.")
    teacher = (logits.detach().double() / temperature).softmax(dim=1)
    if teacher.isnan().any():
        raise SettingError("logits must be numbers, not NaN or +inf. Mend the teacher's outputs.")
    return teacher


def _slopes(epsilons: Epsilons, classes: int) -> np.ndarray:
    """m epsilon_m by order: (M, 1) where all classes share them, otherwise (M, C)."""
    shared = all(isinstance(epsilon, int | float) for epsilon in epsilons)
    table = np.empty((len(epsilons), 1 if shared else classes))
    for order, epsilon in enumerate(epsilons):
        if not isinstance(epsilon, int | float) and len(epsilon) != classes:
            raise ShapeError(
                f"epsilons per class must be as many as the {classes} classes,"
                f" but got {len(epsilon)}."
            )
        table[order] = (order + 1) * np.asarray(epsilon, dtype=float)
    if not table.size or not np.isfinite(table).all():
        raise SettingError(
            "epsilons must list one entry per order, each a finite number or a list of one"
            f" per class, but got {epsilons!r}."
        )
    return table


def _all_convex(slopes: np.ndarray) -> bool:
    return all(_convex(column) for column in np.unique(slopes, axis=1).T)


def _convex(slopes: np.ndarray) -> bool:
    """Of one class; a polynomial in u = 1 - p."""
    bend = 1 + np.polynomial.Polynomial([1, -2, 1]) * np.polynomial.Polynomial(slopes).deriv()
    flat = bend.deriv()
    places = flat.trim(1e-12 * float(np.abs(flat.coef).max())).roots().real
    places = np.concatenate([np.linspace(0, 1, 257), places[(places > 0) & (places < 1)]])
    return bool(bend(places).min() > 1e-9)


def _spread(teacher: Tensor, labels: Tensor) -> Tensor:
    """Rows by label, then by the teacher's confidence in it: even steps are a stratified sample."""
    confidence = teacher.gather(1, labels[:, None])[:, 0]
    order = confidence.argsort(stable=True)
    return order[labels[order].argsort(stable=True)]


def _minimise(teacher: Tensor, slopes: np.ndarray, tolerance: float = 1e-12) -> Tensor:
    """The proxies (N, C) of a teacher's probabilities; their sums may miss 1 by the tolerance."""
    if not slopes.any() or not len(teacher):
        return teacher
    table = torch.from_numpy(slopes).to(teacher.device)
    at_once = max(1, CHUNK // teacher.shape[1]) if teacher.device.type == "cpu" else len(teacher)
    return torch.cat([_solve(part, table, tolerance) for part in teacher.split(at_once)])


def _solve(teacher: Tensor, slopes: Tensor, tolerance: float) -> Tensor:
    """The proxies of one chunk: per example, the mu for which they sum to 1."""
    proxy, rows = torch.zeros_like(teacher), torch.arange(len(teacher), device=teacher.device)
    present = teacher > ABSENT
    t = teacher.where(present, 1.0)
    # At `low` one class alone has p = 1; at `high` each p_c <= t_c.
    low = ((1 + slopes[0]) * t).masked_fill(~present, -math.inf).amax(dim=1, keepdim=True)
    high = (1 + slopes.clamp_min(0).sum(dim=0).amax()).expand_as(low).maximum(low)
    value, _ = _polynomial(1 - t, slopes)
    mu = 1 + (t * t * value * present).sum(dim=1, keepdim=True)
    mu, x, gap = mu.clamp(low, high), 1 / t, torch.full_like(low, math.inf)
    while True:  # each turn halves the gap or the bracket
        x, bend = _coordinates(mu / t, x, slopes)
        p = present / x
        total = p.sum(dim=1, keepdim=True)
        last, gap = gap, (total - 1).abs()
        middle = _halfway(low, high)
        open_ = (gap > tolerance) & (middle > low) & (middle < high)
        low, high = mu.where(total > 1, low), mu.where(total < 1, high)
        # Newton on 1 / sum(p) = 1, which is linear in mu where epsilon is zero.
        steep = t * bend
        newton = mu + (total - 1) * total / (p * p / steep).sum(dim=1, keepdim=True)
        sound = (newton > low) & (newton < high) & (gap < last / 2)
        step = newton.where(sound, _halfway(low, high)).where(open_, mu) - mu
        left = open_.nonzero()[:, 0]
        if len(left) <= len(rows) // 2:  # what is done is put away
            proxy[rows] = p / total
            if not len(left):
                break
            state = (rows, t, present, x, low, high, mu, gap, step, steep)
            rows, t, present, x, low, high, mu, gap, step, steep = (each[left] for each in state)
        mu, x = mu + step, torch.addcdiv(x, step, steep)
    return proxy


def _halfway(low: Tensor, high: Tensor) -> Tensor:
    """Halfway in the order of all float64 numbers: 64 halvings end any bracket, at any scale."""
    least = torch.iinfo(torch.int64).min
    a, b = (i.where(i >= 0, least - i) for i in (low.view(torch.int64), high.view(torch.int64)))
    middle = (a >> 1) + (b >> 1) + (a & b & 1)
    return middle.where(middle >= 0, least - middle).view(torch.float64)


def _coordinates(target: Tensor, x: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """x >= 1 where x + s(1 - 1/x) = target, near the given x, and the derivative of the left."""
    low = (target - slopes.clamp_min(0).sum(dim=0)).clamp_min(1)
    high = (target - slopes.clamp_max(0).sum(dim=0)).clamp_min(1)
    x = x.clamp(low, high)
    for attempt in range(200):
        p = 1 / x
        value, slope = _polynomial(1 - p, slopes)
        bend = (slope * p).mul_(p).add_(1)
        excess = value.add_(x).sub_(target)
        newton = torch.addcdiv(x, excess, bend, value=-1)
        if attempt < 6:
            newton = newton.clamp_(low, high)
        else:  # Newton creeps or swings: keep the bracket, and halve it every other time
            low, high = x.where(excess < 0, low), x.where(excess > 0, high)
            halve = (newton < low) | (newton > high)
            if attempt % 2:
                halve |= (newton - x).abs() > 1e-8 * x
            newton = torch.where(halve, (low + high) / 2, newton)
        moved = (newton - x).mul_(p).abs_().amax()
        x = newton
        if moved < 1e-5:  # quadratic: what this step leaves is of the order of its square
            break
    return x, bend


def _polynomial(u: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """sum_j a_j u^j and its derivative in u, by Horner's scheme."""
    value, slope = coefficients[-1].expand_as(u).clone(), torch.zeros_like(u)
    for coefficient in coefficients[:-1].flip(0):
        slope.mul_(u).add_(value)
        value.mul_(u).add_(coefficient)
    return value, slope
