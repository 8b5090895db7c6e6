"""How many trials fit on a cluster, and what can never be placed; nothing is started."""

import re

import pytest

from kdsearch.errors import ResourceError
from kdsearch.search.cluster import check, trials_on
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
