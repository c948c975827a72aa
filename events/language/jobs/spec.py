"""What a user says of a job: the models of module 1 (job management) and their bounds.

Fields marked `Planned` are refused until something acts on them (see `events.language.planned`); larger groups of them
have modules of their own (`spec_placement`, `spec_isolation`, `spec_training`, `spec_monitoring`);
`spec_service` has what makes a job a service.
`JobSpec` is the body of a manifest and of `SubmitJob`. `QueueRequest` and `JobLaunch` are the two cuts of it that
travel on: what the scheduler must know, and what the node agent must know to start a process.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import (
    DEFAULT_QUEUE,
    MAX_ARRAY_TASKS,
    DisplayName,
    Identifier,
    ResourceVector,
    Timestamp,
)
from events.language.jobs.spec_isolation import ContainerImage, JobSecurity, UserName, VolumeMount
from events.language.jobs.spec_monitoring import JobMonitoring
from events.language.jobs.spec_placement import GPURequirements, JobPreemption, JobTiming, TopologyRequirements
from events.language.jobs.spec_service import ServiceSpec, port_variable
from events.language.jobs.spec_training import JobCheckpointing, JobDistributed
from events.language.objects import ObjectRef
from events.language.path_patterns import PathPatternList
from events.language.planned import Planned


class JobStatus(StrEnum):
    """Where a job or one of its tasks is in its life. The allowed moves are in `JOB_MOVES`.

    The summary names the first and the last of twelve, `pending` and `migrating`; the others are what batch systems
    (Slurm, Kubernetes, Ray) tell apart: waiting, placed, preparing, running, interrupted, ended.
    """

    PENDING = "pending"
    """Accepted; waits for its dependencies."""
    QUEUED = "queued"
    """Ready; waits for capacity (or for its back-off to pass)."""
    SCHEDULED = "scheduled"
    """Has an allocation on a node."""
    STARTING = "starting"
    """The node prepares it (image, inputs)."""
    RUNNING = "running"
    """Its process runs."""
    CHECKPOINTING = "checkpointing"
    """Runs and saves its state."""
    PAUSED = "paused"
    """Its process is stopped and keeps its place."""
    PREEMPTED = "preempted"
    """Stopped to make room; goes back to the queue."""
    COMPLETED = "completed"
    """Ended with exit code 0."""
    FAILED = "failed"
    """Ended otherwise, and no further attempt is allowed."""
    CANCELLED = "cancelled"
    """Ended by request, or because a dependency can't hold any more."""
    MIGRATING = "migrating"
    """Moves to another node from a checkpoint."""


class JobPriority(StrEnum):
    """Seven levels; `PRIORITY_WEIGHT` gives their numbers, from 0 (`scavenger`) to 1000 (`critical`)."""

    SCAVENGER = "scavenger"
    BEST_EFFORT = "best_effort"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"
    CRITICAL = "critical"


PRIORITY_WEIGHT: dict[JobPriority, int] = {
    JobPriority.SCAVENGER: 0,
    JobPriority.BEST_EFFORT: 100,
    JobPriority.LOW: 250,
    JobPriority.NORMAL: 500,
    JobPriority.HIGH: 750,
    JobPriority.URGENT: 900,
    JobPriority.CRITICAL: 1000,
}

Text = Annotated[str, StringConstraints(max_length=131_072)]
"""An argument or value handed to a process; at most 128 KiB (Linux MAX_ARG_STRLEN)."""

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]

LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,63}$")]


class JobMetadata(Model):
    """Who the job is, for people."""

    name: DisplayName
    description: Annotated[str, StringConstraints(max_length=4000)] = ""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=64)
    """For selecting: affinity rules and queries compare them."""
    annotations: dict[LabelKey, Annotated[str, StringConstraints(max_length=4096)]] = Field(
        default_factory=dict, max_length=64
    )
    """Notes that come back as they are; nothing selects by them."""


class JobResources(Model):
    """What each task needs, on one node."""

    cpus: float = Field(default=1.0, gt=0, le=4096)
    """Logical CPUs; fractions allowed."""
    memory_bytes: int = Field(default=256 << 20, ge=1 << 20, le=1 << 50)
    gpus: int = Field(default=0, ge=0, le=1024)
    gpu_type: Annotated[str, StringConstraints(max_length=100)] = ""
    """Model a GPU must be, such as ``H200``; any when empty. Compared without case, as a part of the device's name."""
    gpu_memory_bytes: int = Field(default=0, ge=0, le=1 << 45)
    """Least memory of each GPU."""
    storage_bytes: int = Field(default=0, ge=0, le=1 << 55)
    """Scratch space on the node's local disk."""
    network_mbps: int = Field(default=0, ge=0, le=10_000_000)
    exclusive: bool = False
    """The node must run nothing else."""
    gpu_requirements: Annotated[GPURequirements | None, Planned("scheduling by GPU capability and topology")] = None
    topology: Annotated[TopologyRequirements | None, Planned("scheduling by hardware topology")] = None

    @model_validator(mode="after")
    def _gpus_for_gpu_fields(self) -> JobResources:
        if not self.gpus and (self.gpu_type or self.gpu_memory_bytes or self.gpu_requirements):
            raise ValueError("gpus is 0 but a GPU's type, memory or requirements are given; ask for at least one GPU")
        return self


class SecretRef(Model):
    """A secret by name: its value is read on the node from the agent's secrets folder and never logged."""

    name: Identifier
    """File in the agent's secrets folder."""
    env: EnvName | None = None
    """Environment variable that gets the value; when left out, the variable ``FORGELOG_SECRETS`` names a private folder
    with a file of this name."""


class JobEnvironment(Model):
    """What the process finds around it."""

    variables: dict[EnvName, Text] = Field(default_factory=dict, max_length=1000)
    secrets: tuple[SecretRef, ...] = Field(default=(), max_length=100)
    working_directory: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Absolute path on the node; the task's own fresh folder when empty."""
    container: Annotated[ContainerImage | None, Planned("the container executor")] = None
    volumes: Annotated[tuple[VolumeMount, ...], Planned("the container executor")] = Field(default=(), max_length=64)
    user: Annotated[UserName, Planned("node agents that may switch users")] = ""
    """Name of the user the processes run as; the agent's own when empty."""
    group: Annotated[UserName, Planned("node agents that may switch users")] = ""
    working_directory_id: Annotated[str, StringConstraints(max_length=200)] = ""
    """Identifies the folder that the submitter sees under `working_directory`. A node that sees another folder there,
    or none, then runs the task in its own fresh folder; without this it can't start it when there is no folder."""
    bundle: ObjectRef | None = None
    """Names the manifest of a folder that was uploaded. The task runs in its own copy of that folder. Goes with no
    `working_directory`."""


class RestartMode(StrEnum):
    """After which end of a task it is run again."""

    NEVER = "never"
    """Never (but see `RestartPolicy.restart_lost`)."""
    ON_FAILURE = "on_failure"
    """After a non-zero exit, a signal or a timeout."""
    ALWAYS = "always"
    """Also after success: a service. Ends only by cancel, or after `max_restarts` if that is a number."""


class RestartPolicy(Model):
    """When a task is run again, and how long to wait: ``backoff_seconds * 2**(n-1)``, at most `max_backoff_seconds`."""

    mode: RestartMode = RestartMode.NEVER
    max_restarts: int | None = Field(default=3, ge=0, le=1000)
    """Without bound when null. The pauses then begin anew after an attempt that ran for 60 s."""
    backoff_seconds: float = Field(default=1.0, ge=0, le=3600)
    max_backoff_seconds: float = Field(default=300.0, ge=0, le=86_400)
    restart_lost: bool = True
    """A task whose node was lost is run again even with mode `never`. That does not count against `max_restarts`; each
    such restart waits longer than the one before (1 s, 2 s, 4 s ... 5 minutes)."""


class MatchOperator(StrEnum):
    """How a label is compared."""

    IN = "in"
    """Its value is one of `values`."""
    NOT_IN = "not_in"
    """Its value is none of `values`, or there is none."""
    EXISTS = "exists"
    DOES_NOT_EXIST = "does_not_exist"


class LabelMatch(Model):
    """A condition on one label of a node."""

    key: LabelKey
    operator: MatchOperator = MatchOperator.IN
    values: tuple[LabelValue, ...] = Field(default=(), max_length=100)


class TaintEffect(StrEnum):
    """What a taint does to jobs that do not tolerate it."""

    NO_SCHEDULE = "no_schedule"
    """They are not placed there."""
    PREFER_NO_SCHEDULE = "prefer_no_schedule"
    """They are placed there last."""
    NO_EXECUTE = "no_execute"
    """They are not placed there, and those that run there are stopped."""


class Toleration(Model):
    """Lets a job onto nodes with a matching taint; an empty key tolerates every taint."""

    key: LabelKey | None = None
    value: LabelValue | None = None
    effect: TaintEffect | None = None


class JobAffinity(Model):
    """Placement near or away from jobs with given labels; `topology_key` names the node label that is the unit
    (``hostname`` is every node by itself)."""

    labels: dict[LabelKey, LabelValue] = Field(min_length=1, max_length=16)
    topology_key: LabelKey = "hostname"
    required: bool = True
    """False makes it a preference."""
    anti: bool = False
    """True keeps away."""


class JobScheduling(Model):
    """Where and when a job may run."""

    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=32)
    node_affinity: tuple[LabelMatch, ...] = Field(default=(), max_length=32)
    """All must hold."""
    preferred_nodes: tuple[LabelMatch, ...] = Field(default=(), max_length=32)
    """Each that holds adds to a node's score."""
    job_affinity: tuple[JobAffinity, ...] = Field(default=(), max_length=16)
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32)
    max_runtime_seconds: float | None = Field(default=None, gt=0, le=31_536_000)
    """The process is stopped after this long."""
    grace_seconds: float = Field(default=10.0, ge=0, le=3600)
    """Between TERM and KILL."""
    restart: RestartPolicy = RestartPolicy()
    timing: Annotated[JobTiming | None, Planned("scheduling with deadlines and time windows")] = None
    preemption: Annotated[JobPreemption | None, Planned("scheduling with preemption")] = None


class DependencyKind(StrEnum):
    """How the other job must end."""

    AFTER_OK = "after_ok"
    """Completed."""
    AFTER_ANY = "after_any"
    """In any way."""
    AFTER_NOT_OK = "after_not_ok"
    """Failed or cancelled."""


class JobDependency(Model):
    """This job waits for another, which must have been submitted before."""

    job_id: Identifier
    kind: DependencyKind = DependencyKind.AFTER_OK


class JobArray(Model):
    """Runs the command once for each task number 0..size-1 (``FORGELOG_TASK``)."""

    size: int = Field(ge=1, le=MAX_ARRAY_TASKS)
    max_parallel: int | None = Field(default=None, ge=1, le=1_000_000)
    """Most tasks at once; no limit when left out."""


class JobSpec(Model):
    """A job as a user describes it."""

    metadata: JobMetadata
    command: Annotated[Text, Field(min_length=1)]
    """Program to run; looked up on the node's PATH. No shell is involved."""
    args: tuple[Text, ...] = Field(default=(), max_length=10_000)
    queue: Identifier = DEFAULT_QUEUE
    priority: JobPriority = JobPriority.NORMAL
    array: JobArray | None = None
    depends_on: tuple[JobDependency, ...] = Field(default=(), max_length=100)
    resources: JobResources = JobResources()
    environment: JobEnvironment = JobEnvironment()
    scheduling: JobScheduling = JobScheduling()
    keep: PathPatternList = ()
    """Which files of a task's working folder are kept when the task has ended, however it ended: ``results/**``."""
    service: ServiceSpec | None = None
    """Others call this job: its ports, its probes, and how it is drained. `scheduling.restart` is apart from it."""
    monitoring: Annotated[JobMonitoring | None, Planned("telemetry")] = None
    checkpointing: Annotated[JobCheckpointing | None, Planned("the checkpoint store")] = None
    distributed: Annotated[JobDistributed | None, Planned("gang scheduling")] = None
    security: Annotated[JobSecurity | None, Planned("node agents that isolate processes")] = None
    experimental_features: Annotated[tuple[Identifier, ...], Planned("features that are on trial")] = Field(
        default=(), max_length=64
    )
    """Names of features on trial this job takes part in."""
    feature_flags: Annotated[dict[Identifier, bool], Planned("features that are on trial")] = Field(
        default_factory=dict, max_length=64
    )
    """Features on trial, switched on or off for this job."""
    debug_mode: Annotated[bool, Planned("debugging of running jobs")] = False
    """Keep more: the task's folder after success, traces of every step."""

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        security = self.security
        if security is not None and security.run_as_user is not None and self.environment.user:
            raise ValueError("environment.user and security.run_as_user name the same thing; give one of them")
        if security is not None and security.run_as_group is not None and self.environment.group:
            raise ValueError("environment.group and security.run_as_group name the same thing; give one of them")
        if self.distributed is not None and self.array is not None and self.distributed.rank is not None:
            raise ValueError("distributed.rank can't be the same for every task of an array; leave it out")
        if self.service is not None:
            taken = self.environment.variables.keys() & {"FORGELOG_ADDRESS", *map(port_variable, self.service.ports)}
            if taken:
                raise ValueError(f"environment.variables sets {min(taken)}, which its node sets; leave it out")
        return self


class QueueRequest(Model):
    """The scheduler's cut of a job."""

    queue: Identifier
    priority: JobPriority
    submitted_at: Timestamp
    name: DisplayName
    labels: dict[str, str] = Field(default_factory=dict)
    resources: JobResources
    scheduling: JobScheduling
    max_parallel: int | None = Field(default=None, ge=1, le=1_000_000)


class JobLaunch(Model):
    """The node agent's cut of a job: all it needs to start and end a process."""

    name: DisplayName
    command: str
    args: tuple[str, ...] = ()
    environment: JobEnvironment
    array_size: int = Field(ge=1, le=MAX_ARRAY_TASKS)
    grace_seconds: float = Field(ge=0)
    max_runtime_seconds: float | None = None
    keep: PathPatternList = ()
    service: ServiceSpec | None = None


def task_request(resources: JobResources) -> ResourceVector:
    """One task's request as a vector."""
    return ResourceVector(
        cpus=resources.cpus,
        memory_bytes=resources.memory_bytes,
        gpus=resources.gpus,
        storage_bytes=resources.storage_bytes,
        network_mbps=resources.network_mbps,
    )
