"""The files that start clusters, held offline against Ray, the operator and the studies' needs."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from kdsearch.cli import cli
from kdsearch.search.fleet import Fleet
from kdsearch.search.study import Resources

FILES = ("cluster.yaml", "deploy/rayjob.yaml")

# KubeRay v1.7, ray-operator/apis/ray/v1/{rayjob,raycluster}_types.go, the fields that a spec may
# have; of Kubernetes' own core/v1, those of a pod that a worker has reason to have.
FIELDS = {
    "spec": "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint"
    " entrypointNumCpus entrypointNumGpus entrypointResources jobId managedBy metadata"
    " rayClusterSpec runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig"
    " submitterPodTemplate suspend ttlSecondsAfterFinished",
    "rayClusterSpec": "authOptions autoscalerOptions enableInTreeAutoscaling"
    " gcsFaultToleranceOptions headGroupSpec headServiceAnnotations managedBy networkPolicy"
    " rayVersion suspend upgradeStrategy workerGroupSpecs",
    "authOptions": "enableK8sTokenAuth mode secretName",
    "autoscalerOptions": "args command env envFrom idleTimeoutSeconds image imagePullPolicy"
    " resources securityContext upscalingMode version volumeMounts",
    "headGroupSpec": "enableIngress headService ingressOptions labels rayStartParams resources"
    " serviceType template",
    "workerGroupSpecs": "groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts"
    " priority rayStartParams replicas resources scaleStrategy suspend template",
    "template": "metadata spec",
    "template.spec": "affinity containers nodeSelector securityContext serviceAccountName"
    " terminationGracePeriodSeconds tolerations volumes",
    "containers": "env envFrom image imagePullPolicy name resources securityContext volumeMounts",
    "tolerations": "effect key operator tolerationSeconds value",
}
MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")


def manifest(root: Path, kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((root / "deploy/rayjob.yaml").read_text())
    (found,) = [document for document in documents if document["kind"] == kind]
    return dict(found)


@pytest.fixture
def cluster(root: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((root / "cluster.yaml").read_text()))


def settings() -> set[str]:
    """The environment variables that the terminal reads."""
    options = [option for command in cli.commands.values() for option in command.params]
    return {str(option.envvar) for option in options if option.envvar}


def test_ray_takes_the_cluster_without_a_network(
    cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("nothing may be reached")

    monkeypatch.setattr(socket.socket, "connect", refused)
    config = prepare_config(cluster)
    validate_config(config)
    assert config["head_node_type"] == "head"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("gpu", [0.1, 0.25, 0.3, 1])
def test_gpu_studies_fit_and_the_head_stays_free(file: str, gpu: float, root: Path) -> None:
    resources = Resources(cpu=1, gpu=gpu)
    fleet = Fleet.checked(root / file, resources)
    assert fleet.head.trials(Resources(cpu=0.001)) == 0
    assert all(node.least == 0 < node.most for node in fleet.workers)
    spot, demand = fleet.workers
    assert ("spot" in spot.name, "demand" in demand.name) == (True, True)
    assert (spot.cpus, spot.gpus) == (demand.cpus, demand.gpus)
    assert spot.priority > demand.priority
    assert fleet.asked(resources, 1) == {spot.name: 1}


@pytest.mark.parametrize("file", FILES)
def test_the_papers_studies_fit(file: str, root: Path) -> None:
    texts = [path.read_text() for path in (root / "search_spaces").glob("*.yaml")]
    said = [Resources(**yaml.safe_load(text).get("resources", {})) for text in texts]
    wanted = {resources for resources in said if resources.gpu}
    assert wanted
    for resources in wanted:
        assert Fleet.checked(root / file, resources).slots(resources) >= 8


def test_only_one_type_is_spot_and_only_the_head_outlives_a_node(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    markets = {name: "InstanceMarketOptions" in each["node_config"] for name, each in types.items()}
    assert markets == {"head": False, "gpu_spot": True, "gpu_on_demand": False}
    for name, each in types.items():
        (disk,) = each["node_config"]["BlockDeviceMappings"]
        assert disk["Ebs"]["DeleteOnTermination"] is (name != "head")
        assert disk["Ebs"]["Encrypted"] is True
        assert each["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    assert cluster["provider"]["cache_stopped_nodes"] is True
    assert 0 < cluster["idle_timeout_minutes"] <= 15


def test_nothing_is_copied_and_versions_are_pinned(cluster: dict[str, Any], root: Path) -> None:
    assert cluster["file_mounts"] == {}
    (install,) = [line for line in cluster["setup_commands"] if "pip install" in line]
    assert "-c ~/package/constraints.txt" in install
    assert '"ray[default]"' in install  # the job server and the autoscaler
    docker = (root / "deploy/Dockerfile").read_text()
    pinned = re.findall(r"^ray==(.*)$", (root / "constraints.txt").read_text(), flags=re.M)
    assert re.findall(r"^FROM rayproject/ray:([\d.]+)-", docker, flags=re.M) == pinned
    assert manifest(root, "RayJob")["spec"]["rayClusterSpec"]["rayVersion"] == pinned[0]


def test_ports_are_private_and_everything_asks_for_the_token(cluster: dict[str, Any]) -> None:
    head, worker = cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]
    assert cluster["provider"]["use_internal_ips"] is True
    assert "--dashboard-host=127.0.0.1" in head
    for start in (head, worker):
        assert start.index("RAY_AUTH_MODE=token") < start.index("ray start")
        assert "RAY_AUTH_TOKEN=" not in start  # it would show in the list of processes
    assert "--num-cpus=0 --num-gpus=0" in head


def test_what_is_exported_is_what_the_terminal_reads(cluster: dict[str, Any], root: Path) -> None:
    head = cluster["head_start_ray_commands"][-1]
    said = set(re.findall(r"\b(KDSEARCH_\w+)=", head))
    assert said == {"KDSEARCH_STORAGE", "KDSEARCH_CHECKPOINTS", "KDSEARCH_CLUSTER"}
    environment = yaml.safe_load(manifest(root, "RayJob")["spec"]["runtimeEnvYAML"])["env_vars"]
    assert set(environment) == said
    assert said <= settings()
    assert environment["KDSEARCH_CHECKPOINTS"] in head
    assert "$HOME/ray_bootstrap_config.yaml" in head  # where `ray up` puts what it has started


def test_the_manifest_has_only_fields_that_the_operator_publishes(root: Path) -> None:
    job = manifest(root, "RayJob")
    assert (job["apiVersion"], set(job)) == (
        "ray.io/v1",
        {"apiVersion", "kind", "metadata", "spec"},
    )
    found = list(unknown(job["spec"], "spec"))
    assert found == []
    assert job["spec"]["submissionMode"] in MODES
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["autoscalerOptions"]["version"] == "v2"  # the one that knows priorities
    assert cluster["autoscalerOptions"]["upscalingMode"] in (
        "Default",
        "Aggressive",
        "Conservative",
    )
    assert cluster["enableInTreeAutoscaling"] is True


def unknown(mapping: dict[str, Any], name: str) -> Iterator[str]:
    """The fields below a named part that FIELDS does not have."""
    for key, value in mapping.items():
        if key not in FIELDS[name].split():
            yield f"{name}.{key}"
        below = f"{name}.{key}" if f"{name}.{key}" in FIELDS else key
        if below in FIELDS:
            for each in value if isinstance(value, list) else [value]:
                yield from unknown(each, below)


def test_a_misspelt_field_is_found(root: Path) -> None:
    spec = manifest(root, "RayJob")["spec"]
    spec["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["container"] = []
    assert list(unknown(spec, "spec")) == ["template.spec.container", "workerGroupSpecs.maxReplica"]


def test_the_job_is_private_and_its_secrets_are_references(root: Path) -> None:
    job, claim = manifest(root, "RayJob"), manifest(root, "PersistentVolumeClaim")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert "enableIngress" not in cluster["headGroupSpec"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "kdsearch-ray-token"}
    pod = cluster["headGroupSpec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["env"]
    assert all("secretKeyRef" in each["valueFrom"] for each in container["env"])
    claims = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"][:1]]
    assert claims == [claim["metadata"]["name"]]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    environment = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
    assert environment["KDSEARCH_STORAGE"].startswith(mounts["storage"])
    assert environment["KDSEARCH_CLUSTER"].startswith(mounts["study"])
    assert job["spec"]["entrypoint"].split()[-1].startswith(mounts["study"])


def test_only_spot_workers_tolerate_spot_nodes(root: Path) -> None:
    spot, demand = manifest(root, "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    tolerated = [
        {each["key"] for each in group["template"]["spec"]["tolerations"]}
        for group in (spot, demand)
    ]
    assert tolerated == [{"nvidia.com/gpu", "kdsearch/spot"}, {"nvidia.com/gpu"}]
    for group in (spot, demand):
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]


@pytest.mark.parametrize("file", FILES)
def test_no_secret_is_written_down(file: str, root: Path) -> None:
    text = (root / file).read_text()
    assert not re.search(
        r"AKIA[0-9A-Z]{16}|aws_secret|password\s*[:=]|(?<!auth_)token=\S{16}", text
    )
