"""Pictures in Parquet shards, as public hubs keep them: encoded bytes beside an integer label.

`train` and `test` are each a file, a folder, a glob, or a list of them, as paths or as URIs that
pyarrow reads (file://, s3://, gs://). `image` and `label` name the columns, where there is more
than one that it could be. `size` and `channels` as in `data/pictures`. `stream: true` reads row
groups anew in every epoch: see `data/groups`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from kdsearch.data.groups import Groups
from kdsearch.data.pictures import Picture, Pictures, Rows
from kdsearch.data.shards import shards_of
from kdsearch.data.splits import Dataset
from kdsearch.data.stream import must_have_size
from kdsearch.errors import SettingError


def load(
    train: str | list[str] = "",
    test: str | list[str] = "",
    image: str | None = None,
    label: str | None = None,
    size: Annotated[int, Field(ge=1)] | None = None,
    channels: Literal[1, 3] | None = None,
    stream: bool = False,
) -> Dataset:
    learned = shards_of("train", train)
    shards = [*learned, *shards_of("test", test)]
    path, times = Counter(shard.path for shard in shards).most_common(1)[0]
    if times > 1:
        raise SettingError(
            f"train and test must name each file once, but {path} is named {times} times. Name the"
            " shards of each part, for example with `train-*.parquet`."
        )
    image, label = shards[0].columns(image, label)
    parts = [shard.labels(label) for shard in shards]
    ends = np.cumsum([len(part) for part in parts])
    labels = np.concatenate(parts)

    def read(rows: Rows) -> Iterator[Picture]:
        for shard, part, end in zip(shards, parts, ends, strict=True):
            start = end - len(part)
            yield from shard.pictures(image, rows[(rows >= start) & (rows < end)] - start)

    identity = [[shard.identity for shard in shards], image]
    groups = Groups.of(shards, image) if stream else None
    return Dataset(
        images=Pictures(identity, read, size, channels, groups),
        labels=labels,
        classes=int(labels.max()) + 1,
        test=np.arange(len(labels)) >= ends[len(learned) - 1],
    )


def find(
    train: str | list[str] = "",
    test: str | list[str] = "",
    size: int | None = None,
    stream: bool = False,
    **_: object,
) -> None:
    must_have_size(stream, size)
    shards_of("train", train)
    shards_of("test", test)
