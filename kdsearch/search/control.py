"""The control: kd alone, searched until it has had as many student-epochs as any other objective.

Papers compare with kd as it was once published. Here a found setting is also compared with kd that
was tuned as long: what it cost to find the one was spent on the other too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from kdsearch.search.study import Study
from kdsearch.tracking import Record

KD = {"name": "kd", "temperature": {"log_uniform": [1, 20]}, "lam": {"uniform": [0, 1]}}
"""What is searched where the study's own space has no kd."""


def study_of(study: Study) -> Study:
    """The study with kd as its only objective, and a seed of its own for the proposals."""
    kd = list(_kd(study.space["objective"])) or [KD]
    objective = kd[0] if len(kd) == 1 else {"choice": kd}
    search = study.search.model_copy(update={"seed": study.search.seed + 1})
    return study.model_copy(
        update={"space": {**study.space, "objective": objective}, "search": search}
    )


def budget(study: Study, record: Record) -> int:
    """The student-epochs that kd is still owed once the search is done."""
    spent: Counter[str] = Counter()
    for trial in record.of_kind("trial"):
        spent[trial.family] += len(trial.epochs)
    owed = {
        "family": max(spent.values(), default=0),
        "search": sum(spent.values()),
        "none": 0,
    }
    return max(0, owed[study.search.control] - spent["kd"])


def _kd(tree: Any) -> Iterator[Mapping[str, Any]]:
    """The parts of an objective's space that are kd."""
    if "choice" in tree:
        for option in tree["choice"]:
            yield from _kd(option)
    elif tree.get("name") == "kd":
        yield tree
    elif isinstance(tree.get("name"), Mapping) and "kd" in tree["name"].get("choice", ()):
        yield {**tree, "name": "kd"}
