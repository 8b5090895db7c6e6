"""Principled selection: PTLoss's coefficients chosen before any student is trained.

Candidates are drawn from the study's own ranges, and each is scored by the distance of its proxy
teacher to the labels of the validation part (PTLoss, arXiv 2305.05010, Eq. 11). The best becomes
one of the search's first trials, and every PTLoss trial carries its score, so that a reader can
see how well the score foretells a student.
"""

from collections.abc import Mapping
from typing import Any

import torch

from kdsearch.data import Splits
from kdsearch.errors import SettingError, ShapeError
from kdsearch.objectives import from_spec
from kdsearch.objectives.divergences import PerturbedKL
from kdsearch.objectives.transforms import Temperature
from kdsearch.search.study import Study
from kdsearch.spaces import Space
from kdsearch.teachers import proxy
from kdsearch.teachers.logits import Logits

CANDIDATES = 1000
Ranked = list[tuple[float, tuple[float, ...]]]
"""(mean distance to the labels, epsilons), best first; infinite where not convex."""


class Principled:
    """The teacher's view of the validation part, to score coefficients with."""

    def __init__(self, study: Study, data: Splits, logits: Logits) -> None:
        """`logits` are the teacher's of `data.validation`."""
        self._study = study
        self._logits = torch.from_numpy(logits)
        self._labels = torch.from_numpy(data.labels[data.validation])

    def ranked(self, count: int = CANDIDATES) -> Ranked:
        """Coefficients from the study's ranges, ranked by their proxy teachers.

        All zeros, which is plain KL, is always among them, to compare with. Empty where the space
        has no `ptloss` whose epsilons are all ranges.
        """
        ranges = self._ranges()
        if not ranges:
            return []
        zeros, *shares = proxy.candidates(count, len(ranges), 0.0, 1.0, self._study.search.seed)
        drawn = [
            tuple(float(each.at(share)) for each, share in zip(ranges, point, strict=True))
            for point in shares
        ]
        ranked = proxy.select(self._logits, self._labels, [zeros, *drawn])
        if zeros not in {epsilons for _, epsilons in ranked}:
            plain = proxy.proxy_teacher(self._logits, zeros)
            ranked.append((float(proxy.distance_to_labels(plain, self._labels)), zeros))
        return sorted(ranked)

    def first(self, ranked: Ranked) -> dict[str, Any] | None:
        """The best coefficients as a draw of the space, other settings as published."""
        best = next((list(p) for score, p in ranked if any(p) and score < float("inf")), None)
        if best is None:
            return None
        draws = {draw["objective"]["name"]: draw for draw in self._study.published()}
        draw = draws["ptloss"]
        return {**draw, "objective": {**draw["objective"], "epsilons": best}}

    def score(self, spec: Mapping[str, Any]) -> float | None:
        """The distance of a PTLoss objective's proxy teacher to the labels.

        None for other objectives, and for coefficients that are not convex.
        """
        objective = from_spec(spec)
        divergence, teacher = objective.divergence, objective.teacher
        if not isinstance(divergence, PerturbedKL):
            return None
        temperature = teacher.temperature if isinstance(teacher, Temperature) else 1.0
        try:
            found = proxy.proxy_teacher(self._logits, divergence.epsilons, temperature)
        except (SettingError, ShapeError):
            return None
        return float(proxy.distance_to_labels(found, self._labels))

    def _ranges(self) -> list[Any]:
        """The ranges of the first `ptloss` of the space, by order."""
        tree = self._study.space["objective"]
        options = tree.get("choice", [tree])
        for option in options:
            if isinstance(option, Mapping) and option.get("name") == "ptloss":
                epsilons = option.get("epsilons", [])
                dimensions = Space({"epsilons": epsilons}).dimensions()
                found = [dimensions.get(f"epsilons.{i}") for i in range(len(epsilons))]
                whole = len(found) == len(dimensions)
                if whole and not any(each is None or isinstance(each, tuple) for each in found):
                    return found
        return []
