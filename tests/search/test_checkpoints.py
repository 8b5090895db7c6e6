"""Checkpoints that any node reaches: their names, and whether a node does reach them."""

from pathlib import Path

import pytest

from kdsearch.search import checkpoints


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/mnt/shared", "/mnt/shared/a/b"),
        ("s3://bucket", "s3://bucket/a/b"),
        ("s3://bucket/folder/", "s3://bucket/folder/a/b"),
        (
            "s3://bucket/folder?region=us-west-2&scheme=https",
            "s3://bucket/folder/a/b?region=us-west-2&scheme=https",
        ),
        ("file:///mnt/shared", "file:///mnt/shared/a/b"),
        (
            "abfs://container@account.dfs.core.windows.net/x",
            "abfs://container@account.dfs.core.windows.net/x/a/b",
        ),
    ],
)
def test_a_path_inside_keeps_what_a_uri_says(root: str, path: str) -> None:
    assert checkpoints.inside(root, "a", "b") == path


@pytest.mark.parametrize("kind", ["{}", "file://{}"])
def test_a_probe_is_found_once_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "new" / "folder"
    file = checkpoints.probe(kind.format(root))
    assert [each.read_bytes() for each in root.iterdir()] == [b"kdsearch"]
    assert checkpoints.missing(file) == ""
    assert list(root.iterdir()) == []
    told = "a node does not find what the driver has written there"
    assert checkpoints.missing(file) == told


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|Cannot create directory"):
        checkpoints.probe(str(tmp_path / "file" / "below"))
    with pytest.raises(ValueError, match="Unrecognized filesystem type in URI: nowhere://x"):
        checkpoints.probe("nowhere://x")
