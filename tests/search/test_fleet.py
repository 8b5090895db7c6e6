"""What a cluster file could start: counted, held against Ray's scheduler, refused with words."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdsearch.errors import ClusterError
from kdsearch.search.fleet import Fleet
from kdsearch.search.study import Resources, Wanted

CLUSTER: dict[str, Any] = {
    "cluster_name": "small",
    "max_workers": 8,
    "provider": {"type": "aws", "region": "us-west-2"},
    "auth": {"ssh_user": "ubuntu"},
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {"InstanceType": "m7i.xlarge"}},
        "on_demand": {
            "resources": {"CPU": 8, "GPU": 1},
            "max_workers": 4,
            "priority": 0,
            "node_config": {"InstanceType": "g6.2xlarge"},
        },
        "spot": {
            "resources": {"CPU": 8, "GPU": 1},
            "max_workers": 6,
            "priority": 10,
            "node_config": {"InstanceType": "g6.2xlarge"},
        },
    },
}
RAYJOB: dict[str, Any] = {
    "kind": "RayJob",
    "spec": {
        "rayClusterSpec": {
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0"},
                "template": {"spec": {"containers": [{"name": "ray-head"}]}},
            },
            "workerGroupSpecs": [
                {
                    "groupName": "gpu",
                    "minReplicas": 0,
                    "maxReplicas": 3,
                    "rayStartParams": {},
                    "template": {
                        "spec": {
                            "containers": [
                                {"resources": {"limits": {"cpu": "7500m", "nvidia.com/gpu": "2"}}}
                            ]
                        }
                    },
                }
            ],
        }
    },
}
QUARTER = Resources(cpu=1, gpu=0.25)


def written(folder: Path, *documents: Any) -> Path:
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return file


def changed(path: str, value: Any) -> dict[str, Any]:
    """The cluster with another value at a path; None takes it away."""
    content = copy.deepcopy(CLUSTER)
    *steps, last = path.split("/")
    place: Any = content
    for step in steps:
        place = place[step]
    place[last] = value
    if value is None:
        del place[last]
    return content


def loaded(folder: Path, *documents: Any) -> Fleet:
    return Fleet.load(written(folder, *documents))


@pytest.mark.parametrize(
    ("cpu", "gpu", "types", "most", "slots"),
    [
        (1, 0.25, {"a": (8, 1, 4)}, 4, 16),
        (1, 0.3, {"a": (16, 4, 2)}, 8, 24),
        (4, 0.25, {"a": (8, 1, 4)}, 4, 8),
        (1, 1, {"a": (8, 1, 4), "b": (32, 4, 1)}, 4, 4 + 3),
        (1, 2, {"a": (8, 1, 4), "b": (32, 4, 1)}, 8, 2),
        (2, 0, {"a": (7, 0, 3)}, 8, 9),
        (1, 0.5, {"a": (8, 0, 3)}, 8, 0),
    ],
)
def test_slots_are_those_of_the_widest_cluster(
    cpu: float,
    gpu: float,
    types: dict[str, tuple[int, int, int]],
    most: int,
    slots: int,
    tmp_path: Path,
) -> None:
    content = copy.deepcopy(CLUSTER) | {"max_workers": most}
    content["available_node_types"] = {"head": {"resources": {"CPU": 0}, "node_config": {}}} | {
        name: {"resources": {"CPU": cpus, "GPU": gpus}, "max_workers": count, "node_config": {}}
        for name, (cpus, gpus, count) in types.items()
    }
    fleet, resources = loaded(tmp_path, content), Resources(cpu=cpu, gpu=gpu)
    assert fleet.slots(resources) == slots
    if slots:  # what Ray would start for them holds them, and for one more there is no room
        asked = fleet.asked(resources, slots)
        held = {node.name: node.trials(resources) for node in fleet.workers}
        assert sum(count * held[name] for name, count in asked.items()) >= slots
        assert sum(asked.values()) <= most
        assert fleet.asked(resources, slots + 1) == asked


@pytest.mark.parametrize(
    ("trials", "asked"),
    [
        (0, {}),
        (1, {"spot": 1}),
        (4, {"spot": 1}),
        (5, {"spot": 2}),
        (24, {"spot": 6}),
        (25, {"spot": 6, "on_demand": 1}),
        (32, {"spot": 6, "on_demand": 2}),
    ],
)
def test_spot_comes_before_on_demand(trials: int, asked: dict[str, int], tmp_path: Path) -> None:
    assert loaded(tmp_path, CLUSTER).asked(QUARTER, trials) == asked
    turned = changed("available_node_types/spot/priority", -1)
    first = loaded(tmp_path, turned).asked(QUARTER, min(trials, 16))
    assert set(first) <= {"on_demand"}


def test_a_head_with_cpus_takes_its_share(tmp_path: Path) -> None:
    content = changed("available_node_types/head/resources", {"CPU": 8, "GPU": 1})
    fleet = loaded(tmp_path, content)
    assert fleet.slots(QUARTER) == 4 + 32
    assert fleet.asked(QUARTER, 4) == {}
    assert fleet.asked(QUARTER, 5) == {"spot": 1}


def test_a_share_is_of_one_device(tmp_path: Path) -> None:
    wide = changed("available_node_types/spot/resources", {"CPU": 16, "GPU": 4})
    del wide["available_node_types"]["on_demand"]
    fleet, third = loaded(tmp_path, wide), Resources(cpu=1, gpu=0.3)
    assert fleet.asked(third, 12) == {"spot": 1}
    assert fleet.asked(third, 13) == {"spot": 2}  # 13 of 0.3 are less than 4, and do not fit


def test_a_manifest_is_read_as_the_operator_reads_it(tmp_path: Path) -> None:
    fleet = loaded(tmp_path, {"kind": "PersistentVolumeClaim"}, RAYJOB)
    assert (fleet.head.cpus, fleet.head.gpus, fleet.nodes) == (0, 0, 4)
    (worker,) = fleet.workers
    assert (worker.cpus, worker.gpus, worker.least, worker.most) == (8, 2, 0, 3)
    assert fleet.slots(QUARTER) == 24
    assert fleet.asked(QUARTER, 24) == {"gpu": 3}


def test_json_and_other_providers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    own = {"provider": {"type": "external", "module": "somewhere.Provider"}, "file_mounts": {}}
    own |= {"cluster_synced_files": [], "file_mounts_sync_continuously": False}
    commands = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    own |= {f"{name}_commands": [] for name in (*commands, "initialization")}
    file.write_text(json.dumps(CLUSTER | own))
    assert Fleet.load(file).slots(QUARTER) == 32


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("max_worker", 3, "Ray's schema must hold, but Additional properties are not allowed"),
        ("setup_commands", "true", "setup_commands: Ray's schema must hold, but 'true' is not of"),
        ("provider/region", None, "provider.region: must say where nodes are started"),
        ("provider/regoin", "x", "provider.regoin: must be one of autoscaler_role,"),
        ("auth", None, "auth.ssh_user: must name the image's user, as ubuntu"),
        (
            "available_node_types/spot/resources",
            {},
            "available_node_types.spot.resources: must say what a node holds, as {CPU: 8, GPU: 1};",
        ),
        (
            "available_node_types/spot/resources",
            {"CPU": 8, "gpu": 1},
            "available_node_types.spot.resources.gpu: Ray's name is 'GPU', but got 'gpu'.",
        ),
        (
            "available_node_types/spot/node_config/InstanceMarketOption",
            {"MarketType": "spot"},
            "available_node_types.spot.node_config.InstanceMarketOption: must be a setting of an",
        ),
        (
            "available_node_types/spot/node_config/InstanceType",
            "L4",
            "available_node_types.spot.node_config.InstanceType: must be a type such as g6.2xlarge,"
            " but got 'L4'.",
        ),
        ("head_node_type", "haed", "must be a cluster that Ray can start, but: `head_node_type`"),
        (
            "provider/type",
            "awz",
            "must be a cluster that Ray can start, but: Unsupported node prov",
        ),
    ],
)
def test_each_mistake_is_told(path: str, value: Any, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, changed(path, value))
    with pytest.raises(ClusterError) as raised:
        Fleet.checked(file, QUARTER)
    assert message in str(raised.value)
    assert str(raised.value).startswith("cluster.yaml has 1 mistake")


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    content = changed("provider/region", None) | {"max_worker": 3}
    content["available_node_types"]["spot"]["node_config"]["InstanceType"] = 6
    with pytest.raises(ClusterError) as raised:
        Fleet.checked(written(tmp_path, content), Resources(cpu=99))
    told = [problem.path for problem in raised.value.problems]
    assert told == ["", "provider.region", "available_node_types.spot.node_config.InstanceType"]


@pytest.mark.parametrize(
    ("resources", "refused"),
    [
        (Resources(cpu=9, gpu=0.25), "trial of 9 CPU and 0.25 GPU"),
        (Resources(cpu=9, gpu="auto"), "trial of 9 CPU and 1 GPU"),
        (Resources(gpu=0.25, teacher=Wanted(gpu=2)), "teacher of 1 CPU and 2 GPU"),
    ],
)
def test_nodes_too_small_for_a_trial_or_the_teacher_are_refused(
    resources: Resources, refused: str, tmp_path: Path
) -> None:
    file = written(tmp_path, CLUSTER)
    message = (
        f"available_node_types: one node must hold a whole {refused}, but there"
        " are head with 0 CPU and 0 GPU, on_demand with 8 CPU and 1 GPU, spot with 8 CPU and 1 GPU."
        " Set smaller `resources` in the study, or name larger nodes."
    )
    for check in (
        lambda: Fleet.checked(file, resources),
        lambda: Fleet.load(file).check(resources),
    ):
        with pytest.raises(ClusterError) as raised:
            check()
        assert str(raised.value.problems[0]) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML: "),
        ("- a\n", "must be a cluster file of `ray up`, or a manifest with a RayJob or RayCluster"),
        ("kind: RayJob\n", "must be a cluster that Ray can start, but: misses 'spec'."),
        ("cluster_name: x\n", "must be a cluster that Ray can start, but: misses 'provider'."),
        (None, "cannot be read: No such file or directory."),
    ],
)
def test_what_is_no_cluster_file_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ClusterError) as raised:
        Fleet.load(file)
    assert message in str(raised.value)
