"""The diagnosis: which failure cases it names, and that it names none without cause."""

from pathlib import Path
from typing import Any

import pytest

from kdsearch.reporting import diagnosis
from kdsearch.tracking import Record

SEEN = {
    "examples": 100,
    "classes": 10,
    "temperature": 4.0,
    "accuracy": 0.99,
    "confidence": 0.98,
    "calibration_error": 0.01,
    "entropy": 0.05,
    "evenness": 0.6,
    "spread": 0.08,
    "bins": [{"count": 100, "confidence": 0.98, "accuracy": 0.99}],
    "entropies": [0.05] * 20,
}
LOOK = {
    "epoch": 1,
    "accuracy": 0.97,
    "agreement": 0.98,
    "correlation": 0.8,
    "unsure": 1.0,
    "quartiles": [0.5, 1.0, 1.5],
    "shown": {"confidence": [0.2, 0.9], "weight": [0.5, 1.5]},
}
HELPS = {"ce": 0.90, "label_smoothing": 0.90, "kd_sim": 0.92, "kd_pt": 0.93, "kd": 0.95}


def record(
    accuracies: dict[str, float] = HELPS,
    train: dict[str, Any] | None = None,
    validation: dict[str, Any] | None = None,
    look: dict[str, Any] | None = None,
    objective: str = "ce",
) -> Record:
    """A finished diagnosis in which all went well, but for what is given."""
    study = {"name": "small", "teacher": {"objective": {"name": objective}}}
    events: list[dict[str, Any]] = [{"event": "search", "study": study}]
    facts = {
        "train": SEEN | (train or {}),
        "validation": SEEN | (validation or {}),
        "watched": [LOOK, LOOK | {"epoch": 4} | (look or {})],
    }
    events += [{"event": "fact", "name": name, "value": value} for name, value in facts.items()]
    for name, accuracy in accuracies.items():
        for seed in range(3):
            trial = {"id": f"{name}{seed}", "kind": "level", "family": name, "origin": "published"}
            trial |= {"experiment": {"seed": seed}, "time": 0.0}
            # Paired: a seed moves every level alike, so that the differences hardly spread.
            value = accuracy + 0.01 * seed + (0.0001 * seed if name != "ce" else 0)
            events += [
                {"event": "trial", **trial},
                {"event": "epoch", "id": trial["id"], "epoch": 1, "accuracy": value, "loss": 1.0},
                {"event": "end", "id": trial["id"], "status": "finished", "time": 1.0},
            ]
    return Record.of(events)


def test_a_sound_pair_is_warned_of_nothing() -> None:
    assert diagnosis.warnings(record()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": {"evenness": 0.97}}, "looks as if it had been trained with label smoothing"),
        ({"objective": "label_smoothing"}, "The teacher was trained with label smoothing: its"),
        ({"train": {"spread": 0.01, "confidence": 0.999}}, "The teacher is over-confident: at"),
        ({"train": {"spread": 0.01}}, "The teacher is equally sure of all examples: at"),
        ({"validation": {"accuracy": 0.9}}, "98.0% sure on validation and 90.0% right"),
        (
            {"look": {"agreement": 0.8}, "accuracies": HELPS | {"kd": 0.90}},
            "Capacity gap: the student follows the teacher on only 80.0%",
        ),
    ],
)
def test_each_failure_case_is_named(changes: dict[str, Any], sentence: str) -> None:
    (warning,) = diagnosis.warnings(record(**changes))
    assert sentence in warning


def test_a_student_that_kd_helps_has_no_capacity_gap() -> None:
    assert diagnosis.warnings(record(look={"agreement": 0.8})) == []


def test_where_nothing_is_shown_to_help_it_says_so() -> None:
    nothing = record(dict.fromkeys(HELPS, 0.9))
    assert (
        "No level is shown to bring anything over ce: with n = 3" in diagnosis.warnings(nothing)[-1]
    )
    assert diagnosis.answer(nothing).startswith("Nothing that this teacher hands on")


def test_levels_are_compared_seed_by_seed() -> None:
    by_name = {level.name: level for level in diagnosis.levels(record())}
    assert list(by_name) == list(HELPS)
    assert by_name["ce"].difference is None
    gain = by_name["kd"].difference
    assert gain is not None
    assert gain.low is not None
    assert gain.mean == pytest.approx(5.01)
    assert by_name["kd"].helps


def test_a_level_that_failed_is_left_out() -> None:
    whole = record()
    for trial in whole.of_kind("level"):
        if trial.family == "kd_sim":
            trial.status = "failed"
    assert "kd_sim" not in {level.name for level in diagnosis.levels(whole)}


def test_a_student_that_is_sure_of_everything_has_no_weights() -> None:
    lines = diagnosis.lines(record(look={"quartiles": None, "correlation": None, "unsure": 0.0}))
    assert "sure of every label" in lines[-1]


def test_page_and_plots_are_written(tmp_path: Path) -> None:
    files = diagnosis.write(record(), tmp_path)
    assert [file.name for file in files] == [
        "diagnosis.md", "levels.png", "calibration.png", "entropy.png", "rescaling.png",
    ]  # fmt: skip
    assert all(file.read_bytes()[1:4] == b"PNG" for file in files[1:])
    assert "| kd | all three together | 96.01 |" in files[0].read_text()
