"""The plan: what a study would do, said before anything is done."""

from kdsearch import data
from kdsearch.errors import DataError, Problem, SettingError, StudyError
from kdsearch.search.plugins import sampler_for, scheduler_for
from kdsearch.search.schedulers.asha import Halving
from kdsearch.search.study import Study


def plan(study: Study) -> list[str]:
    """The plan in lines.

    Raises:
        StudyError: the data are not there, or the algorithm or scheduler cannot be set up.
    """
    space = study.parsed_space
    problems, built = [], {}
    try:
        data.find(study.data.name, study.data.settings)
    except (SettingError, DataError) as error:
        problems.append(Problem("data", str(error)))
    for path, build in {"algorithm": sampler_for, "scheduler": scheduler_for}.items():
        try:
            built[path] = build(study)
        except SettingError as error:
            problems.append(Problem(f"search.{path}", str(error)))
    if problems:
        raise StudyError(study.name, problems)
    search, final, resources = study.search, study.final, study.resources
    epochs = study.recipe.epochs
    published = [drawn["objective"]["name"] for drawn in study.published()]
    dimensions = space.dimensions()
    chosen = any(path.startswith("objective.ptloss.epsilons.") for path in dimensions)
    rows = len(published) + len(study.families)
    width = max((len(path) for path in dimensions), default=0)
    return [
        study.question or study.name,
        f"data {study.data.name}, teacher"
        f" {' taught by '.join(link.name or link.logits for link in study.teacher.chain)},"
        f" student {study.student.name}",
        "",
        f"{len(dimensions)} dimensions:",
        *(f"  {path:{width}}  {_shown(dim)}" for path, dim in dimensions.items()),
        "",
        f"search: {search.trials} trials of {epochs} epochs, algorithm {search.algorithm.name},"
        f" scheduler {search.scheduler.name}, seed {search.seed}",
        *_rungs(built["scheduler"], study),
        f"first trials: {', '.join(published)} at their published settings",
        *(["then ptloss with coefficients chosen by the proxy teacher"] if chosen else []),
        f"finals: at most {rows} rows x {final.seeds} seeds",
        f"at most {search.trials * epochs + rows * final.seeds * epochs} student-epochs"
        f" and {sum(link.epochs for link in study.teacher.chain)} teacher-epochs",
        f"each trial takes {resources.cpu:g} CPU and {resources.gpu:g} GPU",
    ]


def _rungs(scheduler: object, study: Study) -> list[str]:
    """When a halving scheduler compares students, in the light of the learning rate's course."""
    if not isinstance(scheduler, Halving):
        return []
    epochs = ", ".join(map(str, scheduler.rungs))
    drop = study.recipe.first_drop
    note = f"; the learning rate first drops after {drop}" if drop else ""
    return [
        f"rungs after epochs {epochs}: the best 1/{scheduler.factor:g} of the students so far go"
        f" on{note}"
    ]


def _shown(dimension: object) -> str:
    return f"one of {', '.join(dimension)}" if isinstance(dimension, tuple) else repr(dimension)
