"""Other modalities: features and token ids from Parquet columns, taught from logits alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kdsearch import data
from kdsearch.errors import DataError, KdsearchError, SettingError
from kdsearch.training import Experiment, Training, part

VALUES = np.random.default_rng(0).normal(3, 2, size=(90, 4)).astype(np.float32)
LABELS = np.arange(90) % 3
VALUES[:, 0] += 4 * LABELS


def write(folder: Path, **columns: Any) -> dict[str, Any]:
    table = {"x": VALUES.tolist(), "y": VALUES[:, 0], "label": LABELS} | columns
    for name, rows in (("train", slice(0, 60)), ("test", slice(60, 90))):
        pq.write_table(
            pa.table({key: value[rows] for key, value in table.items()}), folder / f"{name}.parquet"
        )
    return {name: str(folder / f"{name}.parquet") for name in ("train", "test")}


def load(folder: Path, features: Any = "x", **columns: Any) -> data.Splits:
    places = write(folder, **columns)
    return data.load("parquet_columns", validation=0.2, features=features, **places)


def test_features_come_in_the_order_that_was_named(tmp_path: Path) -> None:
    splits = load(tmp_path, ["y", "x"])
    assert splits.images.dtype == np.float32
    assert np.array_equal(splits.images, np.concatenate([VALUES[:, :1], VALUES], axis=1))
    assert np.array_equal(splits.test, np.arange(60, 90))


def test_features_are_standardised_by_the_train_part(tmp_path: Path) -> None:
    splits = load(tmp_path)
    seen = part(splits, splits.train).images(torch.arange(len(splits.train)))
    assert seen.mean(dim=0).tolist() == pytest.approx([0] * 4, abs=1e-5)
    assert seen.std(dim=0, correction=0).tolist() == pytest.approx([1] * 4, abs=1e-5)
    assert np.array_equal(splits.images, VALUES)  # the shared memory is left as it was


def test_integers_are_token_ids_and_stay_as_they_are(tmp_path: Path) -> None:
    tokens = [[row, 2 * row, 7] for row in range(90)]
    splits = load(tmp_path, "tokens", tokens=tokens)
    assert splits.images.dtype == np.int64
    seen = part(splits, splits.fitted).images(torch.tensor([3, 5]), view=4)
    assert seen.dtype == torch.int64
    assert seen.tolist() == [tokens[3], tokens[5]]


def test_a_perceptron_learns_features_from_a_teachers_logits(tmp_path: Path) -> None:
    splits = load(tmp_path)
    experiment = Experiment.model_validate(
        {
            "model": {"name": "mlp", "width": 16, "depth": 1},
            "objective": {"name": "kd", "lam": 1.0},
            "recipe": {"epochs": 30, "batch_size": 16, "learning_rate": 0.05},
        }
    )
    learn, judge = part(splits, splits.fitted), part(splits, splits.test)
    logits = 9.0 * torch.nn.functional.one_hot(learn.labels, 3).float()
    assert list(Training(experiment, learn, judge, 3, logits))[-1].accuracy > 0.6


@pytest.mark.parametrize(
    ("features", "columns", "message"),
    [
        ("", {}, "features must name the columns that the student sees, but names none"),
        ("z", {}, "must have a column 'z', but has x, y, label"),
        ("w", {"w": ["a"] * 90}, "must be numbers or lists of them, but 'w' of .* holds string"),
        ("w", {"w": [1.0] * 59 + [None] * 31}, "holds double with 1 nulls"),
        ("w", {"w": [[1.0]] * 59 + [[1.0, 2.0]] * 31}, "must all be of one length, but are from 1"),
        ("w", {"w": [1.0] * 59 + [float("nan")] * 31}, "must be finite numbers, but row 59 of"),
    ],
)
def test_columns_that_do_not_fit_cost_a_sentence(
    tmp_path: Path, features: str, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, SettingError), match=message):
        load(tmp_path, features, **columns)


def test_features_have_no_views(tmp_path: Path) -> None:
    with pytest.raises(KdsearchError, match="views must be of images, but the data holds none"):
        data.load(
            "parquet_columns",
            validation=0.2,
            features="x",
            views={"flip": True},
            **write(tmp_path),
        )
