"""Small files of every dataset, in the layout of the real ones, written where a test wants them."""

import hashlib
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def image(number: int, label: int, channels: int = 3, side: int = 8) -> np.ndarray:
    """A uint8 image (side, side, channels) of its own, darker or brighter by its class."""
    noise = np.random.default_rng(number).integers(0, 100, (side, side, channels))
    return (noise + 15 * label).astype(np.uint8)


def encoded(pixels: np.ndarray, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, format)
    return buffer.getvalue()


def photographs(folder: Path, each: int = 6, sides: tuple[int, int] = (30, 60)) -> list[Path]:
    """A tree like ImageNet's of JPEGs, no two of one size: each class in a colour of its own."""
    random, files = np.random.default_rng(0), []
    for part, count in (("train", each), ("val", each // 2)):
        for label, name in enumerate(["n01", "n02", "n03"]):
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                height, width = random.integers(*sides, 2)
                tone = random.integers(0, 150, (6, 8, 3))
                tone[..., label] += 100
                smooth = Image.fromarray(tone.astype(np.uint8)).resize((width, height))
                file = place / f"{name}_{number}.JPEG"
                smooth.save(file, "JPEG", quality=90)
                files.append(file)
    return files


def write_parquet(path: Path, pictures: list[Any], labels: list[Any], **columns: Any) -> Path:
    """Rows of {bytes, path} and a label; `columns` are added or replace these."""
    structs = [one if isinstance(one, dict) else {"bytes": one, "path": None} for one in pictures]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = {"img": pa.array(structs, kind), "label": pa.array(labels)} | columns
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path, row_group_size=7)
    return path


def digits(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {}


def cifar(folder: Path, patch: pytest.MonkeyPatch, name: str, classes: int) -> dict[str, Any]:
    from torchvision import datasets

    reader = getattr(datasets, name)
    key = "fine_labels" if classes == 100 else "labels"
    lists: dict[str, list[list[str]]] = {}
    place = folder / reader.base_folder
    place.mkdir()

    def write(file: str, content: Any) -> str:
        (place / file).write_bytes(pickle.dumps(content))
        return hashlib.md5((place / file).read_bytes()).hexdigest()

    for part, each in (("train_list", 5 if classes == 100 else 1), ("test_list", 2)):
        lists[part] = []
        for file, _ in getattr(reader, part):
            labels = [label for label in range(classes) for _ in range(each)]
            rows = [image(n, label % 10, 3, 32) for n, label in enumerate(labels)]
            flat = np.stack(rows).transpose(0, 3, 1, 2).reshape(len(rows), -1)
            lists[part].append([file, write(file, {"data": flat, key: labels})])
        patch.setattr(reader, part, lists[part])
    names = {reader.meta["key"]: [str(label) for label in range(classes)]}
    meta = reader.meta | {"md5": write(reader.meta["filename"], names)}
    patch.setattr(reader, "meta", meta)
    return {"root": str(folder)}


def fashion_mnist(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    place = folder / "FashionMNIST" / "raw"
    place.mkdir(parents=True)
    for part, each in (("train", 5), ("t10k", 2)):
        labels = np.repeat(np.arange(10, dtype=np.uint8), each)
        pixels = np.stack([image(n, label, 1, 28) for n, label in enumerate(labels)])
        header = struct.pack(">IIII", 0x803, len(labels), 28, 28)
        (place / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = struct.pack(">II", 0x801, len(labels))
        (place / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return {"root": str(folder)}


def image_folder(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    for part, each in (("train", 5), ("val", 2)):
        for label, name in enumerate(["cat", "dog", "eel"]):
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(each):
                (place / f"{number}.png").write_bytes(encoded(image(number, label)))
            (place / "notes.txt").write_text("no picture")
    return {"root": str(folder)}


def image_parquet(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    for shard, part, count in ((0, "train", 15), (1, "train", 12), (0, "test", 9)):
        labels = [number % 3 for number in range(count)]
        pictures = [encoded(image(n + 100 * shard, label)) for n, label in enumerate(labels)]
        write_parquet(folder / f"{part}-{shard}.parquet", pictures, labels)
    return {"train": str(folder / "train-*.parquet"), "test": str(folder / "test-0.parquet")}


def parquet_columns(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 12)):
        labels = [number % 3 for number in range(count)]
        lists = [list(row) for row in random.normal(size=(count, 4)) + np.array(labels)[:, None]]
        table = {"embedding": lists, "age": random.normal(40, 9, count), "label": labels}
        pq.write_table(pa.table(table), folder / f"{part}.parquet")
    places = {part: str(folder / f"{part}.parquet") for part in ("train", "test")}
    return {**places, "features": ["embedding", "age"]}


SMALL = {
    "cifar10": lambda folder, patch: cifar(folder, patch, "CIFAR10", 10),
    "cifar100": lambda folder, patch: cifar(folder, patch, "CIFAR100", 100),
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "image_folder": image_folder,
    "image_parquet": image_parquet,
    "parquet_columns": parquet_columns,
}
"""By dataset: writes its small files into a folder and returns the settings that name them."""
