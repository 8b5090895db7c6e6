"""Shares of a GPU: what a worker does with one, how it is measured, and when it was too small.

There is no GPU here: memory is what a stand-in for CUDA says, and Ray's GPUs are numbers that it
counts.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from rich.console import Console

from kdsearch import data
from kdsearch.data import Splits
from kdsearch.errors import ResourceError
from kdsearch.progress import Display
from kdsearch.search import gpu, stages, teaching
from kdsearch.search.cluster import Cluster
from kdsearch.search.gpu import Need, device, measure, measured_share, out_of_memory
from kdsearch.search.jobs import SearchJobs
from kdsearch.search.plugins import sampler_for
from kdsearch.search.proposals import Proposals
from kdsearch.search.study import Share, Study
from kdsearch.search.trial import StudentTrial
from kdsearch.tracking import Journal, Record

GIB = 2**30
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A device of 24 GiB: 3 reserved at most and 1 now, 2 used in all; `capped` holds the caps."""
    there = SimpleNamespace(capped=[], most=3 * GIB)
    said = {
        "is_available": lambda: True,
        "set_per_process_memory_fraction": there.capped.append,
        "max_memory_reserved": lambda: there.most,
        "memory_reserved": lambda: GIB,
        "mem_get_info": lambda: (22 * GIB, 24 * GIB),
        "empty_cache": lambda: None,
    }
    for name, function in said.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    return there


@pytest.mark.parametrize(
    ("share", "on", "capped", "seen"),
    [
        (0, "cpu", [], ""),
        (0.25, "cuda", [0.25 - 0.5 / 24], "3"),
        (0.3333, "cuda", [0.3333 - 0.5 / 24], "3"),
        (0.03, "cuda", [0.015], "3"),
        (1, "cuda", [], "3"),
        (2, "cuda", [], "3"),
    ],
)
def test_a_worker_has_no_more_than_its_share(
    share: float, on: str, capped: list[float], seen: str, cuda: SimpleNamespace
) -> None:
    assert device(share) == on
    assert cuda.capped == capped
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (OUT_OF_MEMORY, True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (MemoryError(), False),
    ],
)
def test_too_little_memory_is_told_from_other_errors(error: Exception, is_it: bool) -> None:
    assert out_of_memory(error) == is_it


@pytest.mark.parametrize(
    ("used", "share"),
    [
        (24, 1),
        (20.1, 1),
        (20, 1),
        (10.1, 1),
        (10, 0.5),
        (6, 0.3333),
        (4, 0.2),
        (3.3, 0.1666),
        (1.25, 0.0625),
        (0.1, 0.0625),
    ],
)
def test_a_share_is_one_of_a_whole_number_with_a_margin(used: float, share: float) -> None:
    assert Need(int(used * GIB), 24 * GIB).share == share


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.2)


@pytest.mark.parametrize("signals", ["stored", "online"])
def test_every_network_of_the_space_takes_a_few_steps(
    signals: str,
    content: dict[str, Any],
    cuda: SimpleNamespace,
    splits: Splits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = content["space"] | {"student": {"width": {"choice": [4, 8]}}}
    study = Study.of(content | {"space": space, "signals": signals})
    steps: list[tuple[int, int]] = []

    class Seen(gpu.Training):
        def _loss(self, number: int, at: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
            steps.append((self.experiment.model.size["width"], len(at)))
            return super()._loss(number, at, images)

    monkeypatch.setattr(gpu, "Training", Seen)
    # The context is what is used beside what is reserved: 24 - 22 - 1.
    assert measure(study, splits, "cpu") == Need(4 * GIB, 24 * GIB)
    assert set(steps) == {(4, 64), (8, 64)}
    assert len(steps) == 8


def test_a_student_that_fits_nowhere_needs_all_and_another_error_is_none_of_memory(
    content: dict[str, Any],
    cuda: SimpleNamespace,
    splits: Splits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(error: Exception) -> None:
        def training(*_: Any) -> None:
            raise error

        monkeypatch.setattr(gpu, "Training", training)

    study = Study.of(content)
    fails(OUT_OF_MEMORY)
    assert measure(study, splits, "cpu") == Need(24 * GIB, 24 * GIB)
    fails(RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        measure(study, splits, "cpu")


@pytest.fixture(scope="module")
def logical() -> Iterator[None]:
    """A cluster that was started elsewhere, by hand, with two CPUs and a GPU that Ray counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("CUDA_VISIBLE_DEVICES", "0")
        ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def _sees(share: float) -> tuple[str, str]:
    before = os.environ["CUDA_VISIBLE_DEVICES"]
    device(share)
    return before, os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.slow
def test_on_a_running_cluster_a_share_is_measured_once_and_no_share_sees_no_gpu(
    logical: None, content: dict[str, Any], splits: Splits, tmp_path: Path
) -> None:
    task = ray.remote(_sees)
    assert ray.get(task.options(num_gpus=0).remote(0)) == ("0", "")
    assert ray.get(task.options(num_gpus=0.5).remote(0.5)) == ("0", "0")

    study, journal = Study.of(content), Journal(tmp_path / "journal.jsonl")
    said: list[str] = []
    for there, share in ((False, 0), (True, 1), (True, 1)):
        assert measured_share(study, splits, journal, said.append, there) == share
    assert said == [
        "Each trial runs on CPUs: `gpu: auto` found no GPU in the cluster.",
        "Waiting for a whole GPU, to measure the share that a trial needs.",
        "Each trial takes a whole GPU: on its node PyTorch finds none that could be measured.",
    ]
    assert Record.of(journal).facts == {"gpu_share": 1.0}
    assert len(list(journal)) == 1


def _starving(*_: Any) -> Iterator[bytes]:
    yield b""
    raise OUT_OF_MEMORY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "remedy"), [(0.5, "Set `resources: {teacher: {gpu: 1}}`"), (1, "Use larger GPUs")]
)
def test_a_teacher_that_does_not_fit_is_said(
    share: float,
    remedy: str,
    logical: None,
    content: dict[str, Any],
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teaching, "_train", _starving)
    journal = Journal(tmp_path / "journal.jsonl")
    taught = teaching.Teaching(
        Study.of(content).teacher, splits, tmp_path, Share(gpu=share), journal
    )
    told = f"the teacher must fit into the memory of {share:g} GPU, but does not. {remedy}, or"
    with pytest.raises(ResourceError) as raised:
        taught.signals(str)
    assert str(raised.value).startswith(told)


class Hungry(StudentTrial):
    """Half a GPU is enough for `kd` and `logit_mse`, which notices late; for `ce` none is."""

    def setup(self, config: dict[str, Any], share: float = 0, **settings: Any) -> None:
        self._share = share
        super().setup(config, share=share, **settings)

    def _begin(self, config: dict[str, Any]) -> None:
        name = config["experiment"]["objective"]["name"]
        if name == "ce" or (name == "kd" and self._share < 0.5):
            raise OUT_OF_MEMORY
        super()._begin(config)
        if name == "logit_mse" and self._share < 0.5:
            objective = self.training.objective

            def late(*given: Any) -> torch.Tensor:
                if given[-1] == 3:
                    raise OUT_OF_MEMORY
                return objective(*given)

            self.training.objective = late  # type: ignore[assignment]


@pytest.mark.slow
def test_what_was_too_small_is_doubled_until_the_student_fits(
    logical: None,
    content: dict[str, Any],
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stages, "StudentTrial", Hungry)
    knows = 10 * np.eye(splits.classes, dtype=np.float32)[splits.labels[splits.fitted]]
    pq.write_table(pa.table({"logits": list(knows)}), tmp_path / "teacher.parquet")
    names = ("ce", "kd", "logit_mse")
    study = Study.of(
        content
        | {
            "teacher": {"logits": str(tmp_path / "teacher.parquet")},
            "space": {"objective": {"choice": [{"name": name} for name in names]}},
            "search": {"trials": 3, "scheduler": {"name": "none"}, "algorithm": {"name": "random"}},
        }
    )
    journal = Journal(tmp_path / "journal.jsonl")
    shown = io.StringIO()
    journal.listen(Display(Console(file=shown, width=1000), Record()))
    proposals = Proposals(study.parsed_space, sampler_for(study), study.published())
    cluster = Cluster(1, Share(cpu=0.5, gpu=0.25), Share(gpu=1))
    search = stages.Stages(study, tmp_path, tmp_path, journal, splits, cluster)
    search.begin("search")
    search.teach(str)
    search.train("search", SearchJobs(study, proposals, 3), 3)

    events = list(journal)
    trained = ["epoch"] * 4
    wanted = {
        "ce": ["trial", "starved", "starved", "end"],
        "kd": ["trial", "starved", *trained, "end"],
        "logit_mse": ["trial", *trained[:2], "starved", *trained[2:], "end"],
    }
    students = Record.of(events).of_kind("trial")
    assert {student.family for student in students} == set(names)
    for student in students:
        own = [event for event in events if event.get("id") == student.id]
        assert [event["event"] for event in own] == wanted[student.family]
        epochs = [event["epoch"] for event in own if event["event"] == "epoch"]
        assert epochs == [1, 2, 3, 4][: len(epochs)]
        shares = [(e["gpu"], e["larger"]) for e in own if e["event"] == "starved"]
        assert shares == [(0.25, 0.5), (0.5, 1.0)][: len(shares)]
        fits = student.family != "ce"
        assert student.status == ("finished" if fits else "failed")
        assert student.reason == (
            ""
            if fits
            else "1 GPU has too little memory for it: set a smaller batch_size or `precision:"
            " bfloat16` in the recipe"
        )
        told = f"{student.id} ran out of memory on 0.25 GPU: when the others have ended, it is"
        assert f"{told} tried again with 0.5." in shown.getvalue()
    assert shown.getvalue().count("ran out of memory") == 4
