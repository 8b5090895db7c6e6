"""The GPU benchmarks walk their way on a CPU, so that they still stand when a GPU is at hand."""

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from kdsearch.training import Recipe

RECIPE = Recipe(epochs=2, batch_size=32)


@pytest.fixture
def pair(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(root / "benchmarks" / "gpu")
    import pair  # of benchmarks/gpu

    return pair


def test_every_network_of_the_benchmark_exists_and_is_counted(pair: ModuleType) -> None:
    import throughput

    # resnet20's forward pass is 41 million multiply-adds in the literature; backward is about two.
    assert throughput.flops_per_image("resnet20") == pytest.approx(3 * 2 * 41e6, rel=0.03)
    head, *_, first = throughput.table(("cnn",), "cpu", steps=1, rounds=2)
    assert "float32" in head
    assert first.startswith("| cnn | ")
    assert first.count("|") == 6


def test_trials_side_by_side_begin_their_rounds_together(pair: ModuleType) -> None:
    import sharing

    told = sharing.together("cnn", 2, "cpu", steps=1, rounds=2)
    for (first_began, first_ended), (second_began, second_ended) in zip(
        *(trial["spans"] for trial in told), strict=True
    ):
        assert max(first_began, second_began) < max(first_ended, second_ended)
    ends = [max(trial["spans"][0][1] for trial in told), told[0]["spans"][1][0]]
    assert ends == sorted(ends)  # nobody begins the second round before all have ended the first


def trained(pair: ModuleType, out: Path, minutes: float) -> tuple[bool, dict[str, Any]]:
    ends = time.monotonic() + 60 * minutes
    one = pair.Pair("cnn", "cnn", pair.small(), out, "cpu", ends)
    done = pair.run(one, ["kd", "wttm"], RECIPE, RECIPE)
    found = {name: one.results(name) for name in (pair.TEACHER, "kd", "wttm")}
    for epochs in found.values():
        for epoch in epochs:
            del epoch["seconds"]
    return done, found


def test_a_pair_goes_on_where_time_was_over(pair: ModuleType, tmp_path: Path) -> None:
    done, whole = trained(pair, tmp_path / "whole", 9)
    assert done
    assert [len(epochs) for epochs in whole.values()] == [2, 2, 2]
    sittings = [trained(pair, tmp_path / "parts", 0) for _ in range(4)]
    assert [done for done, _ in sittings] == [False, False, False, True]
    assert sittings[-1][1] == whole
    one = pair.Pair("cnn", "cnn", pair.small(), tmp_path / "parts", "cpu", 0)
    shown = [line.split("|")[2].strip() for line in pair.table(one, ["kd", "wttm"])]
    assert shown[2:] == ["ce", "kd", "wttm"]
    with pytest.raises(SystemExit, match="holds a teacher of another recipe: give another --out"):
        pair.run(one, ["kd"], Recipe(epochs=3), RECIPE)


def test_published_rows_stand_below(pair: ModuleType, tmp_path: Path) -> None:
    one = pair.Pair("resnet32x4", "resnet8x4", pair.small(), tmp_path, "cpu", 0)
    lines = list(pair.table(one, ["wttm"]))
    assert any("76.06 ± 0.27 (n = 5)" in line and "2024" in line for line in lines)
    assert pair.settings("wttm", "resnet32x4", "resnet8x4") == {"temperature": 10, "beta": 3}


def test_the_networks_are_all_there(pair: ModuleType) -> None:
    import throughput

    from kdsearch import models

    for network in throughput.NETWORKS:
        with torch.device("meta"):
            models.build(network, 100)
