"""How many trials fit on a cluster, and what can never be placed; nothing is started."""

import re
from types import SimpleNamespace

import pytest
import ray

from kdsearch.errors import ClusterError, ResourceError
from kdsearch.search.cluster import Cluster, check, connected, larger, trials_on
from kdsearch.search.study import Resources, Share

NO_GPU = (
    "the study asks for {} GPU per trial, but there are {}. To run on CPUs, set"
    " `resources: {{cpu: 1, gpu: 0}}` in the study; to use GPUs elsewhere, pass --address of a Ray"
    " cluster that has them, and with --cluster the file that it grows by if it starts them when"
    " asked."
)
NO_CPU = (
    "the study asks for {} CPUs per trial, but there are {}. Set a smaller"
    " `resources: {{cpu: ...}}` in the study, or pass with --cluster the file that the cluster"
    " grows by."
)


@pytest.mark.parametrize(
    ("cpu", "gpu", "cpus", "gpus", "fit"),
    [
        (1, 0, 2, 0, 2),
        (1, 0, 8, 4, 8),
        (2, 0, 7, 0, 3),
        (0.1, 0, 1, 0, 10),
        (0.2, 0, 0.6, 0, 3),
        (1, 1, 16, 4, 4),
        (8, 1, 16, 4, 2),
        (1, 0.25, 16, 1, 4),
        (1, 0.3, 16, 1, 3),
        (1, 0.3, 16, 2, 6),
        (1, 0.1, 64, 2, 20),
        (1, 0.6, 16, 3, 3),
        (1, 2, 16, 5, 2),
        (1, 0.01, 4, 1, 4),
        (4, 0, 2, 0, 0),
        (1, 0.5, 2, 0, 0),
        (1, 0.5, 0, 2, 0),
    ],
)
def test_trials_at_once_on_a_node(cpu, gpu, cpus, gpus, fit):
    assert trials_on(Resources(cpu=cpu, gpu=gpu), cpus, gpus) == fit


@pytest.mark.parametrize(
    ("cpu", "gpu", "cpus", "gpus", "message"),
    [
        (1, 1, 2, 0, NO_GPU.format(1, 0)),
        (1, 0.5, 2, 0, NO_GPU.format(0.5, 0)),
        (1, 4, 2, 2, NO_GPU.format(4, 2)),
        (4, 0, 2, 0, NO_CPU.format(4, 2)),
        (2.5, 0, 2, 8, NO_CPU.format(2.5, 2)),
        (4, 1, 2, 0, NO_GPU.format(1, 0)),
    ],
)
def test_what_cannot_be_placed_is_refused_with_a_remedy(cpu, gpu, cpus, gpus, message):
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        check(Resources(cpu=cpu, gpu=gpu), [(cpus, gpus)])
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        check(Resources(cpu=cpu, gpu=gpu), [(0, 0), (cpus, gpus)])


@pytest.mark.parametrize(
    ("cpu", "gpu", "cpus", "gpus"), [(2, 0, 2, 0), (1, 0.5, 1, 1), (1, 2, 1, 2), (0.1, 0, 1, 8)]
)
def test_what_fits_is_accepted(cpu, gpu, cpus, gpus):
    check(Resources(cpu=cpu, gpu=gpu), [(0, 0), (cpus, gpus)])
    assert trials_on(Resources(cpu=cpu, gpu=gpu), cpus, gpus) >= 1


@pytest.mark.parametrize(
    ("cpu", "gpu", "nodes"), [(3, 0, [(2, 0), (2, 0)]), (1, 1, [(8, 0), (0, 1)])]
)
def test_a_trial_is_not_spread_over_nodes(cpu, gpu, nodes):
    message = (
        f"one node must hold a whole trial of {cpu} CPU and {gpu} GPU, but none of 2 does. Set"
        " smaller `resources` in the study."
    )
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        check(Resources(cpu=cpu, gpu=gpu), nodes)


@pytest.mark.parametrize(
    ("wanted", "nodes", "message"),
    [
        (
            {"gpu": 0.5, "teacher": {"gpu": 4}},
            [(8, 2)],
            "the study asks for 4 GPU per teacher, but there are 2. To run on CPUs, set"
            " `resources: {teacher: {cpu: 1, gpu: 0}}` in the study;",
        ),
        (
            {"teacher": {"cpu": 4}},
            [(2, 0)],
            "the study asks for 4 CPUs per teacher, but there are 2. Set a smaller"
            " `resources: {teacher: {cpu: ...}}` in the study,",
        ),
        (
            {"cpu": 1, "teacher": {"cpu": 3}},
            [(2, 0), (2, 0)],
            "one node must hold a whole teacher of 3 CPU and 0 GPU, but none of 2 does.",
        ),
        (
            {"cpu": 4, "gpu": "auto"},
            [(8, 0), (2, 1)],
            "one node must hold a whole trial of 4 CPU and 1 GPU, but none of 2 does.",
        ),
    ],
)
def test_the_teacher_and_a_measurement_must_fit_too(wanted, nodes, message):
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}"):
        check(Resources(**wanted), nodes)


@pytest.mark.parametrize(
    ("wanted", "teacher"),
    [
        ({"cpu": 2}, Share(cpu=2, gpu=0)),
        ({"cpu": 2, "gpu": 0.25}, Share(cpu=2, gpu=1)),
        ({"gpu": 2}, Share(cpu=1, gpu=1)),
        ({"gpu": 0.25, "teacher": {"gpu": 0.5}}, Share(cpu=1, gpu=0.5)),
        ({"gpu": 0.25, "teacher": {"cpu": 8, "gpu": 0}}, Share(cpu=8, gpu=0)),
        ({"teacher": {"gpu": 1}}, Share(cpu=1, gpu=1)),
    ],
)
def test_the_teacher_takes_a_whole_gpu_unless_told_otherwise(wanted, teacher):
    resources = Resources(**wanted)
    assert resources.of_teacher(resources.of_trial(1)) == teacher


@pytest.mark.parametrize(
    ("gpu", "next_"),
    [
        (0, None),
        (0.0625, 0.125),
        (0.1666, 0.3333),
        (0.25, 0.5),
        (0.3333, 1),
        (0.3, 1),
        (0.5, 1),
        (0.6, 1),
        (1, None),
        (2, None),
    ],
)
def test_a_larger_share_is_at_least_twice_as_large(gpu, next_):
    found = larger(Share(cpu=3, gpu=gpu))
    assert found == (next_ and Share(cpu=3, gpu=next_))
    assert not found or found.gpu >= min(1, 2 * gpu)


@pytest.fixture
def bare_head(monkeypatch):
    """A Ray that is connected to a head without trials; tasks run here."""
    task = SimpleNamespace(options=lambda **_: task, remote=lambda *words: task.run(*words))

    def remote(function):
        task.run = function
        return task

    node = {"Alive": True, "Resources": {"memory": 1e9}}
    gone = {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    context = SimpleNamespace(gcs_address="127.0.0.1:9")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray, "nodes", lambda: [node, gone])
    monkeypatch.setattr(ray, "remote", remote)
    monkeypatch.setattr(ray, "get", lambda found: found)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


@pytest.mark.parametrize(
    ("asked", "said", "width"), [(None, None, 32), (None, 7, 7), (5, 7, 5), (5, None, 5)]
)
def test_a_growing_cluster_is_as_wide_as_it_can_become(bare_head, root, asked, said, width):
    resources = Resources(cpu=1, gpu=0.25, max_concurrent=said)
    with connected(resources, "somewhere", asked, root / "cluster.yaml") as cluster:
        assert cluster == Cluster(width, resources.of_trial(1), Share(cpu=1, gpu=1), nodes=9)


@pytest.mark.parametrize(
    ("gpus", "asked", "trial", "width"),
    [
        (4, None, 0.25, 16),
        (4, 16, 0.25, 16),
        (4, 12, 0.3333, 12),
        (4, 8, 0.5, 8),
        (4, 5, 0.5, 5),
        (4, 3, 1, 3),
        (0, None, 0, 32),
    ],
)
def test_a_measured_share_spreads_fewer_trials_over_all_gpus(
    bare_head, monkeypatch, gpus, asked, trial, width
):
    """Ray fills one device before the next, so that four quarters would share one of four."""
    node = {"Alive": True, "Resources": {"CPU": 32, "GPU": gpus}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])

    def measure(there):
        return 0.25 if there else 0

    wanted = (Resources(gpu="auto"), "somewhere", asked)
    with connected(*wanted, measure=measure) as cluster:
        teacher = Share(cpu=1, gpu=min(gpus, 1))
        assert cluster == Cluster(width, Share(cpu=1, gpu=trial), teacher)
    given = connected(Resources(gpu=0.25 if gpus else 0), "somewhere", asked)
    with given as cluster:
        assert cluster.trial.gpu == (0.25 if gpus else 0)


def test_what_it_cannot_become_is_refused_and_so_is_a_bare_head(bare_head, root):
    file = root / "cluster.yaml"
    told = "one node must hold a whole trial of 1 CPU and 4 GPU, but there are head with 0 CPU"
    large = connected(Resources(gpu=4), "somewhere", file=file)
    with pytest.raises(ClusterError, match=told), large:
        pass
    told = r"there are 0\. .* with --cluster the file that it grows by"
    with pytest.raises(ResourceError, match=told), connected(Resources(gpu=1), "somewhere"):
        pass


def test_a_place_for_checkpoints_is_tried_before_anything_runs(bare_head, root, tmp_path):
    def attached(place):
        file = root / "cluster.yaml"
        return connected(Resources(gpu=1), "somewhere", file=file, checkpoints=str(place))

    with attached(tmp_path / "shared") as cluster:
        assert cluster.checkpoints == str(tmp_path / "shared")
    assert list((tmp_path / "shared").iterdir()) == []
    (tmp_path / "file").write_text("")
    told = f"every node must reach the checkpoints in {tmp_path}/file, but: .* Give a folder that"
    with pytest.raises(ResourceError, match=told), attached(tmp_path / "file"):
        pass
