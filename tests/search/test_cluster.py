"""How many trials fit on a cluster, and what can never be placed; nothing is started."""

import re
from types import SimpleNamespace

import pytest
import ray

from kdsearch.errors import ClusterError, ResourceError
from kdsearch.search.cluster import Cluster, check, connected, trials_on
from kdsearch.search.study import Resources

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
        assert cluster == Cluster(concurrent=width, nodes=9)


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
