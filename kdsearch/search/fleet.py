"""Fleet: the nodes that a cluster file could start, and the trials that they hold; starts nothing.

    fleet = Fleet.load(Path("cluster.yaml"))   # or a RayJob or RayCluster of Kubernetes
    fleet.slots(share)                         # trials of a share at once when it is at its widest
    fleet.asked(share, 16)                     # the nodes that 16 trials ask for

Files are read by the code that reads them on the cluster, and nodes are counted by the autoscaler's
own scheduler: both are parts of Ray, and neither needs a cloud.
"""

import copy
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import ray.autoscaler
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config as kuberay
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from kdsearch.errors import ClusterError, Problem
from kdsearch.search.cluster import part_of_gpu, trials_on, trials_per_gpu
from kdsearch.search.mistakes import sentence
from kdsearch.search.study import Resources, Share

# Ray warns of fields that its own defaults have put into a file.
logging.getLogger(prepare_config.__module__).setLevel(logging.ERROR)


@dataclass(frozen=True)
class NodeType:
    """A kind of node: what one holds, and between how many and how many there can be."""

    name: str
    cpus: float
    gpus: float
    least: int
    most: int
    priority: int = 0

    def trials(self, trial: Share) -> int:
        """How many trials one node holds at once."""
        return trials_on(trial, self.cpus, self.gpus)

    def __str__(self) -> str:
        return f"{self.name} with {self.cpus:g} CPU and {self.gpus:g} GPU"


@dataclass(frozen=True)
class Fleet:
    """A cluster file's nodes: one head, and at most `most` workers of all types together.

    `config` is the file as Ray's autoscaler has it.
    """

    name: str
    source: str
    head: NodeType
    workers: tuple[NodeType, ...]
    most: int
    config: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "Fleet":
        """Read a cluster file, or the first RayJob or RayCluster of a Kubernetes manifest.

        Raises:
            ClusterError: it cannot be read, or Ray refuses it.
        """
        return cls._of(_content(path), path.name)

    @classmethod
    def checked(cls, path: Path, resources: Resources) -> "Fleet":
        """As `load`, and held against a study: for a person who is about to pay for it.

        Raises:
            ClusterError: everything that is wrong with it, what Ray lets pass included.
        """
        content = _content(path)
        found = list(_mistakes(content))
        fleet = None
        try:
            fleet = cls._of(content, path.name)
        except ClusterError as error:
            found = found or list(error.problems)
        if fleet:
            found += fleet._too_small(resources)
        if fleet is None or found:
            raise ClusterError(path.name, dict.fromkeys(found))
        return fleet

    @classmethod
    def _of(cls, content: Mapping[str, Any], source: str) -> "Fleet":
        config = _prepared(content, source)
        types = {
            name: NodeType(
                name,
                node["resources"].get("CPU", 0),
                node["resources"].get("GPU", 0),
                node.get("min_workers", 0),
                node.get("max_workers", 0),
                node.get("priority", 0),
            )
            for name, node in config["available_node_types"].items()
        }
        head = types.pop(config["head_node_type"])
        name, most = config["cluster_name"], config["max_workers"]
        return cls(name, source, head, tuple(types.values()), most, config)

    @property
    def nodes(self) -> int:
        """The most nodes that there can be, the head among them."""
        return 1 + min(self.most, sum(node.most for node in self.workers))

    @property
    def gpus(self) -> float:
        """The most GPUs that a node of any type holds."""
        return max(node.gpus for node in (self.head, *self.workers))

    def slots(self, trial: Share) -> int:
        """How many trials run at once when every node that helps has been started; may be 0."""
        left, trials = self.most, self.head.trials(trial)
        for node in sorted(self.workers, key=lambda node: -node.trials(trial)):
            started = min(left, node.most)
            trials += started * node.trials(trial)
            left -= started
        return trials

    def asked(self, trial: Share, trials: int) -> dict[str, int]:
        """The workers, by type, that so many trials at once ask for.

        With equal fit the scheduler takes the type of higher priority, as for spot before
        on-demand, and the other once that one's limit is reached or the cloud has none.
        """
        trials -= min(trials, self.head.trials(trial))
        if not trials:
            return {}
        share = {"CPU": trial.cpu}
        if trial.gpu:  # of one device, which the scheduler does not know: it adds up a node's
            per_gpu = trials_per_gpu(trial)
            share["GPU"] = part_of_gpu(per_gpu) if per_gpu else trial.gpu
        types = AutoscalingConfig(dict(self.config), skip_content_hash=True).get_node_type_configs()
        types.pop(self.head.name)  # it runs already
        request = SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=types,
            max_num_nodes=self.most,
            resource_requests=ResourceRequestUtil.group_by_count(
                [ResourceRequestUtil.make(share)] * trials
            ),
        )
        launches = ResourceDemandScheduler(None).schedule(request).to_launch
        return {launch.instance_type: launch.count for launch in launches}

    def check(self, resources: Resources) -> None:
        """Refuse what it can never hold.

        Raises:
            ClusterError: no node of any type holds one trial, or one of the teacher's tasks.
        """
        if found := self._too_small(resources):
            raise ClusterError(self.source, found)

    def _too_small(self, resources: Resources) -> list[Problem]:
        """A share that is to be measured is taken for a whole GPU: the measurement takes one."""
        trial = resources.of_trial(float(self.gpus > 0))
        there = ", ".join(str(node) for node in (self.head, *self.workers))
        for whose, share in {"trial": trial, "teacher": resources.of_teacher(trial)}.items():
            if not self.slots(share):
                law = f"one node must hold a whole {whose} of {share}, but there are {there}"
                remedy = "Set smaller `resources` in the study, or name larger nodes."
                return [Problem("available_node_types", f"{law}. {remedy}")]
        return []


def _content(path: Path) -> Mapping[str, Any]:
    """The cluster file's mapping; of a manifest, the document that holds the cluster."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        problem = Problem("", f"cannot be read: {error.strerror}.")
        raise ClusterError(str(path), [problem]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClusterError(str(path), [Problem("", f"is not YAML: {sentence(error)}")]) from None
    mappings = [document for document in documents if isinstance(document, Mapping)]
    clusters = [document for document in mappings if document.get("kind") in _KINDS]
    if not (clusters or mappings):
        law = "must be a cluster file of `ray up`, or a manifest with a RayJob or RayCluster"
        raise ClusterError(str(path), [Problem("", f"{law}, but holds no mapping.")])
    return (clusters or mappings)[0]


_KINDS = ("RayJob", "RayCluster")


def _prepared(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The autoscaler's configuration, made and checked by Ray's own code."""
    content = copy.deepcopy(dict(content))
    try:
        if content.get("kind") in _KINDS:
            spec = content["spec"]
            spec = spec["rayClusterSpec"] if content["kind"] == "RayJob" else spec
            metadata = {"namespace": "default", "name": "cluster"} | content.get("metadata", {})
            manifest = {"spec": spec, "metadata": metadata}
            config = kuberay._derive_autoscaling_config_from_ray_cr(manifest)
        else:
            config = prepare_config(content)
            validate_config(config)
    except Exception as error:  # noqa: BLE001 - Ray raises of every kind, and each refuses the file
        reason = str(error).partition("\n")[0].rstrip(".")
        what = f"misses {reason}" if isinstance(error, KeyError) else reason
        law = "must be a cluster that Ray can start"
        raise ClusterError(source, [Problem("", f"{law}, but: {what}.")]) from None
    return dict(config)


def _mistakes(content: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with a cluster file, by Ray's schema and where it lets things pass."""
    if content.get("kind") in _KINDS:
        return
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    for error in jsonschema.Draft7Validator(schema).iter_errors(content):
        path = ".".join(str(step) for step in error.path)
        yield Problem(path, f"Ray's schema must hold, but {error.message}.")
    provider, types = content.get("provider"), content.get("available_node_types")
    if isinstance(types, Mapping):
        for name, node in types.items():
            yield from _of_resources(f"available_node_types.{name}.resources", node)
    if isinstance(provider, Mapping) and provider.get("type") == "aws":
        yield from _of_aws(content, provider, schema)
        for name, node in types.items() if isinstance(types, Mapping) else ():
            yield from _of_instance(f"available_node_types.{name}.node_config", node)


_SCHEMA = Path(ray.autoscaler.__file__).parent / "ray-schema.json"


def _of_resources(path: str, node: Any) -> Iterator[Problem]:
    resources = node.get("resources") if isinstance(node, Mapping) else None
    if not isinstance(resources, Mapping):
        return  # the schema says so
    if "CPU" not in resources:
        law = "must say what a node holds, as {CPU: 8, GPU: 1}; only a launch would fill it in"
        yield Problem(path, f"{law}, but got {dict(resources)}.")
    for name in resources:
        known = str(name).upper()
        if known in ("CPU", "GPU") and name != known:
            yield Problem(f"{path}.{name}", f"Ray's name is {known!r}, but got {name!r}.")


def _of_aws(
    content: Mapping[str, Any], provider: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[Problem]:
    if not provider.get("region"):
        law = "must say where nodes are started, such as us-west-2"
        yield Problem("provider.region", f"{law}, but got {provider.get('region')!r}.")
    known = {*schema["properties"]["provider"]["properties"], "aws_credentials", "key_pair"}
    for key in sorted(provider.keys() - known):
        yield Problem(f"provider.{key}", f"must be one of {', '.join(sorted(known))}.")
    auth = content.get("auth")
    if not (isinstance(auth, Mapping) and auth.get("ssh_user")):
        law = "must name the image's user, as ubuntu, because nodes are set up over SSH"
        yield Problem("auth.ssh_user", f"{law}, but there is none.")


def _of_instance(path: str, node: Any) -> Iterator[Problem]:
    config = node.get("node_config") if isinstance(node, Mapping) else None
    if not isinstance(config, Mapping):
        return
    for key in sorted(config.keys() - set(_INSTANCE.split())):
        law = "must be a setting of an EC2 instance"
        yield Problem(
            f"{path}.{key}", f"{law}, but there is none of this name. Check its spelling."
        )
    kind = config.get("InstanceType")
    if not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", str(kind)):
        yield Problem(
            f"{path}.InstanceType", f"must be a type such as g6.2xlarge, but got {kind!r}."
        )


_INSTANCE = (
    "AdditionalInfo BlockDeviceMappings CapacityReservationSpecification CpuOptions"
    " CreditSpecification DisableApiStop DisableApiTermination EbsOptimized EnclaveOptions"
    " HibernationOptions IamInstanceProfile ImageId InstanceInitiatedShutdownBehavior"
    " InstanceMarketOptions InstanceType Ipv6AddressCount Ipv6Addresses KernelId KeyName"
    " LaunchTemplate LicenseSpecifications MaintenanceOptions MetadataOptions Monitoring"
    " NetworkInterfaces NetworkPerformanceOptions Placement PrivateDnsNameOptions"
    " PrivateIpAddress RamdiskId SecurityGroupIds SecurityGroups SubnetId SubnetIds"
    " TagSpecifications UserData"
)
"""The keys of EC2's RunInstances, and `SubnetIds`, which Ray turns into `SubnetId`."""
