"""The leaderboard and the account, from a hand-made record whose figures are known."""

import csv
import html
import io
import json
from typing import Any

import pytest

from kdsearch.reporting.account import WarmStart, account
from kdsearch.reporting.html import answer, report
from kdsearch.reporting.leaderboard import (
    as_csv,
    as_json,
    as_markdown,
    leaderboard,
    settings_of,
)
from kdsearch.reporting.selection import selection
from kdsearch.tracking import Record
from tests.reporting.made import Made

EXPERIMENT: dict[str, Any] = {
    "objective": {"name": "kd", "temperature": 4.0},
    "recipe": {"learning_rate": 0.05},
}


@pytest.fixture
def record() -> Record:
    made = Made()
    made.training("t0000", "kd", [0.1, 0.2], status="pruned", origin="proposed")
    made.training("t0001", "ttm", [0.1, 0.2, 0.3], origin="proposed")
    for seed, (kd, ttm) in enumerate([(0.90, 0.93), (0.92, 0.94)]):
        made.training(f"f0-{seed}", "kd (published)", [0.5, 0.6, kd], seed=seed)
        made.training(f"f1-{seed}", "ttm (found)", [0.5, 0.96, ttm], seed=seed, origin="found")
        made.training(f"f2-{seed}", "ce (published)", [0.5], "failed" if seed else "finished", seed)
    for name, begin, end in [("teacher", 0, 5), ("search", 5, 15), ("finals", 15, 40)]:
        made.add("stage", begin, name=name, state="begin")
        made.add("stage", end, name=name, state="end")
    return made.record


def test_every_row_carries_its_protocol_in_every_format(record: Record) -> None:
    record.facts["teacher_test_accuracy"] = 0.9844
    said = (
        "3 epochs, the last one counts; 1,300 training and 450 test images; 10 classes;"
        " digits 01234567; teacher 98.44 %"
    )
    rows = leaderboard(record)
    assert {row.protocol for row in rows} == {said}
    assert said in as_markdown(rows)
    assert as_csv(rows).count(said) == as_json(rows).count(said) == len(rows)
    assert said in report(record)


def test_rows_are_ranked_by_the_last_epoch(record: Record) -> None:
    rows = leaderboard(record)
    assert [(row.rank, row.name) for row in rows] == [
        (1, "ttm (found)"), (2, "kd (published)"), (3, "ce (published)"),
    ]  # fmt: skip
    assert rows[0].mean == pytest.approx(93.5)
    assert rows[0].std == pytest.approx(0.5**0.5)
    assert rows[0].best_epoch == pytest.approx(96)


def test_differences_are_paired_by_seed(record: Record) -> None:
    best, reference, failing = leaderboard(record)
    assert best.difference == pytest.approx(2.5)  # of +3 and +2
    assert best.low is not None
    assert best.low == pytest.approx(2.5 - 12.706 * 0.5, rel=1e-3)
    assert reference.difference is None
    assert (failing.n, failing.failed, failing.low) == (1, 1, None)
    assert failing.difference == pytest.approx(-40)


def test_differences_to_tuned_kd_and_to_labels_alone(record: Record) -> None:
    made = Made()
    made.record = record
    for seed, accuracy in enumerate([0.91, 0.94]):
        made.training(f"f3-{seed}", "kd (found)", [0.5, 0.6, accuracy], seed=seed, origin="found")
    best, tuned, *_ = leaderboard(record)
    assert (best.name, tuned.name) == ("ttm (found)", "kd (found)")
    assert best.tuned_difference == pytest.approx(1.0)  # of +2 and 0
    assert best.tuned_low == pytest.approx(1 - 12.706, rel=1e-3)
    assert best.plain_difference == pytest.approx(43)  # the one seed that both finished
    assert tuned.tuned_difference is None
    assert tuned.p is not None
    assert best.p is not None
    # Of two comparisons the smaller p is doubled, if that leaves it the smaller one.
    assert best.p == pytest.approx(min(2 * 0.1257, tuned.p), abs=1e-3)


def test_what_validation_chose_is_told_from_what_leads_on_test(record: Record) -> None:
    made = Made()
    made.record = record
    made.training("t0002", "kd", [0.1, 0.2, 0.25], origin="proposed")
    for seed, accuracy in enumerate([0.95, 0.96]):
        made.training(f"f3-{seed}", "kd (found)", [0.5, 0.6, accuracy], seed=seed, origin="found")
    chosen, optimism = selection(record)
    assert chosen.startswith("Chosen by validation: ttm (found), 30.00 % there and 93.50 % on test")
    assert "kd (found) leads on test by 2.00 points" in chosen
    assert f"{(93.5 - 30 + 95.5 - 25) / 2:.2f} points lower" in optimism
    assert "flatters it" in report(record)


def test_epochs_spent_count_the_familys_search_where_it_was_found(record: Record) -> None:
    best, reference, _ = leaderboard(record)
    assert best.student_epochs == 3 + 6
    assert reference.student_epochs == 6


def test_formats_hold_the_same_rows(record: Record) -> None:
    rows = leaderboard(record)
    as_lists = list(csv.DictReader(io.StringIO(as_csv(rows))))
    parsed = json.loads(as_json(rows))
    assert [row["name"] for row in as_lists] == [row["name"] for row in parsed]
    assert float(as_lists[0]["mean"]) == parsed[0]["mean"] == rows[0].mean
    assert as_markdown(rows).splitlines()[2].startswith("| 1 | ttm (found) | lr 0.05 | 93.50 |")


def test_the_account_adds_up(record: Record) -> None:
    found = account(record)
    assert (found.teacher_seconds, found.stage_seconds) == (5, 35)
    # 5 epochs of the search and 14 of the finals, 2 seconds each, on 2 slots.
    assert found.student_epochs == 5 + 14
    assert found.training_seconds == 38
    assert found.overhead_seconds == pytest.approx(35 - 19)
    assert found.saved_epochs == 1
    assert "16.0 s (46%) were neither" in found.lines()[-1]


def test_device_seconds_are_told_by_where_they_went(record: Record) -> None:
    record.header["shares"] = {"trial": {"cpu": 2, "gpu": 0.5}, "teacher": {"cpu": 2, "gpu": 1}}
    record.header["study"]["signals"] = "stored"
    made = Made()
    made.record = record
    made.training("t0002", "kd", [0.1, 0.2, 0.25], origin="published")
    made.training("c0000", "kd", [0.2, 0.3], "pruned", origin="proposed")
    for view, seconds in enumerate([3.0, 5.0, 4.0]):
        made.add("signals", view=view, seconds=seconds, share=1)
    found = account(record, price=3.6)
    posts = {post.name: (post.trainings, post.epochs, post.seconds) for post in found.posts}
    assert posts == {
        "signals": (0, 0, 12.0),
        "search, finished": (2, 6, 6.0),  # two seconds an epoch on half a GPU
        "search, stopped early": (1, 2, 2.0),
        "control": (1, 2, 2.0),
        "finals": (6, 14, 14.0),
    }
    assert found.cells()[-1] == ("together", "10", "24", "36.0", "100%", "0.04")
    assert found.headings[3] == "GPU-seconds"
    # 20 taught epochs at 4 s, less the 12 s of the passes that were made.
    taught = sum(len(t.epochs) for t in record.trials.values() if t.family != "ce")
    assert found.saved_teaching == taught * 4 - 12
    assert (found.saved_epochs, found.saved_seconds) == (1 + 1, 0.5 * (2 + 2))
    assert (found.target, found.target_epochs) == (25.0, 5)
    assert "cost 0.04" in found.lines()[-1]
    assert "reached that after 5 student-epochs" in found.savings()[-1]


@pytest.mark.parametrize(
    ("proposals", "said"),
    [
        ([0.1, 0.6], "after 3 student-epochs; proposals had that after 6 of their own: the warm"),
        ([0.1, 0.2], "after 3 student-epochs; no proposal had, in 6: the warm start saved at"),
        ([0.6, 0.1], "proposals had that after 3 of their own: the warm start saved none."),
    ],
)
def test_first_points_are_held_against_what_was_proposed(proposals: list[float], said: str) -> None:
    made = Made()
    made.training("t0000", "kd", [0.1, 0.2, 0.9], origin="published")
    made.training("t0001", "kd", [0.1, 0.2, 0.5], origin="warm")
    assert account(made.record).warm == WarmStart(50.0, 3, None, 0)
    for number, accuracy in enumerate(proposals, start=2):
        made.training(f"t000{number}", "kd", [0.9, 0.9, accuracy], origin="proposed")
    (found,) = [line for line in account(made.record).savings() if "first points" in line]
    assert found.startswith("The first points had 50.00 %")
    assert said in found


def test_the_answer_claims_no_more_than_the_interval(record: Record) -> None:
    said = answer(record)
    assert said.startswith("ttm (found) made the best student: 93.50 % test accuracy (n = 2)")
    assert "which includes zero" in said


def test_the_answer_holds_the_winner_against_both_kds(record: Record) -> None:
    made = Made()
    made.record = record
    for seed, accuracy in enumerate([0.901, 0.912]):
        curve = [0.5, 0.6, accuracy]
        made.training(f"f3-{seed}", "kd (found)", curve, seed=seed, origin="found")
    said = answer(record)
    assert "+2.50 points from kd at its published settings (95 % interval" in said
    assert "and +2.85 points from the best kd found (95 % interval +2.21 to +3.49; corr" in said
    best = leaderboard(record)[0]
    assert f"corrected p {best.p:.3f})" in said
    assert f"corrected p {best.tuned_p:.3f})" in said


def test_where_published_kd_leads_the_answer_says_that_nothing_is_better() -> None:
    made = Made()
    for seed in range(2):
        made.training(f"f0-{seed}", "kd (published)", [0.95 + 0.01 * seed], seed=seed)
        made.training(f"f1-{seed}", "kd (found)", [0.94 + 0.012 * seed], seed=seed, origin="found")
    said = answer(made.record)
    assert "nothing that was tried is better: the next, kd (found), stands -0.90 points" in said


def test_the_report_says_how_each_row_is_trained_again(record: Record) -> None:
    page = html.unescape(report(record))
    for row in leaderboard(record):
        assert f"kdsearch reproduce '{row.name}' made-1" in page


def test_a_search_without_finals_says_so() -> None:
    assert leaderboard(Made().record) == []
    assert answer(Made().record) == "The finals have not been run yet."


def test_the_report_escapes_what_a_study_says(record: Record) -> None:
    record.header["study"]["question"] = "<script>alert(1)</script>"
    page = report(record)
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_settings_read_short() -> None:
    assert settings_of(EXPERIMENT) == "temperature 4, lr 0.05"
    parts = {"objective": {"divergence": {"kind": "mse"}, "balance": {"soft": 2.0}}}
    assert settings_of(EXPERIMENT | parts) == "divergence (mse), balance (soft 2), lr 0.05"
