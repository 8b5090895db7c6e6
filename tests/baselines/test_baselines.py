"""The published numbers: cells typed by hand from the papers, the laws of tables and queries."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kdsearch import catalogue
from kdsearch.baselines import (
    Row,
    normalise,
    published_settings,
    query,
    reading,
    rows,
    teacher_top1,
)
from kdsearch.errors import NameNotFound, StoreError

PAIRS = (
    ("wrn_40_2", "wrn_16_2"),
    ("wrn_40_2", "wrn_40_1"),
    ("resnet56", "resnet20"),
    ("resnet110", "resnet20"),
    ("resnet110", "resnet32"),
    ("resnet32x4", "resnet8x4"),
    ("vgg13", "vgg8"),
    ("vgg13", "mobilenet_v2"),
    ("resnet50", "mobilenet_v2"),
    ("resnet50", "vgg8"),
    ("resnet32x4", "shufflenet_v1"),
    ("resnet32x4", "shufflenet_v2"),
    ("wrn_40_2", "shufflenet_v1"),
)


def the(teacher: str, student: str, method: str, **more: str) -> Row:
    """The one row of a method as printed."""
    full = not more.get("subset")
    found = [
        row
        for row in query(teacher, student, full_data=full)
        if row.method == method and all(getattr(row, k) == v for k, v in more.items())
    ]
    assert len(found) == 1, found
    return found[0]


def test_every_comparable_row_of_the_sources_is_there() -> None:
    assert Counter(row.paper for row in rows()) == {
        "kim2020when": 755,
        "kim2021comparing": 3,
        "matsubara2021torchdistill": 9,
        "mdistiller": 5,
        "zheng2024ttm": 256,
    }
    assert Counter(row.table for row in rows() if row.paper == "zheng2024ttm") == {
        "1, 11": 87, "2, 11": 14, "2": 7, "3, 12": 73, "4, 12": 12, "4": 6,
        "5": 26, "6": 7, "7": 16, "13": 8,
    }  # fmt: skip
    assert Counter(row.table for row in rows() if row.paper == "kim2020when") == {
        "1": 27, "4": 231, "6": 99, "7": 18, "8": 22, "12": 50, "15": 88, "16": 220,
    }  # fmt: skip


def test_no_figure_is_there_twice() -> None:
    keys = Counter(
        (r.paper, r.table, r.dataset, r.subset, r.teacher, r.student, r.method) for r in rows()
    )
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize(
    ("teacher", "student", "method", "top1", "std", "n", "quoted", "epoch"),
    [
        ("resnet32x4", "resnet8x4", "WTTM", 76.06, 0.27, 5, "", "unknown"),
        ("resnet32x4", "resnet8x4", "TTM", 76.17, 0.28, 5, "", "unknown"),
        ("resnet32x4", "resnet8x4", "KD", 73.33, 0.25, 5, "CRD", "last"),
        ("resnet32x4", "resnet8x4", "DKD", 76.32, None, 5, "DKD", "best_test"),
        ("resnet32x4", "resnet8x4", "DIST", 76.31, 0.19, 5, "DIST, in part rerun", "unknown"),
        ("resnet32x4", "resnet8x4", "ITRD", 76.19, None, 3, "ITRD", "unknown"),
        ("resnet32x4", "resnet8x4", "WTTM+ITRD", 77.36, 0.13, 3, "", "unknown"),
        ("resnet32x4", "resnet8x4", "WTTM+CRD", 76.65, 0.14, 5, "", "unknown"),
        ("resnet32x4", "resnet8x4", "WTTM w/o CE", 72.94, None, None, "", "unknown"),
        ("vgg13", "vgg8", "CRD", 73.94, 0.22, 5, "CRD", "last"),
        ("resnet56", "resnet20", "WTTM", 71.92, 0.40, 5, "", "unknown"),
        ("resnet110", "resnet32", "FitNet", 71.06, 0.13, 5, "CRD", "last"),
        ("wrn_40_2", "wrn_40_1", "TTM", 74.32, 0.31, 5, "", "unknown"),
        ("wrn_40_2", "wrn_16_2", "WTTM+ITRD", 76.65, 0.33, 3, "", "unknown"),
        ("vgg13", "mobilenet_v2", "TTM", 68.98, 0.85, 3, "", "unknown"),
        ("resnet50", "mobilenet_v2", "AT", 58.58, 0.54, 3, "CRD", "last"),
        ("resnet50", "vgg8", "WTTM", 74.82, 0.28, 3, "", "unknown"),
        ("wrn_40_2", "shufflenet_v1", "DKD", 76.70, None, 5, "DKD", "best_test"),
        ("resnet50", "mobilenet_v1", "WTTM", 73.09, None, None, "", "unknown"),
        ("resnet101", "resnet18", "WTTM", 72.34, None, None, "", "unknown"),
        ("deit_iii_small", "deit_tiny", "WTTM+ViTKD", 78.04, None, None, "", "unknown"),
    ],
)
def test_cells_of_ttm_typed_by_hand(
    teacher: str, student: str, method: str, top1: float, std: float | None, n: int | None,
    quoted: str, epoch: str,
) -> None:  # fmt: skip
    row = the(teacher, student, method, paper="zheng2024ttm")
    assert (row.top1, row.std, row.n) == (top1, std, n)
    assert (row.quoted, row.epoch, row.selection) == (quoted, epoch, "mean")


@pytest.mark.parametrize(
    ("teacher", "student", "method", "more", "top1", "n"),
    [
        ("wrn_28_4", "wrn_16_2", "KD(alpha=1.0,tau=20)", {"table": "12"}, 75.76, None),
        ("wrn_28_4", "wrn_16_2", "KD(alpha=0.1,tau=1)", {"table": "12"}, 72.79, None),
        ("wrn_28_4", "wrn_16_2", "KD(alpha=1.0,tau=inf)", {"table": "12"}, 75.51, None),
        ("wrn_28_4", "wrn_28_2", "KD(alpha=1.0,tau=20) [FKD]", {}, 77.28, None),
        ("wrn_28_4", "wrn_16_4", "Overhaul", {}, 78.20, None),
        (
            "wrn_16_2", "wrn_16_6", "KD(alpha=1.0,tau=20) [under-distillation]",
            {"table": "4", "subset": "delta=0.5"}, 73.57, 3,
        ),
        ("", "wrn_28_4", "CE (vanilla)", {"table": "4", "subset": "zeta=0.1"}, 42.88, 3),
        ("resnet20_w1", "resnet152_w1", "KD(alpha=1.0,tau=20) [under-distillation]", {}, 71.12, 3),
        (
            "wrn_28_4", "wrn_40_2", "KD(alpha=1.0,tau=20) [over-distillation]",
            {"dataset": "cifar10"}, 95.05, 3,
        ),
        ("wrn_16_2_(generation_7)", "wrn_16_2", "self-distillation step 8", {}, 72.53, None),
    ],
)  # fmt: skip
def test_cells_of_kim_typed_by_hand(
    teacher: str, student: str, method: str, more: dict[str, str], top1: float, n: int | None
) -> None:
    row = the(teacher, student, method, paper="kim2020when", **more)
    assert (row.top1, row.n, row.std) == (top1, n, None)
    assert row.selection == ("best of 3 runs" if n else "mean")


@pytest.mark.parametrize(
    ("paper", "teacher", "student", "method", "top1"),
    [
        ("kim2021comparing", "wrn_16_4", "wrn_16_2", "KD(alpha=1.0,tau=3)", 74.84),
        ("kim2021comparing", "WRN-28-4 -> WRN-16-4", "wrn_16_2",
         "sequential KD(alpha=1.0,tau=3)", 74.52),
        ("matsubara2021torchdistill", "resnet34", "resnet18", "KD", 71.37),
        ("mdistiller", "resnet34", "resnet18", "KD", 71.03),
        ("mdistiller", "wrn_40_2", "wrn_16_2", "DKD", 76.23),
    ],
)  # fmt: skip
def test_cells_of_the_others_typed_by_hand(
    paper: str, teacher: str, student: str, method: str, top1: float
) -> None:
    assert the(teacher, student, method, paper=paper).top1 == top1


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_every_published_pair_has_its_rows_and_settings(teacher: str, student: str) -> None:
    methods = {row.method for row in query(teacher, student, dataset="cifar100")}
    assert {"KD", "CRD", "DIST", "TTM", "WTTM", "WTTM+CRD", "ITRD"} <= methods
    assert query(teacher="", student=student, method="ce")
    for objective in ("ttm", "wttm"):
        found = published_settings(objective, teacher, student)
        assert found is not None
        assert set(found) == {"temperature", "beta"}


@pytest.mark.parametrize(
    ("objective", "teacher", "student", "temperature", "beta"),
    [
        ("wttm", "ResNet32x4", "resnet8x4", 10, 3),
        ("ttm", "resnet32x4", "resnet8x4", 10, 100),
        ("ttm", "vgg13", "vgg8", 10, 45),
        ("wttm", "vgg13", "vgg8", 10, 2.25),
        ("ttm", "WRN-40-2", "WRN-16-2", 10, 101),
        ("wttm", "resnet56", "resnet20", 1 / 0.3, 1.5),
        ("ttm", "WRN-40-2", "ShuffleNetV1", 1 / 0.3, 8),
        ("wttm", "resnet32x4", "ShuffleNetV2", 2.5, 16),
        ("ttm", "ResNet50", "MobileNetV2", 5, 20),
        ("wttm", "ResNet-34", "ResNet-18", 1 / 0.8, 1.6),
        ("wttm", "ResNet-50", "MobileNet", 1 / 0.7, 3.5),
    ],
)
def test_settings_typed_by_hand(
    objective: str, teacher: str, student: str, temperature: float, beta: float
) -> None:
    found = published_settings(objective, teacher, student)
    assert found == pytest.approx({"temperature": temperature, "beta": beta}, rel=0, abs=1e-9)


def test_settings_that_nobody_published() -> None:
    assert published_settings("ttm", "resnet34", "resnet18") is None
    assert published_settings("kd", "vgg13", "vgg8") is None
    assert len(reading.settings()) == 31
    found = published_settings("ttm", "vgg13", "vgg8")
    assert found is not None
    found["beta"] = 0.0
    assert published_settings("ttm", "vgg13", "vgg8") == {"temperature": 10.0, "beta": 45.0}


@pytest.mark.parametrize(
    ("printed", "spelt"),
    [
        ("ResNet32x4", "resnet32x4"),
        ("resnet-8x4", "resnet8x4"),
        ("ResNet-18", "resnet18"),
        ("WRN-40-2", "wrn_40_2"),
        ("wrn_16_6", "wrn_16_6"),
        ("VGG13", "vgg13"),
        ("vgg-8", "vgg8"),
        ("MobileNetV2", "mobilenet_v2"),
        ("MobileNet-V1", "mobilenet_v1"),
        ("MobileNet", "mobilenet_v1"),
        ("ShuffleNetV1", "shufflenet_v1"),
        ("ShuffleNet-V2", "shufflenet_v2"),
        ("RN-20-4", "resnet20_w4"),
        ("RN-20-1", "resnet20_w1"),
        ("DeiT III-Small", "deit_iii_small"),
        ("WRN-28-4 -> WRN-16-4", "wrn_28_4 -> wrn_16_4"),
        ("WRN-16-2 (generation 3)", "wrn_16_2_(generation_3)"),
        ("CIFAR-100", "cifar100"),
        ("cifar_10", "cifar10"),
        ("ImageNet-1k", "imagenet1k"),
        ("ImageNet", "imagenet1k"),
        ("logit_mse", "logit_mse"),
        ("KD++", "kd++"),
        ("", ""),
    ],
)
def test_one_spelling(printed: str, spelt: str) -> None:
    assert normalise(printed) == spelt
    assert normalise(spelt) == spelt


def test_rows_are_spelt_as_their_prints_are() -> None:
    for row in rows():
        assert normalise(row.student_as_printed) == row.student
        printed = row.teacher_as_printed.removesuffix(" (generation 0)")
        assert normalise(printed) == row.teacher


def test_objectives_are_those_of_kdsearch() -> None:
    named = {row.objective for row in rows()} - {""}
    assert named == {"ce", "kd", "ttm", "wttm", "dkd", "dist"}
    assert named <= set(catalogue.names("objectives/papers"))
    assert all(row.teacher == "" for row in rows() if row.objective == "ce")
    assert all(row.teacher for row in rows() if row.objective not in ("", "ce"))


def test_spellings_find_the_same_rows() -> None:
    found = query("ResNet32x4", "ResNet8x4", "CIFAR-100", "KD")
    assert found == query("resnet32x4", "resnet8x4", "cifar100", "kd")
    assert [row.top1 for row in found] == [73.33]
    assert query(method="wttm w/o CE", student="vgg8")[0].top1 == 74.04


def test_a_query_narrows() -> None:
    assert query(full_data=False) == list(rows())
    assert query() == [row for row in rows() if row.subset == ""]
    assert len(query()) == 1028 - 600
    pair = query("wrn_28_4", "wrn_16_2")
    assert set(pair) == set(query(teacher="wrn_28_4")) & set(query(student="wrn_16_2"))
    kd = query("wrn_28_4", "wrn_16_2", "cifar10", "kd", full_data=False)
    assert len(kd) == 11
    assert {row.objective for row in kd} == {"kd"}
    assert {row.teacher for row in query(teacher="")} == {""}
    assert query(teacher="resnet8x4") == []


def test_what_kdsearch_has_and_nobody_published_finds_nothing() -> None:
    assert query(method="ptloss") == []
    assert query(student="cnn") == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"student": "resnet8x5"}, r"a network .* but got 'resnet8x5'.*'resnet8x4'"),
        ({"teacher": "WRN-40-20"}, r"a network .* but got 'WRN-40-20'.*'wrn_40_2'"),
        ({"dataset": "cifar101"}, r"a dataset .* but got 'cifar101'.*'cifar10"),
        ({"method": "wtm"}, r"a method .* but got 'wtm'.*'wttm'"),
        ({"student": ""}, r"a network .* but got ''"),
        ({"dataset": "stock prices"}, r"but got 'stock prices'\.$"),
    ],
)
def test_an_unknown_name_is_refused_with_near_misses(asked: dict[str, str], message: str) -> None:
    with pytest.raises(NameNotFound, match=message):
        query(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "marks"),
    [
        (("resnet32x4", "resnet8x4", "WTTM"), ()),
        (("resnet32x4", "resnet8x4", "KD"), ("quoted from CRD",)),
        (("resnet32x4", "resnet8x4", "DKD"), ("quoted from DKD", "best test epoch")),
        (("resnet32x4", "resnet8x4", "DIST"), ("quoted from DIST, in part rerun",)),
        (("wrn_28_4", "wrn_16_4", "Jacobian"), ("quoted from Heo et al. 2019",)),
        (
            ("wrn_28_4", "wrn_28_4", "KD(alpha=1.0,tau=20) [self-distillation]", "cifar100"),
            ("best of 3 runs, not a mean",),
        ),
        (
            ("wrn_28_4", "wrn_16_2", "KD(alpha=1.0,tau=5)"),
            ("mean or best of 3 runs: not said",),
        ),
        (
            ("wrn_16_4", "wrn_16_2", "KD(alpha=1.0,tau=3)"),
            ("quoted from a summary of the paper", "second hand: not checked against the paper"),
        ),
    ],
)
def test_marks(row: tuple[str, ...], marks: tuple[str, ...]) -> None:
    more = {"dataset": row[3]} if len(row) > 3 else {}
    assert the(*row[:3], **more).marks() == marks


def test_slips_of_a_source_are_kept_and_marked() -> None:
    odd = [row for row in rows() if "slip" in row.note]
    assert len(odd) == 17
    assert {row.paper for row in odd} == {"kim2020when"}
    assert (odd[0].student, odd[0].subset, odd[0].top1) == ("wrn_16_6", "delta=0.1", 17.32)
    assert {row.marks()[0] for row in odd} == {"best of 3 runs, not a mean"}


@pytest.mark.parametrize(
    ("teacher", "student", "figure"),
    [
        ("resnet32x4", "resnet8x4", 79.42),
        ("wrn_40_2", "wrn_16_2", 75.61),
        ("resnet34", "resnet18", 73.31),
        ("", "resnet8x4", None),
    ],
)
def test_the_teachers_of_ttm_typed_by_hand(
    teacher: str, student: str, figure: float | None
) -> None:
    found = [row for row in query(teacher, student) if row.paper == "zheng2024ttm"]
    assert {teacher_top1(row) for row in found} == {figure}


def test_a_teacher_with_two_figures_in_its_paper_has_the_one_of_the_table() -> None:
    first, fourth = (
        Row.model_validate(query("wrn_28_4", "wrn_16_2")[0].model_dump() | change)
        for change in ({"teacher": "wrn_16_4", "table": "1"}, {"teacher": "wrn_16_4", "table": "9"})
    )
    assert (teacher_top1(first), teacher_top1(fourth)) == (77.28, None)


def test_protocols_are_said_where_they_are_known() -> None:
    last = {(row.paper, row.quoted) for row in rows() if row.epoch == "last"}
    best = {(row.paper, row.quoted) for row in rows() if row.epoch == "best_test"}
    assert last == {("zheng2024ttm", "CRD")}
    assert best == {("zheng2024ttm", "DKD"), ("mdistiller", "")}
    assert {r.table for r in rows() if r.selection == "best of 3 runs"} == {"4", "15", "16"}
    assert all(row.n for row in rows() if row.std is not None)


HEADER = ",".join(Row.model_fields)
GOOD = dict.fromkeys(Row.model_fields, "") | {
    "paper": "made", "table": "1", "dataset": "cifar100", "student": "vgg8",
    "student_as_printed": "VGG8", "method": "CE", "split": "test", "top1": "70.36",
    "selection": "mean", "epoch": "unknown", "source": "nowhere",
}  # fmt: skip


def written(folder: Path, *lines: str) -> Path:
    file = folder / "made.csv"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return file


def line(**changes: str) -> str:
    return ",".join((GOOD | changes).values())


def test_a_new_paper_is_one_file(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER, line(), line(table="2", std="0.2", n="5"))
    assert [(row.table, row.std, row.n) for row in reading.table(file)] == [
        ("1", None, None),
        ("2", 0.2, 5),
    ]
    assert reading.tables(tmp_path) == tuple(reading.table(file))
    assert reading.tables(tmp_path / "empty") == ()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((HEADER, line(), line(top1="170")), r"line 3: top1: top1 <= 100 must hold, but got '170'"),
        ((HEADER, line(top1="")), "line 2: top1: .*number"),
        ((HEADER, line(top1="nan")), "line 2: top1: .*finite"),
        ((HEADER, line(n="0")), "line 2: n: n >= 1 must hold, but got"),
        ((HEADER, line(std="-1")), "line 2: std: std >= 0 must hold"),
        ((HEADER, line(epoch="best")), "line 2: epoch: epoch must be one of 'last'"),
        ((HEADER, line(selection="median")), "line 2: selection: selection must be one of"),
        ((HEADER, line(subset="half")), "line 2: subset:"),
        ((HEADER, line(student="VGG8")), "line 2: student must be spelt 'vgg8', but got 'VGG8'"),
        ((HEADER, line(source="")), "line 2: source:"),
        ((HEADER, line(paper="other")), "line 2: paper must be the file's name 'made', but got"),
        ((HEADER, line() + ",more"), "line 2: 20 cells are needed, but got 21"),
        ((HEADER, "made,1"), "line 2: 20 cells are needed, but got 2"),
        ((HEADER, line(table='"1')), "line 2: CSV is needed, but"),
        ((HEADER.replace("top1", "top5"), line()), "line 1: the columns must be .*but got .*top5"),
        ((), "line 1: the columns must be .*but got none"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(StoreError, match=rf"made\.csv {message}"):
        reading.tables(written(tmp_path, *lines).parent)


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match=r"made\.csv must be a readable table, but: "):
        reading.tables(tmp_path)


def test_reading_loads_nothing_heavy() -> None:
    script = (
        "import sys, kdsearch.baselines as b; b.rows(); b.query(method='wttm');"
        "b.published_settings('ttm', 'vgg13', 'vgg8');"
        "print(*({'torch', 'pandas', 'ray', 'numpy', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")
