"""Shared by all tests: small studies, and one thread for small tensors."""

from pathlib import Path
from typing import Any

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow ones first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # On tensors of a few hundred numbers a second thread only waits.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test writes to a tracking server, cluster or cache that the caller happens to use."""
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "cache"))
    settings = ("STORAGE", "CLUSTER", "CHECKPOINTS")
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", *(f"KDSEARCH_{name}" for name in settings)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def content() -> dict[str, Any]:
    """A valid study as a mapping: seconds of training, every kind of ending within reach."""
    return {
        "name": "small",
        "question": "Does it run?",
        "data": {"name": "digits", "validation": 0.2},
        "teacher": {
            "model": {"name": "cnn", "width": 8},
            "recipe": {"epochs": 2, "learning_rate": 0.1, "schedule": "cosine"},
        },
        "student": {"name": "cnn", "width": 4},
        "recipe": {"epochs": 4, "learning_rate": 0.1, "schedule": "cosine"},
        "space": {
            "objective": {
                "choice": [
                    {"name": "ce"},
                    {"name": "kd", "temperature": {"log_uniform": [1, 20]}, "lam": 0.9},
                ]
            },
            "recipe": {"learning_rate": {"log_uniform": [0.01, 0.3]}},
        },
        "search": {
            "trials": 6,
            "algorithm": {"name": "tpe", "startup_trials": 3},
            "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 2},
        },
        "final": {"seeds": 2},
    }


@pytest.fixture
def root() -> Path:
    """The repository's folder."""
    return Path(__file__).parent.parent
