"""Row groups of Parquet shards, from which single pictures are taken while they are held.

A row group can only be read whole, so a training visits rows in an order in which few are needed
at a time: blocks in the order in which they are first met, `POOL` rows at a time, and those rows as
shuffled as they came. Shards should therefore be shuffled, as hubs have them, with row groups of
some hundred rows at most.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from kdsearch.data.pictures import Picture, Rows
from kdsearch.data.shards import Shard

POOL = 2048
"""Rows among which an order is free; of as many again are row groups held while batches end."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The pictures of shards, one after the other. sizes: the rows of each shard's row groups."""

    shards: list[Shard]
    column: str
    sizes: list[list[int]]
    _lock: Any = field(default_factory=threading.Lock, init=False)
    _held: "OrderedDict[int, Future[Any]]" = field(default_factory=OrderedDict, init=False)

    @classmethod
    def of(cls, shards: list[Shard], column: str) -> Self:
        """Those shards. Errors as of `Shard`."""
        return cls(shards, column, [shard.groups() for shard in shards])

    def __reduce__(self) -> Any:  # without the lock, and without what is held
        return Groups, (self.shards, self.column, self.sizes)

    def __call__(self, row: int) -> Picture:
        """Errors as of `Shard`."""
        group = int(self._of(np.array([row]))[0])
        shard, number, before = self._places[group]
        start = int(self._ends[group]) - self._counts[group]
        values = self._values(group, shard, number)
        return shard.picture(values[row - start], self.column, before + row - start)

    def arranged(self, rows: Rows) -> Rows:
        """Row groups in the order in which they are met, as shuffled as before within a pool."""
        groups = self._of(rows)
        _, first, group = np.unique(groups, return_index=True, return_inverse=True)
        met = np.argsort(first)
        pool = np.empty_like(met)
        pool[met] = (np.cumsum(self._counts[groups[first[met]]]) - 1) // POOL
        return np.argsort(pool[group], kind="stable")

    @cached_property
    def _counts(self) -> Rows:
        return np.concatenate([np.array(groups, np.int64) for groups in self.sizes])

    @cached_property
    def _ends(self) -> Rows:
        return np.cumsum(self._counts)

    @cached_property
    def _places(self) -> list[tuple[Shard, int, int]]:
        """Of each group its shard, its number there, and the rows of the shard before it."""
        return [
            (shard, number, sum(groups[:number]))
            for shard, groups in zip(self.shards, self.sizes, strict=True)
            for number in range(len(groups))
        ]

    def _of(self, rows: Rows) -> Rows:
        return np.searchsorted(self._ends, rows, side="right")

    def _values(self, group: int, shard: Shard, number: int) -> Any:
        """The encoded pictures of a group, read once by whoever comes first."""
        with self._lock:
            reads = group not in self._held
            found = self._held.setdefault(group, Future())
            self._held.move_to_end(group)
            while len(self._held) > 2 and self._counts[list(self._held)].sum() > 2 * POOL:
                self._held.popitem(last=False)
        if reads:
            try:
                found.set_result(shard.group(number, self.column))
            except Exception as error:  # noqa: BLE001 - all who wait shall hear of it
                with self._lock:
                    self._held.pop(group, None)
                found.set_exception(error)
        return found.result()
