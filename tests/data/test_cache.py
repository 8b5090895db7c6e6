"""The cache: built once, mapped, and made again when damaged or out of date."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from kdsearch import data
from kdsearch.data import cache
from tests.data.small import encoded, image, image_parquet, write_parquet

ARRAYS = {
    "images": np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8),
    "labels": np.arange(6),
}


def build():
    build.calls += 1
    return ARRAYS


@pytest.fixture(autouse=True)
def _uncalled():
    build.calls = 0


def same(arrays):
    return arrays.keys() == ARRAYS.keys() and all(
        array.dtype == ARRAYS[name].dtype and np.array_equal(array, ARRAYS[name])
        for name, array in arrays.items()
    )


def files():
    return list((cache.folder() / "datasets").iterdir())


def test_what_is_kept_is_built_once_and_mapped():
    for _ in range(3):
        arrays = cache.kept(["one"], build)
        assert same(arrays)
        assert not arrays["images"].flags.owndata
        assert not arrays["images"].flags.writeable
    assert build.calls == 1
    cache.kept(["another"], build)
    assert build.calls == 2
    assert len(files()) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_file_is_made_again(damage):
    cache.kept([], build)
    (file,) = files()
    content = bytearray(file.read_bytes())
    place = content.index(ARRAYS["images"].tobytes()[:64])
    content[place + 100] ^= 1
    changed = {"truncated": content[:-200], "flipped": content, "empty": b"", "foreign": b"x" * 99}
    file.write_bytes(changed[damage])
    assert same(cache.kept([], build))
    assert same(cache.kept([], build))
    assert build.calls == 2


def test_many_may_build_at_once():
    together = Barrier(4)

    def build_late():
        together.wait(timeout=10)  # until everybody has found no file
        return ARRAYS

    with ThreadPoolExecutor(4) as pool:
        assert all(map(same, pool.map(lambda _: cache.kept([], build_late), range(4))))
    assert len(files()) == 1


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="must be writable, but: Not a directory.*KDSEARCH_CACHE"):
        assert same(cache.kept([], build))


def test_where_it_is(monkeypatch):
    monkeypatch.setenv("KDSEARCH_CACHE", "~/own")
    assert cache.folder() == Path("~/own").expanduser()
    monkeypatch.delenv("KDSEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache.folder() == Path("/caches/kdsearch")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path("~/.cache/kdsearch").expanduser()


def test_a_second_start_decodes_nothing_and_a_changed_file_decodes_again(tmp_path, monkeypatch):
    settings = image_parquet(tmp_path, monkeypatch)
    first = data.load("image_parquet", validation=0.2, **settings)
    with monkeypatch.context() as patch:
        patch.setattr("kdsearch.data.pictures._tensor", None)
        assert data.load("image_parquet", validation=0.2, **settings).digest == first.digest
    pictures = [encoded(image(n + 500, n % 3)) for n in range(9)]
    changed = write_parquet(tmp_path / "test-0.parquet", pictures, [n % 3 for n in range(9)])
    os.utime(changed, (1, 1))
    assert data.load("image_parquet", validation=0.2, **settings).digest != first.digest
