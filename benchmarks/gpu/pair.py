"""A published pair in full: the teacher, then students at the papers' settings, beside their rows.

out/<name>.pt        the state of the teacher and of each student, written between epochs
out/signals/         the teacher's logits of each view, made when a student first needs them

It ends after `minutes`, and the same command goes on. As in the papers, all training images are
learned from and the test part is looked at after each epoch; the last epoch is what counts.
"""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import PAPERS, splits, wait

from kdsearch import baselines, data
from kdsearch.data import Splits
from kdsearch.files import write_atomically
from kdsearch.teachers import logits
from kdsearch.training import Experiment, Network, Recipe, Training, part, predict
from kdsearch.training.signals import Stored

TEACHER = "teacher"
SAVE_EVERY = 20.0
"""Seconds between written states."""


class OutOfTime(Exception):
    """The minutes are over; what is done is kept."""


@dataclass
class Pair:
    """One teacher and its students on one device, in one folder."""

    teacher: str
    student: str
    data: Splits
    out: Path
    device: str
    ends: float

    def __post_init__(self) -> None:
        """Put the data on the device."""
        self.learn, self.judge = (
            part(self.data, rows, self.device) for rows in (self.data.fitted, self.data.test)
        )

    def taught(self, recipe: Recipe) -> torch.nn.Module:
        """The teacher, trained as far as its recipe goes.

        Raises:
            OutOfTime: it is not there yet.
        """
        experiment = Experiment(
            model=Network(name=self.teacher), objective={"name": "ce"}, recipe=recipe
        )
        training = Training(experiment, self.learn, self.judge, self.data.classes)
        self._finish(TEACHER, training)
        return training.evaluated

    def learned(self, name: str, recipe: Recipe, teacher: torch.nn.Module) -> None:
        """A student with the objective `name`, at what a paper published for the pair.

        Raises:
            OutOfTime: it is not trained to its end.
        """
        objective = {"name": name, **settings(name, self.teacher, self.student)}
        experiment = Experiment(
            model=Network(name=self.student), objective=objective, recipe=recipe
        )
        signals = Stored(
            lambda view: self._table(teacher, view, recipe), self.data.views, recipe.epochs
        )
        self._finish(name, Training(experiment, self.learn, self.judge, self.data.classes, signals))

    def results(self, name: str) -> list[dict[str, Any]]:
        """The epochs of the teacher or of a student so far."""
        state = self._state(name)
        return state["results"] if state else []

    def _table(self, teacher: torch.nn.Module, view: int, recipe: Recipe) -> torch.Tensor:
        key, rows = f"{self.teacher}/{view}", self.data.fitted
        file = logits.file(self.out / "signals", view)
        if not file.exists():
            made = predict(teacher, self.learn, view, recipe).cpu().numpy()
            logits.save(file, made, rows, key)
        return torch.from_numpy(logits.load(file, rows, key).copy()).to(self.device)

    def _finish(self, name: str, training: Training) -> None:
        """Go on where the folder's state stands, to the end or until time is over."""
        state, digest = self._state(name), training.experiment.digest
        results = state["results"] if state else []
        if state and state["digest"] != digest:
            raise SystemExit(f"{self.out} holds a {name} of another recipe: give another --out.")
        if state:
            training.load_state_dict(state["training"])
        saved = time.monotonic()
        for result in training:
            wait(self.device)
            results.append(result._asdict())
            last = training.epoch == training.experiment.recipe.epochs
            over = time.monotonic() > self.ends and not last
            if last or over or time.monotonic() > saved + SAVE_EVERY:
                state = {"training": training.state_dict(), "results": results}
                self._save(name, state | {"digest": digest})
                saved = time.monotonic()
            if over:
                raise OutOfTime

    def _save(self, name: str, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.out / f"{name}.pt", buffer.getvalue())

    def _state(self, name: str) -> dict[str, Any] | None:
        file = self.out / f"{name}.pt"
        if not file.exists():
            return None
        return dict(torch.load(file, weights_only=True, map_location=self.device))


def settings(name: str, teacher: str, student: str) -> dict[str, float]:
    """What a paper published for the pair, else nothing: the objective's own defaults."""
    return baselines.published_settings(name, teacher, student) or {}


def parquet(folder: Path) -> Splits:
    """CIFAR-100 from `train*.parquet` and `test*.parquet`, in the papers' views."""
    return data.load(
        "image_parquet",
        validation=0.01,  # unused here, but a split holds some out
        views=PAPERS.model_dump(),
        train=str(folder / "train*.parquet"),
        test=str(folder / "test*.parquet"),
        label="fine_label",
    )


def small() -> Splits:
    """Random images, so that the way is walked in seconds."""
    return splits(128)


def run(pair: Pair, objectives: list[str], teacher_recipe: Recipe, recipe: Recipe) -> bool:
    """Train what is not trained yet; False where time was over first."""
    try:
        teacher = pair.taught(teacher_recipe)
        for name in objectives:
            pair.learned(name, recipe, teacher)
    except OutOfTime:
        return False
    return True


def table(pair: Pair, objectives: list[str], published_as: str = "cifar100") -> Iterator[str]:
    """What there is so far, as a Markdown table, with the published rows below."""
    yield "| network | objective | test % | best epoch % | epochs | s an epoch | source |"
    yield "|---|---|---|---|---|---|---|"
    for name in (TEACHER, *objectives):
        if not (results := pair.results(name)):
            continue
        network = pair.teacher if name == TEACHER else pair.student
        accuracies = [100 * each["accuracy"] for each in results]
        lasted = np.median([each["seconds"] for each in results])
        said = settings(name, pair.teacher, pair.student) if name != TEACHER else {}
        shown = ", ".join(f"{key} {value:g}" for key, value in said.items())
        yield (
            f"| {network} | {'ce' if name == TEACHER else f'{name} {shown}'.strip()}"
            f" | {accuracies[-1]:.2f} (n = 1) | {max(accuracies):.2f} | {len(results)}"
            f" | {lasted:.1f} | here |"
        )
    for name in objectives:
        for row in baselines.query(pair.teacher, pair.student, published_as, name):
            spread = "" if row.std is None else f" ± {row.std:.2f}"
            marks = "; ".join((row.paper, *row.marks()))
            yield (
                f"| {row.student} | {row.method} | {row.top1:.2f}{spread}"
                f" (n = {row.n or 'not said'}) | | {row.epochs or ''} | | {marks} |"
            )
