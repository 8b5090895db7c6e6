"""The plan: what a study would do, said before anything is done."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from kdsearch import data
from kdsearch.errors import DataError, Problem, SettingError, StudyError
from kdsearch.search.plugins import sampler_for, scheduler_for
from kdsearch.search.schedulers.asha import Halving
from kdsearch.search.study import Resources, Share, Study

if TYPE_CHECKING:  # Ray takes seconds to import, and a plan alone needs none of it
    from kdsearch.search.fleet import Fleet, NodeType


def plan(study: Study, remote: bool = False) -> list[str]:
    """The plan in lines.

    `remote`: data under absolute paths and URIs are another machine's, and not looked for.

    Raises:
        StudyError: the data are not there, or the algorithm or scheduler cannot be set up.
    """
    space = study.parsed_space
    problems, built = [], {}
    try:
        if not (remote and any(map(elsewhere, study.data.places))):
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
    rows, warm = _rows(study), study.warm()
    searched = search.trials * (1 if search.control == "none" else 2)
    width = max((len(path) for path in dimensions), default=0)
    return [
        study.question or study.name,
        f"data {study.data.name}, teacher"
        f" {' taught by '.join(link.name or link.logits for link in study.teacher.chain)},"
        f" student {study.student.known_as}",
        "",
        f"{len(dimensions)} dimensions:",
        *(f"  {path:{width}}  {_shown(dim)}" for path, dim in dimensions.items()),
        "",
        f"search: {search.trials} trials of {epochs} epochs, algorithm {search.algorithm.name},"
        f" scheduler {search.scheduler.name}, seed {search.seed}",
        *_rungs(built["scheduler"], study),
        f"first trials: {', '.join(published)} at their published settings",
        *(["then ptloss with coefficients chosen by the proxy teacher"] if chosen else []),
        *([f"then {len(warm)} of the study's own points"] if warm else []),
        *_control(study),
        f"finals: at most {rows} rows x {final.seeds} seeds",
        f"at most {(searched + rows * final.seeds) * epochs} student-epochs"
        f" and {sum(link.epochs for link in study.teacher.chain)} teacher-epochs",
        f"each trial takes {_taken(resources)}",
        *_taught(study),
    ]


def _taken(resources: Resources) -> str:
    if resources.gpu == "auto":
        return f"{resources.cpu:g} CPU and the share of a GPU that is measured at the start"
    return str(resources.of_trial(resources.gpu))


def _taught(study: Study) -> list[str]:
    """What the teacher takes, where that is something else than a trial does."""
    trial = study.resources.of_trial(1)
    teacher = study.resources.of_teacher(trial)
    same = teacher == trial and study.resources.gpu != "auto"
    return [] if same or study.teacher.logits else [f"the teacher takes {teacher}"]


def _control(study: Study) -> list[str]:
    """How long kd is searched on, for the comparison with tuned kd."""
    until = {
        "family": ["the objective that took most"],
        "search": ["the whole search"],
        "none": [],
    }[study.search.control]
    return [f"control: kd alone, until it has had as many student-epochs as {x}" for x in until]


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


def on(fleet: "Fleet", study: Study) -> list[str]:
    """What the study would make of a cluster's nodes, in lines."""
    resources, trials = study.resources, study.search.trials
    trial = resources.of_trial(float(fleet.gpus > 0))
    room = fleet.slots(trial)
    wide = min(resources.max_concurrent or room, room, trials)
    rounds = math.ceil(trials / wide)
    finals = _rows(study) * study.final.seeds
    whole = ["counted with a whole GPU per trial, which the measured share will divide", ""]
    return [
        f"cluster {fleet.name} ({fleet.source}): a head and at most {fleet.nodes - 1} workers",
        *(_row(node, trial) for node in (fleet.head, *fleet.workers)),
        "",
        *(whole if resources.gpu == "auto" and trial.gpu else []),
        f"room for {room} trials at once; the widest useful concurrency of this search is {wide}",
        f"{wide} trials at once ask for {_nodes(fleet.asked(trial, wide))}",
        f"{trials} trials are then {rounds} round{'s' if rounds > 1 else ''}; a proposal learns"
        " from what has ended, so fewer at once (--max-concurrent) propose better and last longer",
        f"finals: at most {min(finals, resources.max_concurrent or room)} of {finals} at once",
        f"the teacher's tasks take {resources.of_teacher(trial)}, one at a time: they fit",
    ]


def _row(node: "NodeType", trial: Share) -> str:
    held = node.trials(trial)
    trials = "holds no trial" if not held else f"{held} trial{'s' if held > 1 else ''} per node"
    if held and node.gpus:
        trials += f", {held / node.gpus:g} per GPU"
    count = f"{node.least} to {node.most} of them" if node.most else "the head"
    return f"  {node.name}: {node.cpus:g} CPU, {node.gpus:g} GPU, {trials}, {count}"


def _nodes(asked: dict[str, int]) -> str:
    return " and ".join(f"{count} {name}" for name, count in asked.items()) or "no worker"


def _rows(study: Study) -> int:
    """The most rows that the finals can have."""
    return len(list(study.published())) + len(study.families)


def elsewhere(place: str) -> bool:
    """Whether a file, folder or URI is the same from every working folder."""
    return "://" in place or Path(place).expanduser().is_absolute()


def _shown(dimension: object) -> str:
    return f"one of {', '.join(dimension)}" if isinstance(dimension, tuple) else repr(dimension)
