"""Whether a row came out again: the same digits, within the interval, outside, or not at all."""

import pytest

from kdsearch.reporting.reproduction import verdict
from kdsearch.tracking import Record
from tests.reporting.made import Made

THEN = [0.930, 0.934, 0.932]


def finals(*accuracies: float) -> Record:
    made = Made()
    for seed, accuracy in enumerate(accuracies):
        made.training(f"f0-{seed}", "ttm (found)", [0.5, accuracy], seed=seed, origin="found")
    return made.record


@pytest.mark.parametrize(
    ("now", "reproduced", "said"),
    [
        (THEN, True, "to the last digit"),
        ([0.931, 0.934, 0.932], True, "within the recorded 95 % interval, 92.70 to 93.70"),
        ([0.945, 0.944, 0.941], False, "outside the recorded 95 % interval"),
        (THEN[:2], False, "Seeds 2 failed this time"),
    ],
)
def test_means_are_held_against_the_interval(now: list[float], reproduced: bool, said: str) -> None:
    found, lines = verdict(finals(*THEN), finals(*now), "ttm (found)")
    assert found == reproduced
    assert said in lines[-1]


@pytest.mark.parametrize(("now", "reproduced"), [(0.93, True), (0.931, False)])
def test_one_seed_has_no_interval(now: float, reproduced: bool) -> None:
    assert verdict(finals(0.93), finals(now), "ttm (found)")[0] == reproduced
