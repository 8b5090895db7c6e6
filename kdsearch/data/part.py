"""A part: the rows of a dataset that a training may see, on its device.

    learn = part(splits, splits.train, "cuda")
    learn.images(at, view=3)                 normalised images of some positions, in one view
    for at, images in learn.batches(order, 64, view=3): ...

Pixels that are held stay one uint8 tensor, on a CPU the very memory that all trials of a node
share; a batch is cut, augmented and normalised when it is asked for. Those of a stream are read and
decoded by threads, some batches ahead of the one that is asked for.
"""

import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdsearch.data.pictures import Box, Rows
from kdsearch.data.splits import Splits
from kdsearch.data.stream import Stream
from kdsearch.data.views import Views, chances

AHEAD = 3
"""Batches of a stream that are decoded while another is in use."""

Batch = tuple[Tensor, list[Future[None]]]
"""Room for uint8 images (n, channels, size, size), and what fills it."""


@dataclass(frozen=True, eq=False)
class Part(ABC):
    """Rows of a dataset on a device.

    rows: int64 (N,), those of this part. labels: int64 (N,). mean, std: float32 of the raw values,
    (channels, 1, 1) or (D,).
    """

    rows: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    views: Views

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.labels.device

    @property
    @abstractmethod
    def channels(self) -> int:
        """Of its images; features, or tokens, of what is none."""

    @abstractmethod
    def images(self, at: Tensor, view: int | None = None) -> Tensor:
        """Normalised float32 images (n, channels, H, W) at positions (n,); None is no view.

        Features (n, D) are normalised alike; token ids (n, L) are given as they are.
        """

    @abstractmethod
    def batches(
        self, order: Tensor, size: int, view: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields positions (n,) and their images, `size` at a time, of an order (M,) on the CPU.

        A stream of blocks may visit a shuffled order in another; an ascending one stays.
        """

    def _seen(self, pixels: Tensor, rows: Tensor, view: int | None) -> Tensor:
        """The pixels of rows in a view, normalised."""
        if view is not None and not self.views.identity:
            pixels = self.views(pixels, rows, view)
        if pixels.dtype == torch.int64:
            return pixels
        return pixels.float().sub_(self.mean).div_(self.std)

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """Some rows of the dataset, where this part holds all of them; the pixels stay shared."""
        chosen = torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)
        return replace(self, rows=chosen, labels=self.labels[chosen])

    def with_views(self, views: Views) -> Self:
        """The same rows under other views."""
        return replace(self, views=views)


@dataclass(frozen=True, eq=False)
class Held(Part):
    """A part of a dataset that is in memory.

    pixels: the whole dataset, uint8 (M, channels, H, W), float32 (M, D) or int64 (M, L).
    """

    pixels: Tensor

    @property
    def channels(self) -> int:
        return self.pixels.shape[1]

    def images(self, at: Tensor, view: int | None = None) -> Tensor:
        rows = self.rows[at]
        return self._seen(self.pixels[rows], rows, view)

    def batches(
        self, order: Tensor, size: int, view: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for at in order.to(self.device).split(size):
            yield at, self.images(at, view)


@dataclass(frozen=True, eq=False)
class Streamed(Part):
    """A part of a dataset whose pictures stay in their files.

    At most `AHEAD` + 1 batches are decoded at a time, and one encoded picture per thread is held.
    """

    stream: Stream
    threads: ThreadPoolExecutor

    @property
    def channels(self) -> int:
        return self.stream.channels

    def images(self, at: Tensor, view: int | None = None) -> Tensor:
        rows = self.rows[at]
        return self._decoded(self._begun(rows.cpu().numpy(), view), rows, view)

    def batches(
        self, order: Tensor, size: int, view: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rows = self.rows.cpu()
        order = order[torch.from_numpy(self.stream.arranged(rows[order].numpy()))]
        waiting: deque[tuple[Tensor, Batch]] = deque()
        try:
            for at in order.split(size):
                waiting.append((at, self._begun(rows[at].numpy(), view)))
                if len(waiting) > AHEAD:
                    yield self._next(waiting, view)
            while waiting:
                yield self._next(waiting, view)
        finally:
            for _, (_, tasks) in waiting:
                for task in tasks:
                    task.cancel()

    def _next(
        self, waiting: deque[tuple[Tensor, Batch]], view: int | None
    ) -> tuple[Tensor, Tensor]:
        at = waiting[0][0].to(self.device)
        images = self._decoded(waiting[0][1], self.rows[at], view)
        waiting.popleft()
        return at, images

    def _begun(self, rows: Rows, view: int | None) -> Batch:
        shape = (len(rows), *self.stream.shape[1:])
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        windows, room = self._windows(rows, view), pixels.numpy()

        def decode(number: int) -> None:
            room[number] = self.stream.decode(rows[number], windows[number])

        return pixels, [self.threads.submit(decode, number) for number in range(len(rows))]

    def _windows(self, rows: Rows, view: int | None) -> list[Callable[[int, int], Box] | None]:
        if view is None or not self.views.area:
            return [None] * len(rows)
        named = chances(self.views.seed, view, torch.from_numpy(rows))
        return [partial(self.views.window, chance) for chance in named.tolist()]

    def _decoded(self, batch: Batch, rows: Tensor, view: int | None) -> Tensor:
        pixels, tasks = batch
        for task in tasks:
            task.result()
        return self._seen(pixels.to(self.device, non_blocking=True), rows, view)


def part(splits: Splits, rows: npt.NDArray[np.int64], device: torch.device | str = "cpu") -> Part:
    """The given rows, to be normalised as the splits say, on a device.

    A stream decodes with as many threads as torch may use: the process's share of its node.
    """
    mean, std = (torch.from_numpy(value).to(device) for value in splits.normalisation)
    if splits.images.ndim == 4:
        mean, std = mean[:, None, None], std[:, None, None]
    chosen = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
    labels = torch.from_numpy(splits.labels[rows]).to(device)
    if isinstance(splits.images, Stream):
        threads = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="pictures")
        return Streamed(chosen, labels, mean, std, splits.views, splits.images, threads)
    pixels = shared(splits.images).to(device)
    return Held(chosen, labels, mean, std, splits.views, pixels)


def shared(array: npt.NDArray[Any]) -> Tensor:
    """A tensor on an array's own memory, which may be read-only: nobody may write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)
