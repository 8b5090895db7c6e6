"""Streams: the pictures of their files, whatever the batch, the threads and the order."""

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from kdsearch import data
from kdsearch.data import Splits, groups
from kdsearch.data.part import AHEAD, Part, part
from kdsearch.data.views import Views
from kdsearch.errors import DataError, SettingError
from tests.data.small import encoded, image, photographs, write_parquet

SIZE = 24
VIEWS = {"area": 0.08, "flip": True, "seed": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photographs(tmp_path)
    return tmp_path


def streamed(folder: Path, **changes: Any) -> Splits:
    settings = {"root": str(folder), "size": SIZE, "stream": True, "views": VIEWS} | changes
    return data.load("image_folder", validation=0.34, **settings)


def raw(of: Part, images: torch.Tensor) -> torch.Tensor:
    """The pixels that were normalised."""
    return (images * of.std + of.mean).round().byte()


def files_of(splits: Splits) -> list[Path]:
    return [Path(splits.images.source(row)[0]) for row in range(len(splits.labels))]


# SplitMix64 and torchvision's random resized crop, in Python's own numbers.


def _splitmix64(state: int) -> int:
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def _view(file: Path, view: int, row: int) -> np.ndarray:
    """Row's view of a picture: decoded whole, cropped, resized, mirrored."""
    seed = VIEWS["seed"]
    name = _splitmix64((_splitmix64(seed * 1_000_003 + view) + row) % 2**64) & (2**62 - 1)
    chance = iter([(_splitmix64(name + k) >> 11) / 2**53 for k in range(1, 41)])
    picture = Image.open(file).convert("RGB")
    width, height = picture.size
    for _ in range(10):
        area, ratio, x, y = (next(chance) for _ in range(4))
        surface = (0.08 + 0.92 * area) * width * height
        sides = (3 / 4) ** (1 - ratio) * (4 / 3) ** ratio
        w, h = round((surface * sides) ** 0.5), round((surface / sides) ** 0.5)
        if w <= width and h <= height:
            break
    else:
        raise AssertionError("these pictures are nearly square")
    left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
    seen = functional.resized_crop(picture, top, left, h, w, [SIZE, SIZE])
    return np.asarray(functional.hflip(seen) if name & 1 else seen).transpose(2, 0, 1)


def test_a_view_is_the_window_and_mirror_that_its_name_says(folder: Path) -> None:
    splits = streamed(folder)
    learn, files = part(splits, splits.train), files_of(splits)
    for view in (0, 7):
        seen = raw(learn, learn.images(torch.arange(len(learn)), view)).numpy()
        for row, pixels in zip(splits.train.tolist(), seen, strict=True):
            assert np.array_equal(pixels, _view(files[row], view, row))


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(tmp_path: Path) -> None:
    photographs(tmp_path, sides=(150, 300))
    splits = streamed(tmp_path)
    learn, files = part(splits, splits.train), files_of(splits)
    seen = raw(learn, learn.images(torch.arange(len(learn)), 0)).numpy()
    apart, other = (
        [
            np.abs(pixels - _view(files[row], view, row).astype(int)).mean()
            for row, pixels in zip(splits.train.tolist(), seen, strict=True)
        ]
        for view in (0, 1)
    )
    assert np.mean(apart) < np.mean(other) / 5
    assert max(apart) < 5  # of 255
    assert np.mean([distance > 0 for distance in apart]) > 0.5


@pytest.mark.parametrize(("sides", "apart"), [((30, 53), 0), ((150, 300), 3)])
def test_images_as_they_are_are_resized_with_a_margin_and_centred(
    tmp_path: Path, sides: tuple[int, int], apart: float
) -> None:
    photographs(tmp_path, sides=sides)
    splits = streamed(tmp_path)
    judge, files = part(splits, splits.test), files_of(splits)
    seen = raw(judge, judge.images(torch.arange(len(judge))))
    for row, pixels in zip(splits.test, seen, strict=True):
        picture = Image.open(files[row]).convert("RGB")
        whole = functional.resize(picture, round(SIZE * 256 / 224))
        there = np.asarray(functional.center_crop(whole, SIZE)).transpose(2, 0, 1).astype(int)
        assert np.abs(pixels.numpy() - there).mean() <= apart


@pytest.mark.parametrize("channels", [1, 3])
def test_without_area_a_stream_shows_what_is_held(folder: Path, channels: int) -> None:
    views = {"crop": 2, "flip": True}
    both = [streamed(folder, views=views, stream=s, channels=channels) for s in (True, False)]
    assert both[0].images.shape == both[1].images.shape
    for mean in zip(both[0].normalisation, both[1].normalisation, strict=True):
        assert np.array_equal(*mean)
    order = torch.randperm(len(both[0].train))
    for view in (None, 0, 4):
        ours, theirs = (part(s, s.train).batches(order, 4, view) for s in both)
        for (at, seen), (where, held) in zip(ours, theirs, strict=True):
            assert torch.equal(at, where)
            assert torch.equal(seen, held)


def test_neither_batch_nor_threads_nor_order_change_a_picture(folder: Path) -> None:
    splits = streamed(folder)
    order = torch.randperm(len(splits.train))
    found = []
    for threads, size in ((1, 1), (1, 5), (4, 3), (3, 100)):
        torch.set_num_threads(threads)
        learn = part(splits, splits.train)
        torch.set_num_threads(1)
        batches = list(learn.batches(order, size, 2))
        assert torch.equal(torch.cat([at for at, _ in batches]), order)
        found.append(torch.cat([images for _, images in batches]))
    alone = part(splits, np.arange(len(splits.labels))).take(splits.train)
    found.append(alone.images(order, 2))
    for each in found[1:]:
        assert torch.equal(each, found[0])
    assert not torch.equal(found[0], alone.images(order, 3))


class Watched:
    """A source that counts: pictures asked for, and how many threads read at once."""

    def __init__(self, source: Any) -> None:
        self.source, self.asked, self.reading, self.most = source, 0, 0, 0
        self.lock = threading.Lock()

    def __call__(self, row: int) -> Any:
        with self.lock:
            self.asked += 1
            self.reading += 1
            self.most = max(self.most, self.reading)
        try:
            return self.source(row)
        finally:
            with self.lock:
                self.reading -= 1

    def arranged(self, rows: Any) -> Any:
        return self.source.arranged(rows)


@pytest.fixture
def watched(folder: Path) -> Iterator[tuple[Part, Watched]]:
    splits = streamed(folder, normalisation={"mean": [0.5] * 3, "std": [0.2] * 3})
    source = Watched(splits.images.source)
    object.__setattr__(splits.images, "source", source)
    torch.set_num_threads(2)
    yield part(splits, splits.fitted), source
    torch.set_num_threads(1)


def test_batches_are_read_ahead_and_no_more_than_that(watched: tuple[Part, Watched]) -> None:
    learn, source = watched
    batches = learn.batches(torch.randperm(18), 2, 0)
    assert source.asked == 0
    begun = []
    submit = learn.threads.submit
    object.__setattr__(
        learn, "threads", type("", (), {"submit": lambda _, *a: begun.append(a) or submit(*a)})()
    )
    for number, _ in enumerate(batches, start=1):
        assert len(begun) == min(18, 2 * (number + AHEAD))
    assert source.asked == 18
    assert source.most <= 2  # encoded pictures: one per thread


def test_an_abandoned_epoch_stops_reading(watched: tuple[Part, Watched]) -> None:
    learn, source = watched
    held = threading.Event()
    learn.threads.submit(held.wait)
    learn.threads.submit(held.wait)
    batches = learn.batches(torch.arange(18), 2, 0)
    waiting = threading.Thread(target=lambda: next(batches))
    waiting.start()
    held.set()
    waiting.join()
    batches.close()
    learn.threads.shutdown()
    assert source.asked <= 2 * (1 + AHEAD)


def test_a_stream_travels_as_the_names_of_its_files(folder: Path) -> None:
    splits = streamed(folder)
    _ = splits.normalisation
    packed = pickle.dumps(splits)
    assert len(packed) < 6000
    again = pickle.loads(packed)
    (folder / "train/n01/n01_0.JPEG").touch()
    assert again.digest == splits.digest
    at = torch.arange(3)
    ours, theirs = (part(s, s.train).images(at, 1) for s in (splits, again))
    assert torch.equal(ours, theirs)


def test_the_digest_is_of_the_files_and_decodes_none(folder: Path) -> None:
    first = streamed(folder)
    assert streamed(folder).digest == first.digest
    others = [
        streamed(folder, size=16),
        streamed(folder, channels=1),
        streamed(folder, views={}),
        streamed(folder, normalisation={"mean": [0.5] * 3, "std": [0.2] * 3}),
        streamed(folder, per_class=5),
    ]
    (folder / "train/n02/n02_1.JPEG").write_bytes(b"never decoded, and another size")
    others.append(streamed(folder))
    assert len({first.digest, *(other.digest for other in others)}) == 7


def test_normalisation_is_of_an_even_sample_or_given(folder: Path, monkeypatch: Any) -> None:
    splits = streamed(folder)
    seen = raw(learn := part(splits, splits.train), learn.images(torch.arange(len(learn))))
    mean, std = splits.normalisation
    assert mean == pytest.approx(seen.double().mean(dim=(0, 2, 3)).numpy())
    assert std == pytest.approx(seen.double().permute(1, 0, 2, 3).flatten(1).std(1).numpy(), 1e-3)
    monkeypatch.setattr("kdsearch.data.stream.SAMPLE", 4)
    monkeypatch.setattr("kdsearch.data.stream._RUN", 1)
    few = streamed(folder).images.sample(np.arange(12))
    for row, pixels in zip((0, 3, 6, 9), few, strict=True):
        assert np.array_equal(pixels, splits.images.decode(row))
    given = streamed(folder, normalisation={"mean": [0.1, 0.2, 0.3], "std": [1, 1, 0.5]})
    assert given.normalisation[0] == pytest.approx([25.5, 51, 76.5])
    assert given.normalisation[1] == pytest.approx([255, 255, 127.5])


def test_a_damaged_picture_costs_a_sentence_in_the_middle_of_an_epoch(folder: Path) -> None:
    splits = streamed(folder)
    learn, files = part(splits, splits.train), files_of(splits)
    broken = files[splits.train[7]]
    content = broken.read_bytes()
    for damage, message in (
        (lambda: broken.write_bytes(content[:-400]), "decodable, but .*JPEG is not: .* Restore it"),
        (broken.unlink, "JPEG cannot be read: No such file.* Every node of a cluster must see"),
    ):
        damage()
        batches = learn.batches(torch.arange(len(learn)), 2, 0)
        for _ in range(3):
            next(batches)
        with pytest.raises(DataError, match=message):
            next(batches)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": None}, "streamed must have a size.* Say `size: 224`"),
        ({"stream": False}, "no `area` where images are held.* Say `stream: true`"),
        (
            {"normalisation": {"mean": [0.5], "std": [0.5]}},
            r"as many channels, but has 1 means and the data is of the shape \(3, 24, 24\)",
        ),
    ],
)
def test_a_wrong_setting_costs_a_sentence(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        streamed(folder, **changes)


def test_a_grey_first_picture_asks_that_all_be_grey(folder: Path) -> None:
    first = folder / "train/n01/n01_0.JPEG"
    Image.open(first).convert("L").save(first)
    splits = streamed(folder)
    assert splits.images.shape[1] == 1
    with pytest.raises(DataError, match=r"n01_0.JPEG is grey and .* is not. Say `channels: 3`"):
        part(splits, splits.train)


def shards(folder: Path, views: dict[str, Any]) -> dict[str, Any]:
    """Two training shards of 40 and 30 pictures in row groups of 7, and one for testing."""
    for number, (part_, count) in enumerate([("train", 40), ("train", 30), ("test", 9)]):
        labels = [row % 3 for row in range(count)]
        pictures = [encoded(image(row + 100 * number, 0)) for row in range(count)]
        write_parquet(folder / f"{part_}-{number}.parquet", pictures, labels)
    places = {part_: str(folder / f"{part_}-*.parquet") for part_ in ("train", "test")}
    return {**places, "size": 8, "views": views}


def test_shards_are_streamed_by_row_groups(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(groups, "POOL", 14)
    settings = shards(tmp_path, views={"crop": 1})
    held = data.load("image_parquet", validation=0.2, **settings)
    splits = pickle.loads(
        pickle.dumps(data.load("image_parquet", validation=0.2, stream=True, **settings))
    )
    read: list[int] = []
    group = groups.Shard.group
    monkeypatch.setattr(
        groups.Shard, "group", lambda s, n, c: read.append((s.place, n)) or group(s, n, c)
    )
    torch.manual_seed(0)
    order = torch.randperm(len(splits.fitted))
    ours, theirs = (part(s, s.fitted) for s in (splits, held))
    read.clear()  # of the normalisation
    at, images = (torch.cat(each) for each in zip(*ours.batches(order, 4, 1), strict=True))
    assert torch.equal(images, theirs.images(at, 1))
    assert sorted(at.tolist()) == sorted(order.tolist())
    assert len(read) == len(set(read)) == 11  # each row group once
    assert at.tolist() != order.tolist()
    # Within a pool the rows of several row groups are mixed, as shuffled as they were.
    pool = at[:9].tolist()
    assert len({row // 7 for row in pool}) >= 2
    assert [row for row in order.tolist() if row in pool] == pool
    ascending = torch.cat([at for at, _ in ours.batches(torch.arange(70), 4)])
    assert ascending.tolist() == list(range(70))


def test_a_row_group_that_is_read_anew_is_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    """More row groups in use than are held: slower, and nothing else."""
    monkeypatch.setattr(groups, "POOL", 1)
    settings = shards(tmp_path, views={})
    held, splits = (
        data.load("image_parquet", validation=0.2, stream=s, **settings) for s in (False, True)
    )
    torch.set_num_threads(4)
    ours = part(splits, splits.fitted)
    torch.set_num_threads(1)
    rows = torch.randperm(70)
    assert torch.equal(ours.images(rows), part(held, held.fitted).images(rows))
    assert len(splits.images.source._held) <= 2


def test_an_area_and_a_crop_are_one_too_many() -> None:
    with pytest.raises(ValueError, match=r"with `crop` or out of pictures with `area`"):
        Views(area=0.08, crop=4)


def test_a_window_lies_in_its_picture_and_covers_its_share() -> None:
    views, random = Views(area=0.25), np.random.default_rng(0)
    shares = []
    for chance in random.random((3000, 10, 4)).tolist():
        left, top, right, bottom = views.window(chance, 300, 200)
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 200
        assert 0.73 < (right - left) / (bottom - top) < 1.36
        shares.append((right - left) * (bottom - top) / 60_000)
    assert min(shares) == pytest.approx(0.25, abs=0.01)
    assert max(shares) > 0.85
    never = [[0.5, 0.5, 0.5, 0.5]] * 10
    assert views.window(never, 1000, 10) == (493, 0, 506, 10)
    assert views.window(never, 10, 1000) == (0, 493, 10, 506)
