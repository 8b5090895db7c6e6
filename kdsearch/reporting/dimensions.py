"""The dimensions of a search as its trainings had them: per objective, what varied, and what of it
mattered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdsearch.tracking import Record, TrialRecord

ENOUGH = 8  # students, below which an importance is noise
MANY = 100  # above which so many of them tell it: fANOVA's time grows with their square


@dataclass(frozen=True)
class Dimension:
    """What varied among the students of one objective, by its dotted path.

    values: one per student, None where it has none; numbers, or words. log: it is searched on a
    logarithmic scale.
    """

    path: str
    values: tuple[Any, ...]
    log: bool = False

    @cached_property
    def numeric(self) -> bool:
        return all(isinstance(v, int | float) for v in self.values if v is not None)


class Dimensions:
    """The dimensions of a record's search."""

    def __init__(self, record: Record) -> None:
        space = record.header["study"].get("space", {})
        self._log = set(_logarithmic(space))
        self.families: dict[str, list[TrialRecord]] = {}
        """The search's students by objective, of those that were judged at least once."""
        for trial in record.searched:
            if trial.epochs:
                self.families.setdefault(trial.family, []).append(trial)

    def of(self, trials: Sequence[TrialRecord]) -> list[Dimension]:
        """What varied among students of one objective: its own settings first, then the rest."""
        flat = [dict(_leaves(trial.experiment)) for trial in trials]
        found = []
        for path in dict.fromkeys(path for each in flat for path in each):
            values = tuple(each.get(path) for each in flat)
            if len({value for value in values if value is not None}) > 1:
                log = (path in self._log or f"{trials[0].family}.{path}" in self._log) and all(
                    value > 0 for value in values if value is not None
                )
                found.append(Dimension(path, values, log))
        return sorted(found, key=lambda column: column.path.startswith(("recipe", "model")))

    def importance(self, trials: Sequence[TrialRecord]) -> tuple[dict[str, float], int, int]:
        """The share of the accuracy's variance that each explains (fANOVA, by Optuna).

        Students are compared after the last epoch that half of them reached, of more than `MANY`
        so many spread evenly: (shares, epoch, students); no shares of fewer than `ENOUGH`, or where
        nothing varied.
        """
        lengths = sorted(len(trial.epochs) for trial in trials)
        epoch = lengths[len(lengths) // 2]
        met = [trial for trial in trials if len(trial.epochs) >= epoch]
        if len(met) > MANY:
            met = [met[number * len(met) // MANY] for number in range(MANY)]
        numeric = [d for d in self.of(met) if d.numeric and None not in d.values]
        accuracies = [float(trial.epochs[epoch - 1]["accuracy"]) for trial in met]
        if len(met) < ENOUGH or not numeric or len(set(accuracies)) < 2:
            return {}, epoch, len(met)
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        ranges = {
            d.path: optuna.distributions.FloatDistribution(min(d.values), max(d.values), log=d.log)
            for d in numeric
        }
        study = optuna.create_study(direction="maximize")
        for number, accuracy in enumerate(accuracies):
            params = {d.path: float(d.values[number]) for d in numeric}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=ranges, value=accuracy)
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        return dict(shares), epoch, len(met)


def _logarithmic(tree: Any, path: str = "", family: str = "") -> Iterator[str]:
    """The paths of a space that are searched on a logarithmic scale, an objective's after it."""
    if isinstance(tree, Mapping):
        if "log_uniform" in tree:
            yield f"{family}.{path}" if family else path
        if path == "" and "name" in tree:
            family = str(tree["name"])
        for key, value in tree.items():
            if key == "choice":
                for option in value:
                    yield from _logarithmic(option, path, family)
            else:
                here = "" if (path, key) == ("", "objective") else f"{path}.{key}".lstrip(".")
                yield from _logarithmic(value, here, family)
    elif isinstance(tree, list):
        for number, value in enumerate(tree, start=1):
            yield from _logarithmic(value, f"{path} {number}", family)


def _leaves(experiment: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of an experiment by path, the objective's without its name."""
    for section in ("objective", "recipe", "model"):
        prefix = "" if section == "objective" else f"{section}."
        for path, value in _flat(experiment.get(section, {})):
            if path not in ("name", "file", "sha256"):
                yield prefix + path, value


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list):
        for number, value in enumerate(tree, start=1):
            yield from _flat(value, f"{path} {number}")
    else:
        yield path, tree
