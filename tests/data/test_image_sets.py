"""The sets that are read from files: their content, how they are found, and their mistakes."""

import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kdsearch import data
from kdsearch.errors import DataError, SettingError
from tests.data.small import SMALL, encoded, image, write_parquet

OFFICIAL = ["cifar10", "cifar100", "fashion_mnist"]
PNG = encoded(image(0, 0))


@pytest.fixture
def settings(request, tmp_path, monkeypatch):
    return SMALL[request.param](tmp_path, monkeypatch)


def of(name):
    return pytest.mark.parametrize("settings", [name], indirect=True)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cifar10", (70, 3, 32, 32)),
        ("cifar100", (700, 3, 32, 32)),
        ("fashion_mnist", (70, 1, 28, 28)),
    ],
)
def test_torchvisions_sets_are_read_as_they_are(name, shape, tmp_path, monkeypatch):
    splits = data.load(name, validation=0.2, **SMALL[name](tmp_path, monkeypatch))
    assert splits.images.shape == shape
    last = image(len(splits.test) - 1, (splits.classes - 1) % 10, *shape[1:3])
    assert np.array_equal(splits.images[-1], last.transpose(2, 0, 1))
    with monkeypatch.context() as patch:  # the second start needs no torchvision
        patch.setitem(sys.modules, "torchvision", None)
        again = data.load(name, validation=0.2, root=str(tmp_path))
    assert again.digest == splits.digest


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_set_that_is_not_there_says_how_to_get_it(name, tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}.* must hold .*`root: .*`download: true`"):
        data.load(name, validation=0.2, root=str(tmp_path))
    with pytest.raises(DataError, match="must hold the dataset's files"):
        data.find(name, {"root": str(tmp_path)})
    data.find(name, {"root": str(tmp_path), "download": True})


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_damaged_set_says_how_to_get_another(name, tmp_path, monkeypatch):
    root = Path(SMALL[name](tmp_path, monkeypatch)["root"])
    for file in root.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"must hold the whole files of .* `download: true`"):
        data.load(name, validation=0.2, root=str(root))


def test_download_is_asked_of_torchvision(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    def download(self):
        raise OSError("no network")

    monkeypatch.setattr(CIFAR10, "download", download)
    with pytest.raises(DataError, match="cannot be fetched or read: no network"):
        data.load("cifar10", validation=0.2, root=str(tmp_path), download=True)


@of("image_folder")
def test_a_folder_is_numbered_by_the_names_of_its_classes(settings):
    splits = data.load("image_folder", validation=0.2, **settings)
    assert np.bincount(splits.labels[splits.fitted]).tolist() == [5, 5, 5]
    assert np.bincount(splits.labels[splits.test]).tolist() == [2, 2, 2]
    eel = splits.images[splits.test][-1]
    assert np.array_equal(eel, image(1, 2).transpose(2, 0, 1))


@of("image_folder")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: root.rename(root.parent / "away"), "must hold the folder 'train'"),
        (lambda root: (root / "val").rename(root / "tst"), "the folder 'test' or 'val'"),
        (lambda root: (root / "test").mkdir(), "test must hold one folder per class"),
        (lambda root: (root / "val/fox").mkdir(), "but 'fox' of the test part has none"),
        (lambda root: (root / "train/fox").mkdir(), "fox must hold pictures of its class"),
        (lambda root: (root / "train/cat/9.png").symlink_to("away"), "cannot be read: .*9.png"),
        (lambda root: (root / "train/cat/0.png").write_bytes(b"x"), "0.png is not: it is of no f"),
    ],
)
def test_a_wrong_folder_costs_a_sentence(settings, change, message):
    change(Path(settings["root"]))
    with pytest.raises(DataError, match=message):
        data.load("image_folder", validation=0.2, **settings)


@of("image_folder")
def test_a_share_of_a_folder_of_classes_is_kept_for_the_finals(settings):
    root = settings["root"] + "/train"
    splits = data.load("image_folder", validation=0.2, root=root, test=0.4)
    assert np.bincount(splits.labels[splits.test]).tolist() == [2, 2, 2]
    assert np.bincount(splits.labels[splits.fitted]).tolist() == [3, 3, 3]
    for row, label in enumerate(splits.labels):
        assert np.array_equal(splits.images[row], image(row % 5, label).transpose(2, 0, 1))
    again = data.load("image_folder", validation=0.4, seed=3, root=root, test=0.4)
    assert np.array_equal(again.test, splits.test)
    data.find("image_folder", {"root": root, "test": 0.4})


@of("image_folder")
@pytest.mark.parametrize(
    ("below", "test", "message"),
    [
        ("train", None, "the classes' folders themselves, `test: 0.2` for the share"),
        ("away", 0.2, "away must be a folder with one of pictures per class, but is none"),
        ("train/cat", 0.2, "cat must hold one folder per class, but holds none"),
        ("", 0.2, "holds a folder 'train' and one for testing. Leave `test` out"),
        ("train", 1.0, "test < 1 must hold, but got 1"),
    ],
)
def test_a_folder_of_another_layout_says_which_setting_is_for_it(settings, below, test, message):
    root = str(Path(settings["root"]) / below)
    with pytest.raises((DataError, SettingError), match=message):
        data.load("image_folder", validation=0.2, root=root, test=test)
    with pytest.raises((DataError, SettingError), match=message):
        data.find("image_folder", {"root": root, "test": test})


@of("image_parquet")
def test_shards_are_found_by_file_folder_glob_list_and_uri(settings, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in tmp_path.glob("train-*"):
        (other / file.name).write_bytes(file.read_bytes())
    expected = data.load("image_parquet", validation=0.2, **settings)
    assert len(expected.fitted) == 27
    first = image(0, 0).transpose(2, 0, 1)
    assert np.array_equal(expected.images[0], first)
    assert np.array_equal(expected.images[15], image(100, 0).transpose(2, 0, 1))
    for train in [
        str(other),
        f"file://{other}",
        f"file://{other}/train-*.parquet",
        f"{tmp_path}/o*/train-[01].parquet",
        [str(other / "train-0.parquet"), f"file://{other}/train-1.parquet"],
    ]:
        found = data.load("image_parquet", validation=0.2, train=train, test=settings["test"])
        assert found.digest == expected.digest


def parquet(tmp_path, pictures, labels, **columns):
    """Settings of a set whose training shard has these rows, and a sound test shard."""
    test = write_parquet(tmp_path / "test.parquet", [PNG] * 3, [0, 1, 2])
    train = write_parquet(tmp_path / "train.parquet", pictures, labels, **columns)
    return {"train": str(train), "test": str(test), "image": "img", "label": "label"}


@pytest.mark.parametrize(
    ("pictures", "labels", "message"),
    [
        ([], pa.array([], pa.int64()), "train.parquet must hold pictures, but has no rows"),
        ([PNG] * 3, [0, -1, -1], "from 0 on, but .*train.parquet has -1 in row 1 .*2 such rows"),
        ([PNG] * 3, [0, 1, None], "from 0 on, but .*train.parquet has None in row 2 of .*'label'"),
        ([PNG] * 3, [0.0, 1.0, 2.0], "one column of integers, but 'label' .* holds double"),
        ([PNG] * 3, ["a", "b", "c"], "one column of integers, but 'label' .* holds string"),
        ([PNG] * 3, [0, 1, 5], r"labels must be 0 to 5, .* has none of 2, 3, 4\. Number"),
        ([PNG] * 3, [0, 1, 2**40], r"has none of 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and more\. Number"),
        ([PNG] * 2, [0, 1], r"labels must be 0 to 2, .* has none of 2\."),
        ([PNG, PNG, b"no"], [0, 1, 2], "row 2 of .*train.parquet is not: it is of no format"),
        ([PNG, PNG[:-30], PNG], [0, 1, 2], "decodable, but row 1 of .*train.parquet is not"),
        (
            [PNG, {"bytes": None, "path": "a.png"}, PNG],
            [0, 1, 2],
            "as bytes, but .*train.parquet has none in row 1 of column 'img'",
        ),
    ],
)
def test_wrong_rows_cost_a_sentence(pictures, labels, message, tmp_path):
    with pytest.raises((DataError, SettingError), match=message):
        data.load("image_parquet", validation=0.2, **parquet(tmp_path, pictures, labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "fine"}, r"has no column 'fine'. Say `label: label`"),
        ({"label": "img"}, r"one column of integers, but 'img' of .* holds struct"),
        ({"label": None}, r"has label and coarse\. Say `label: label`\."),
        ({"image": None}, r"has img and other\. Say `image: img`"),
        ({"image": "paths"}, r"'paths' of .* holds struct<path: string>"),
        ({"train": ""}, r"train must name Parquet files .* but is empty. Write"),
        ({"test": ""}, r"test must name Parquet files .* but is empty. Write"),
        ({"train": "nowhere/*.parquet"}, r"but there are none at 'nowhere/\*\.parquet'"),
        ({"train": "gopher://x/y"}, r"train must .* 'gopher://x/y': Unrecognized filesystem type"),
        ({"size": "big"}, r"size must be a valid integer"),
        ({"size": 0}, r"size >= 1 must hold, but got 0"),
        ({"channels": 2}, r"channels must be one of 1 or 3, but got 2"),
    ],
)
def test_wrong_settings_cost_a_sentence(change, message, tmp_path):
    columns = {
        "coarse": pa.array([0, 0, 0]),
        "other": pa.array([PNG] * 3),
        "paths": pa.array([{"path": "a.png"}] * 3),
    }
    settings = parquet(tmp_path, [PNG] * 3, [0, 1, 2], **columns)
    with pytest.raises((DataError, SettingError), match=message):
        data.load("image_parquet", validation=0.2, **settings | change)


def test_the_only_columns_that_fit_need_no_name(tmp_path):
    settings = parquet(tmp_path, [PNG] * 30, [0, 1, 2] * 10, note=pa.array(["x"] * 30))
    splits = data.load("image_parquet", 0.2, train=settings["train"], test=settings["test"])
    assert splits.classes == 3


def test_a_truncated_shard_is_named(tmp_path):
    settings = parquet(tmp_path, [PNG] * 3, [0, 1, 2])
    shard = Path(settings["train"])
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{re.escape(str(shard))} must be a whole Parquet file"):
        data.load("image_parquet", validation=0.2, **settings)


@pytest.mark.parametrize("train", [".", ["train.parquet", "*n.parquet"]])
def test_no_shard_is_read_twice(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = parquet(tmp_path, [PNG] * 3, [0, 1, 2]) | {"train": train}
    with pytest.raises(
        SettingError, match=r"name each file once, but .*\.parquet is named 2 times"
    ):
        data.load("image_parquet", validation=0.2, **settings)


def test_a_part_of_a_set_decodes_only_what_is_kept(tmp_path):
    pictures = [PNG] * 20 + [b"never decoded"] * 10
    settings = parquet(tmp_path, pictures, [n % 2 for n in range(20)] + [2] * 10)
    splits = data.load("image_parquet", validation=0.2, classes=2, per_class=5, **settings)
    assert len(splits.fitted) == 10
    assert len(splits.test) == 2
