"""Checkpoints: running students, kept where every node that may go on with them can read.

A folder on the driver's disk serves one machine. Several need a folder that all of them mount, or
the URI of a bucket: `s3://bucket/folder`, `gs://...`, `abfs://...`, whatever pyarrow knows.
"""

import uuid
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from pyarrow.fs import FileSystem, FileType


def inside(root: str, *names: str) -> str:
    """A path below a folder or URI; what a URI says after `?` stays at its end."""
    if "://" not in root:
        return str(Path(root, *names).resolve())
    parts = urlsplit(root)
    return urlunsplit(parts._replace(path=str(PurePosixPath(parts.path or "/", *names))))


def probe(root: str) -> str:
    """Write a small file below a folder or URI; returns its path.

    Raises:
        OSError: it cannot be written.
        ValueError: the URI is of no kind that pyarrow knows.
    """
    file = inside(root, f".reachable-{uuid.uuid4().hex}")
    system, path = FileSystem.from_uri(file)
    system.create_dir(str(PurePosixPath(path).parent))
    with system.open_output_stream(path) as stream:
        stream.write(b"kdsearch")
    return file


def missing(file: str) -> str:
    """Why this node cannot read and remove a file, in words; empty where it can."""
    try:
        system, path = FileSystem.from_uri(file)
        if system.get_file_info(path).type is FileType.NotFound:
            return "a node does not find what the driver has written there"
        system.delete_file(path)
    except OSError as error:
        return str(error).partition("\n")[0]
    return ""
