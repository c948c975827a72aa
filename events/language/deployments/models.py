"""What a deployment is: the values that a user gives, and the version of a model that was found for them.

What routers do with requests is in `routing`, what a replica's model server does in `serving`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DEFAULT_QUEUE, DisplayName, Identifier, OptionalIdentifier
from events.language.deployments.alerts import AlertSettings
from events.language.deployments.canary import CanaryPolicy
from events.language.deployments.drift import TrainingData
from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.enums import RolloutStrategy
from events.language.deployments.routing import (
    BalancingStrategy,
    BasisPoints,
    DeploymentName,
    DeploymentObservability,
    PortName,
    RetryPolicy,
    RevisionNumber,
    RoutedEndpoint,
    RoutingRule,
    SessionAffinity,
    ShadowTraffic,
    twice_placed,
)
from events.language.deployments.scaling import AutoScalingPolicy, ReplicaCount
from events.language.deployments.serving import (
    EndpointBatching,
    EndpointHealth,
    EndpointMonitoring,
    EndpointProcessing,
    EndpointSchemas,
    PythonName,
    RuntimeSettings,
    ServingLimits,
    WarmUp,
)
from events.language.experiments.registry.models import (
    ModelFormat,
    ModelName,
    ModelSignature,
    VersionNumber,
)
from events.language.jobs.spec import (
    JobEnvironment,
    JobPriority,
    JobResources,
    LabelKey,
    LabelValue,
    Text,
    Toleration,
)
from events.language.jobs.spec_isolation import NetworkAccess
from events.language.jobs.spec_service import LivenessProbe, Probe, StartupProbe
from events.language.objects import ObjectRef
from events.language.planned import Planned

MAX_VARIABLES = 900
"""Most variables of a replica's environment that a user gives; the platform adds its own."""

NewDeploymentName = Annotated[DeploymentName, StringConstraints(max_length=57)]
"""A `DeploymentName` of at most 57 characters: with the ending of its project's ids it is the value of a label."""

ReplicaNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which replica of its deployment; the first is 1. No number is given twice."""

MAX_REASON = 1_000
"""Most characters of a reason."""

Reason = Annotated[str, StringConstraints(max_length=MAX_REASON)]

Note = Annotated[str, StringConstraints(max_length=4_000)]


OptionalAlias = Annotated[str, StringConstraints(pattern=r"^$|^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$")]
"""Of a model's version, such as ``champion``; empty: none."""

OptionalEnvironment = Annotated[str, StringConstraints(pattern=r"^$|^[a-z0-9][a-z0-9._-]{0,62}$")]
"""In which a version is live, such as ``production``; empty: none."""


class ModelChoice(Model):
    """Which version of a registered model is served. Of `number`, `alias` and `environment` one is given; without any
    it is the newest version."""

    name: ModelName
    number: VersionNumber | None = None
    alias: OptionalAlias = ""
    """The version that has this alias when the revision is made, such as ``champion``."""
    environment: OptionalEnvironment = ""
    """The version that is live there when the revision is made, such as ``production``."""
    follow: bool = False
    """Whether the deployment is updated when another version gets the alias, or is live in the environment."""

    @model_validator(mode="after")
    def _one(self) -> ModelChoice:
        if sum((self.number is not None, bool(self.alias), bool(self.environment))) > 1:
            raise ValueError("number, alias and environment each name a version; give one of them")
        if self.follow and not (self.alias or self.environment):
            raise ValueError("follow is for an alias or an environment, which may mean another version later; give one")
        return self


class ResolvedModel(Model):
    """The version of a model that a revision serves. It never changes."""

    name: ModelName
    number: VersionNumber
    version_id: Identifier
    bundle: ObjectRef
    """The manifest of its files."""
    model_format: ModelFormat
    signature: ModelSignature = ModelSignature()
    training: TrainingData | None = None
    """What requests are compared with; None where nothing is known of what it was trained on."""


class ServingOptions(Model):
    """How a replica's model server serves the model. Not for replicas that run a command of their own."""

    runtime: RuntimeSettings = RuntimeSettings()
    file: Annotated[str, StringConstraints(max_length=1024)] = ""
    """The file that the runtime loads, by its path among the version's files; empty: the only one that it can load."""
    trusted_types: tuple[PythonName, ...] = Field(default=(), max_length=500)
    """Of skops: types of the file that may be made, since somebody looked at them."""
    trust_pickle: bool = False
    """Whether files may be loaded that run what their author wrote (pickle, joblib)."""
    batching: EndpointBatching = EndpointBatching()
    processing: EndpointProcessing = EndpointProcessing()
    schemas: EndpointSchemas = EndpointSchemas()
    monitoring: EndpointMonitoring = EndpointMonitoring()
    health: EndpointHealth = EndpointHealth()
    warm_up: WarmUp = WarmUp()
    limits: ServingLimits = ServingLimits()


class DeploymentHealth(Model):
    """How replicas are asked how they are. What is left out is asked of a model server at its own paths; a command's
    first port is ready once it takes connections."""

    startup: StartupProbe | None = None
    """Holds the other probes back until it was good once."""
    readiness: Probe | None = None
    """Whether a replica gets requests."""
    liveness: LivenessProbe | None = None
    """A replica that fails it is started anew."""


class DeploymentTarget(Model):
    """Where a deployment's replicas run."""

    queue: Identifier = DEFAULT_QUEUE
    """The queue that their jobs wait in."""
    priority: JobPriority = JobPriority.NORMAL
    region: LabelValue = ""
    """Nodes whose label ``region`` is this; any when empty."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=30)
    """Nodes that have all of these labels."""
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32)
    cluster: Annotated[OptionalIdentifier, Planned("several clusters")] = ""
    namespace: Annotated[OptionalIdentifier, Planned("executors with namespaces")] = ""


class RolloutPolicy(Model):
    """How a new revision takes the old one's place, and when that is given up."""

    strategy: RolloutStrategy = RolloutStrategy.ROLLING
    max_surge: ReplicaCount = 1
    """How many more replicas there may be than wanted. Blue-green has as many again as are wanted."""
    max_unavailable: ReplicaCount = 0
    """How many fewer may be ready than wanted."""
    canary: CanaryPolicy = CanaryPolicy()
    """Of a canary: its steps, and when it goes on to the next one."""
    undo_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """Of blue-green: how long the old replicas stay when the new ones have the requests. Until then an undo takes
    effect at once."""
    progress_deadline_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """A rollout in which no replica gets ready for so long is rolled back."""
    crash_limit: Annotated[int, Field(ge=1, le=1_000)] = 3
    """A rollout in which the new replicas' processes have ended by themselves so often is rolled back."""

    @model_validator(mode="after")
    def _moves(self) -> RolloutPolicy:
        if not self.max_surge and not self.max_unavailable:
            raise ValueError("max_surge and max_unavailable are both 0, so no replica could be replaced; raise one")
        return self


class RoutingPolicy(Model):
    """How routers treat a deployment's requests, whichever revision gets them."""

    balancing: BalancingStrategy = BalancingStrategy.ROUND_ROBIN
    session: SessionAffinity = SessionAffinity()
    replica_affinity: bool = False
    """Whether a client stays with a replica as long as it is there."""
    retries: RetryPolicy = RetryPolicy()
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Most requests in flight to one replica. More than that times the ready replicas are answered 503."""
    cold_start_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long a request waits for a replica where none is ready."""


class RevisionWeight(Model):
    """A revision's share of requests."""

    revision: RevisionNumber
    weight: BasisPoints


class TrafficRules(Model):
    """Which requests go to which revision whatever its weight, and which are copied."""

    rules: tuple[RoutingRule, ...] = Field(default=(), max_length=200)
    """The first that matches counts. One whose revision has no replica ready counts for nothing."""
    shadow: ShadowTraffic | None = None
    """A revision that gets copies of requests."""


class DeploymentSecurity(Model):
    """How a deployment's connections are protected."""

    tls_secret: Annotated[OptionalIdentifier, Planned("routers that read secrets")] = ""
    """Secret with the certificate and key of the endpoints' own ports; plain HTTP when empty."""
    client_ca_secret: Annotated[OptionalIdentifier, Planned("routers that read secrets")] = ""
    """Secret with the certificates that clients' certificates must be signed by; clients need none when empty."""
    network: Annotated[NetworkAccess, Planned("node agents that isolate processes")] = NetworkAccess.INTERNET
    """Whom replicas may talk to."""


class DeploymentSpec(Model):
    """A deployment as a user describes it."""

    description: Annotated[str, StringConstraints(max_length=4_000)] = ""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=32)
    """For selecting; the replicas' jobs have them too."""
    annotations: dict[LabelKey, Annotated[str, StringConstraints(max_length=4_096)]] = Field(
        default_factory=dict, max_length=64
    )
    """Notes that come back as they are."""
    tags: tuple[DisplayName, ...] = Field(default=(), max_length=64)
    model: ModelChoice | None = None
    command: Text = ""
    """Program that a replica runs instead of the model server. It listens on the ports that its environment names, such
    as ``FORGELOG_PORT_HTTP``."""
    args: tuple[Text, ...] = Field(default=(), max_length=10_000)
    """Of `command`."""
    ports: tuple[PortName, ...] = Field(default=(), max_length=16)
    """Names of the ports that `command` listens on; empty: ``http``."""
    replicas: ReplicaCount = 1
    """How many there are to be; with `scaling`, how many there are to begin with."""
    scaling: AutoScalingPolicy | None = None
    """How their number follows the load; None: it stays as it is set."""
    alerts: AlertSettings = AlertSettings()
    """What of the deployment alarms, and what is done then."""
    resources: JobResources = JobResources()
    """What each replica needs."""
    environment: JobEnvironment = JobEnvironment()
    """What each replica finds around it."""
    target: DeploymentTarget = DeploymentTarget()
    health: DeploymentHealth = DeploymentHealth()
    serving: ServingOptions = ServingOptions()
    endpoints: tuple[RoutedEndpoint, ...] = Field(default=(), max_length=32)
    """How it can be asked; empty: by REST, and by gRPC where a model server answers."""
    routing: RoutingPolicy = RoutingPolicy()
    rollout: RolloutPolicy = RolloutPolicy()
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """How long a replica that is to go may still answer what it has."""
    observability: DeploymentObservability = DeploymentObservability()
    security: DeploymentSecurity = DeploymentSecurity()

    @model_validator(mode="after")
    def _complete(self) -> DeploymentSpec:
        if self.model is None and not self.command:
            raise ValueError(
                "neither model nor command is given, so there is nothing to run; give one of them, or both"
            )
        if self.args and not self.command:
            raise ValueError("args are given without command; give the program that takes them")
        if self.ports and not self.command:
            raise ValueError("ports are given without command; the model server's are http and grpc")
        if self.command and self.serving != ServingOptions():
            raise ValueError("serving is for the model server, which command replaces; leave one of them out")
        if len(self.environment.variables) > MAX_VARIABLES:
            raise ValueError(f"environment.variables has more than {MAX_VARIABLES}; leave some out")
        if len(set(self.ports)) < len(self.ports):
            raise ValueError("ports has a name twice; give each once")
        names = [endpoint.name for endpoint in self.endpoints]
        if len(set(names)) < len(names):
            raise ValueError("endpoints has a name twice; give each its own")
        if twice := twice_placed(self.endpoints):
            raise ValueError(f"two endpoints have {twice}; give each a path of its own")
        for endpoint in self.endpoints:
            if endpoint.replica_port not in self.port_names():
                raise ValueError(
                    f"endpoint {endpoint.name} has replica_port {endpoint.replica_port}, which is no port of the "
                    f"replicas; theirs are {', '.join(self.port_names())}"
                )
        return self

    def port_names(self) -> tuple[str, ...]:
        """The ports that a replica listens on."""
        if self.command:
            return self.ports or ("http",)
        return ("http", "grpc") if EndpointType.GRPC in self.endpoint_types() else ("http",)

    def endpoint_types(self) -> tuple[EndpointType, ...]:
        """How it can be asked, each once."""
        if self.endpoints:
            return tuple(dict.fromkeys(endpoint.type for endpoint in self.endpoints))
        return (EndpointType.REST,) if self.command else (EndpointType.REST, EndpointType.GRPC)


REPLICA_FIELDS = frozenset(
    {
        "model",
        "command",
        "args",
        "ports",
        "labels",
        "resources",
        "environment",
        "target",
        "health",
        "serving",
        "security",
    }
)
"""Fields of `DeploymentSpec` that replicas are made of, besides its endpoints' types."""


def with_replicas_of(spec: DeploymentSpec, other: DeploymentSpec) -> DeploymentSpec:
    """The spec with replicas as those of the other one."""
    taken = {name: getattr(other, name) for name in (*REPLICA_FIELDS, "endpoints")}
    return spec.model_copy(update=taken)


def changed_fields(old: Model, new: Model, path: str = "") -> list[str]:
    """Paths of what differs, such as ``resources.cpus``."""
    found: list[str] = []
    for name in type(new).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if isinstance(before, Model) and type(before) is type(after):
            found += changed_fields(before, after, f"{path}{name}.")
        else:
            found.append(f"{path}{name}")
    return found


def needs_new_replicas(old: DeploymentSpec, new: DeploymentSpec) -> bool:
    """Whether replicas of the one can't serve for the other. Such an update makes a revision; another one changes the
    deployment as it is."""
    return any(getattr(old, name) != getattr(new, name) for name in REPLICA_FIELDS) or (
        old.endpoint_types() != new.endpoint_types()
    )
