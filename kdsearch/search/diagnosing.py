"""Diagnose a teacher and a student: what, if anything, can be handed from one to the other.

storage/diagnoses/diagnosis-<study>-<digest>-<n>/   laid out like a search

Understanding and Improving KD (arXiv 2002.03532) splits distillation into three levels. Each is
taught alone, by the objective that isolates it, over paired seeds and judged on validation; the
test part stays closed. One `kd` student is also watched: which examples the teacher lets pull more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import torch
from scipy import stats

from kdsearch import data
from kdsearch.objectives import from_spec
from kdsearch.objectives.rescaling import rescaling
from kdsearch.search.cluster import Cluster
from kdsearch.search.fit import check_networks
from kdsearch.search.gpu import device, fetched
from kdsearch.search.jobs import FinalJobs, Job
from kdsearch.search.stages import Stages
from kdsearch.search.study import Share, Study
from kdsearch.search.teaching import Say
from kdsearch.search.trial import Lesson
from kdsearch.teachers.view import view
from kdsearch.tracking import Journal, Record
from kdsearch.training import Experiment, Training, part, predict

LEVELS = ("ce", "label_smoothing", "kd_sim", "kd_pt", "kd")
"""Labels alone; regularisation; class relationships; weights of examples; all of them."""

TEMPERATURE = 4.0
KD = {"name": "kd", "temperature": TEMPERATURE, "lam": 0.9}
UNSURE = 0.01  # w_k is a quotient by 1 - q_k: below this it is that of two roundings
SHOWN = 1500  # examples of a scatter plot


class Diagnosis:
    """One diagnosis of a study's teacher and student, in a folder of its own."""

    def __init__(self, study: Study, folder: Path, storage: Path) -> None:
        """Load the data; nothing is started. Errors as in `runner.Run`."""
        self.study, self.folder, self.storage = study, folder, storage
        self.journal = Journal(folder / "journal.jsonl")
        self.splits = data.load(**study.data.arguments)
        check_networks(study, self.splits)

    def go(self, cluster: Cluster, say: Say) -> Record:
        """Do what is not done yet; returns the finished record.

        Raises:
            Interrupted: Ctrl-C; `kdsearch diagnose` of the same study goes on.
        """
        stages = Stages(
            self.study, self.folder, self.storage, self.journal, self.splits, cluster, whole=True
        )
        stages.begin("diagnosis")
        lesson = stages.teach(say)
        facts = Record.of(self.journal).facts
        for name in ("train", "validation"):
            if name not in facts:
                self._note(name, _seen(lesson, getattr(self.splits, name)))
        jobs = FinalJobs(self._jobs(), Record.of(self.journal).trials)
        stages.train("levels", jobs, len(jobs))
        if "watched" not in facts:
            self._note("watched", self._watch(cluster.trial, lesson))
        self.journal.append("finished")
        return Record.of(self.journal)

    def _note(self, name: str, value: Any) -> None:
        self.journal.append("fact", name=name, value=value)

    def _jobs(self) -> Iterator[Job]:
        """Each level over the same seeds, seed by seed."""
        for number in range(self.study.final.seeds):
            for name in LEVELS:
                objective = KD if name == "kd" else {"name": name}
                experiment = self.study.assembled({"objective": objective})
                seed = self.study.search.seed + 1 + number
                yield Job(
                    id=f"l{name}-{number}",
                    kind="level",
                    family=name,
                    origin="published",
                    row=name,
                    experiment=experiment | {"seed": seed},
                )

    def _watch(self, trial: Share, lesson: Lesson) -> list[dict[str, Any]]:
        task = ray.remote(_watched).options(num_cpus=trial.cpu, num_gpus=trial.gpu, max_retries=2)
        experiment = self.study.assembled({"objective": KD})
        found: list[dict[str, Any]] = fetched(task.remote(trial.gpu, experiment, lesson))
        return found


def _seen(lesson: Lesson, rows: Any) -> dict[str, Any]:
    labels = torch.from_numpy(lesson.splits.labels[rows])
    seen = view(lesson.logits(rows), labels, temperature=TEMPERATURE)
    return seen.model_dump(mode="json")


def _watched(share: float, described: dict[str, Any], lesson: Lesson) -> list[dict[str, Any]]:
    """Train with `kd`, looking at every training example after the first and the last epoch."""
    experiment, splits = Experiment.model_validate(described), lesson.splits
    on = device(share)
    learn, judge = (part(splits, rows, on) for rows in (splits.train, splits.validation))
    epochs, logits = experiment.recipe.epochs, lesson.logits(splits.train, on)
    signals = lesson.signals(splits.train, epochs, on)
    training = Training(experiment, learn, judge, splits.classes, signals)
    return [
        _look(predict(training.evaluated, learn), logits, learn.labels, result.epoch)
        for result in training
        if result.epoch in (1, epochs)
    ]


def _look(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, epoch: int
) -> dict[str, Any]:
    """What one epoch's student shows: agreement with its teacher, and every example's weight."""
    at = labels[:, None]
    tempered = (teacher.double() / TEMPERATURE).softmax(dim=1)
    confidence = tempered.gather(1, at)[:, 0].cpu()
    weights = rescaling(from_spec(KD), student, teacher, labels).cpu()
    unsure = student.double().softmax(dim=1).gather(1, at)[:, 0].cpu() < 1 - UNSURE
    confidence, weights = confidence[unsure], weights[unsure]
    quartiles = torch.tensor([0.25, 0.5, 0.75]).double()
    said = student.argmax(dim=1)
    step = max(1, len(weights) // SHOWN)
    return {
        "epoch": epoch,
        "accuracy": float((said == labels).double().mean()),
        "agreement": float((said == teacher.argmax(dim=1)).double().mean()),
        "correlation": _spearman(confidence, weights),
        "unsure": float(unsure.double().mean()),
        "quartiles": weights.quantile(quartiles).tolist() if len(weights) else None,
        "shown": {"confidence": confidence[::step].tolist(), "weight": weights[::step].tolist()},
    }


def _spearman(a: torch.Tensor, b: torch.Tensor) -> float | None:
    """Spearman's rank correlation; None where one side does not vary."""
    if len(a) < 2 or a.min() == a.max() or b.min() == b.max():
        return None
    return float(stats.spearmanr(a.numpy(), b.numpy()).statistic)
