"""The past: the best students of earlier searches on similar pairs, as first points of a new one.

    search:
      points:
        # kd: 96.78 % on validation in digits-8c76dd76-1 (t0034); the same data, the same student
        - {objective: {name: kd, temperature: 3.1, lam: 0.8}, recipe: {learning_rate: 0.12}}

Only points that lie in the study's own space are suggested, and none that it tries anyway.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kdsearch import catalogue, data
from kdsearch.data.splits import DATASETS
from kdsearch.models import MODELS
from kdsearch.search import storage as store
from kdsearch.search.study import Study
from kdsearch.spaces.space import RESERVED
from kdsearch.tracking import Record, TrialRecord

_WHOSE = ("data", "teacher", "student")
_WORDS = {
    "data": ("other data", "as many classes", "the same data"),
    "teacher": ("another teacher", "a teacher of the same family", "the same teacher"),
    "student": ("another student", "a student of the same family", "the same student"),
}
"""How alike a past search's are, from 0 to 2."""

Likeness = dict[str, int]


@dataclass(frozen=True)
class Suggestion:
    """A past student as a draw of the study's space.

    accuracy: on that search's validation part, in [0, 1]. alike: of `_WORDS`.
    """

    draw: dict[str, Any]
    family: str
    accuracy: float
    search: str
    trial: str
    alike: Likeness

    @property
    def rank(self) -> tuple[int, int, float]:
        """Data first, then networks, then accuracy."""
        alike = self.alike
        return alike["data"], alike["teacher"] + alike["student"], self.accuracy

    @property
    def reason(self) -> str:
        """Why it is suggested, in words."""
        likeness = ", ".join(_WORDS[whose][self.alike[whose]] for whose in _WHOSE)
        return (
            f"{self.family}: {100 * self.accuracy:.2f} % on validation in {self.search}"
            f" ({self.trial}); {likeness}"
        )


def suggestions(study: Study, storage: Path, most: int = 1) -> list[Suggestion]:
    """At most so many per family of objectives, from the likest searches, the likest first.

    Raises:
        DataError: the study's data cannot be read, whose classes are to be counted.
    """
    folders = store.searches(storage)
    if not folders:
        return []
    classes = data.load(**study.data.arguments).classes
    found: dict[str, list[Suggestion]] = defaultdict(list)
    for folder in folders:
        record = store.record_of(folder)
        if record.header:
            for suggestion in _of_search(study, classes, record, most):
                found[suggestion.family].append(suggestion)
    chosen = []
    for group in found.values():
        ranked = sorted(group, key=lambda each: each.rank, reverse=True)
        distinct = [each for i, each in enumerate(ranked) if each.draw not in _draws(ranked[:i])]
        chosen += distinct[:most]
    return sorted(chosen, key=lambda each: each.rank, reverse=True)


def _draws(of: list[Suggestion]) -> list[dict[str, Any]]:
    return [each.draw for each in of]


def as_yaml(found: list[Suggestion]) -> str:
    """A piece of a study, each point under its reason."""
    lines = ["search:", "  points:"]
    for each in found:
        flow = yaml.safe_dump(each.draw, default_flow_style=True, sort_keys=False, width=10**6)
        lines += [f"    # {each.reason}", f"    - {flow.strip()}"]
    return "\n".join(lines) + "\n"


def _of_search(study: Study, classes: int, record: Record, most: int) -> Iterator[Suggestion]:
    """Of each family the best finished students whose settings the study's space holds."""
    space, known = study.parsed_space, list(study.published())
    alike = _likeness(study, classes, record)
    finished = [trial for trial in record.of_kind("trial") if trial.status == "finished"]
    counts: dict[str, int] = defaultdict(int)
    for trial in sorted(finished, key=lambda trial: trial.accuracy, reverse=True):
        draw = _draw(study, trial)
        if counts[trial.family] < most and draw not in known and space.locate(draw) is not None:
            counts[trial.family] += 1
            name = record.header["name"]
            yield Suggestion(draw, trial.family, trial.accuracy, name, trial.id, alike)


def _draw(study: Study, trial: TrialRecord) -> dict[str, Any]:
    """A past student as the study would have drawn it: what its space varies, and nothing else."""
    past = {
        "objective": trial.experiment["objective"],
        "recipe": trial.experiment["recipe"],
        "student": trial.experiment["model"],
    }
    draw = {}
    for section, varied in study.space.items():
        whole = section == "objective" or any(key in RESERVED for key in varied)
        of = past[section]
        draw[section] = of if whole else {key: of[key] for key in varied if key in of}
    return draw


def _likeness(study: Study, classes: int, record: Record) -> Likeness:
    past = record.header["study"]
    here = study.model_dump(mode="json")
    counted = record.header.get("sizes", {}).get("classes")  # the first journals had no sizes
    same_data = counted in (None, classes) and _dataset(past["data"]) == _dataset(here["data"])
    networks = {
        "teacher": (past["teacher"].get("model"), here["teacher"].get("model")),
        "student": (past["student"], here["student"]),
    }
    return {"data": 2 if same_data else int(counted == classes)} | {
        whose: _kinship(*pair) for whose, pair in networks.items()
    }


def _dataset(of: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a dataset from others: its name, and settings that it cannot be loaded without."""
    if "file" in of or of["name"] not in catalogue.names(DATASETS):
        return of["name"], of.get("file")
    parameters = inspect.signature(catalogue.load(DATASETS, of["name"]).load).parameters.values()
    needed = [each.name for each in parameters if each.default is each.empty]
    return of["name"], *(of.get(name) for name in needed)


def _kinship(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> int:
    """2 for the same network, 1 for the same family, 0 otherwise and where one is not known."""
    if not one or not other:
        return 0
    return 2 if one == other else int(_family(one) == _family(other))


def _family(network: Mapping[str, Any]) -> tuple[str, ...]:
    """The file that builds it, and in a library the network's name there."""
    name = network["name"]
    if "file" in network or name not in catalogue.names(MODELS):
        return str(network.get("file")), name
    return catalogue.point(MODELS, name).file, str(network.get("model", ""))
