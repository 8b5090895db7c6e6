"""Teacher signals as a training meets them: the logits of a batch in the view that it sees.

Whole(table)                 the images themselves, every epoch the same
Stored(fetch, views)         one table per view, the next one read ahead
Online(teacher)              the teacher runs on the student's own batch
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor, nn

from kdsearch.data.views import Views
from kdsearch.training.recipe import Recipe


class Signals(Protocol):
    """What a training asks."""

    def __call__(self, epoch: int, at: Tensor, images: Tensor) -> Tensor:
        """Logits (n, C) at positions (n,) of the learning part, whose images are given."""


class Rows:
    """Some rows, int64 (N,), of logits (M, C) that others may share: indexed as those (N, C).

    Only what is asked for is copied, so a table in shared memory stays there.
    """

    def __init__(self, logits: Tensor, rows: Tensor) -> None:
        self._logits, self._rows = logits, rows

    def __getitem__(self, at: Tensor | slice) -> Tensor:
        return self._logits[self._rows[at]]


class Whole:
    """Logits (N, C) that hold in every epoch."""

    def __init__(self, logits: Tensor | Rows) -> None:
        self.logits = logits

    def __call__(self, epoch: int, at: Tensor, images: Tensor) -> Tensor:
        return self.logits[at]


class Stored:
    """Logits (N, C) of each view; while one epoch trains, the next one's are fetched.

    waited: seconds for which training stood still for a table.
    """

    def __init__(self, fetch: Callable[[int], Tensor | Rows], views: Views, epochs: int) -> None:
        """`fetch` gives the table of a view, on the training's device."""
        self._fetch, self._views, self._epochs = fetch, views, epochs
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="signals")
        self._ahead: tuple[int, Future[Tensor | Rows]] | None = None
        self._held: tuple[int, Tensor | Rows] | None = None
        self.waited = 0.0

    def __call__(self, epoch: int, at: Tensor, images: Tensor) -> Tensor:
        view = self._views.of_epoch(epoch)
        if self._held is None or self._held[0] != view:
            self._turn_to(view, epoch)
        assert self._held
        return self._held[1][at]

    def _turn_to(self, view: int, epoch: int) -> None:
        started = time.perf_counter()
        found = self._ahead and self._ahead[0] == view
        table = self._ahead[1].result() if self._ahead and found else self._fetch(view)
        self.waited += time.perf_counter() - started
        self._held, self._ahead = (view, table), None
        following = self._views.of_epoch(epoch + 1)
        if epoch < self._epochs and following != view:
            self._ahead = following, self._reader.submit(self._fetch, following)


class Online:
    """A teacher in evaluation mode that runs, as its recipe says, beside the student."""

    def __init__(self, teacher: nn.Module, recipe: Recipe) -> None:
        self._teacher, self._recipe = teacher.eval(), recipe

    @torch.no_grad()
    def __call__(self, epoch: int, at: Tensor, images: Tensor) -> Tensor:
        return self._recipe.forward(self._teacher, images)
