"""What a pipeline is: the values that a user gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DEFAULT_QUEUE, Identifier
from events.language.jobs.spec import EnvName, JobPriority, LabelKey, LabelValue, SecretRef, Text, Toleration
from events.language.objects import ObjectRef
from events.language.pipelines.enums import PipelineEngine
from events.language.pipelines.notifications import MAX_CHANNELS, PipelineNotification, check_channels
from events.language.pipelines.parameters import MAX_PARAMETERS, ParameterName, ParameterSpec
from events.language.pipelines.schedule import Schedule
from events.language.pipelines.sla import Sla
from events.language.pipelines.spark import SparkOptions
from events.language.pipelines.stages import Description, StageSpec
from events.language.pipelines.triggers import Trigger

MAX_STAGES = 1_000
"""Most stages of a pipeline."""

PipelineName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?$", max_length=57),
    Field(examples=["daily-sales"]),
]
"""1 to 57 lower-case letters, digits and hyphens, no hyphen at an end. A name is given once in a project."""

VersionNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which version of its pipeline; the first is 1."""

TemplateRevision = Annotated[int, Field(ge=1, le=1_000_000)]
"""Counts how often a template was defined; the first is 1."""

RunNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which run of its pipeline; the first is 1."""

PIPELINE_LABEL = "forgelog/pipeline"
"""Label of a job that works for a pipeline: its id."""

MAX_REASON = 1_000
"""Most characters of a reason."""

Reason = Annotated[str, StringConstraints(max_length=MAX_REASON)]

Note = Annotated[str, StringConstraints(max_length=4_000)]

Tag = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class WorkerResources(Model):
    """What each of a pipeline's workers has. A stage may use all of it."""

    cpus: float = Field(default=1.0, gt=0, le=4096)
    memory_bytes: int = Field(default=1 << 30, ge=256 << 20, le=1 << 50)
    storage_bytes: int = Field(default=0, ge=0, le=1 << 55)
    """Scratch space on the node's local disk."""


class Execution(Model):
    """How runs are worked on."""

    max_active_runs: int = Field(default=1, ge=1, le=1_000)
    """Runs under way at a time; the others are queued."""
    max_parallel_stages: int = Field(default=100, ge=1, le=1_000)
    """Stages of a run that are worked on at a time."""
    fail_fast: bool = False
    """Whether a run ends at once when a stage of it has failed."""
    max_workers: int = Field(default=4, ge=1, le=1_000)
    """Workers at a time. There are as many as there are stages to work on, at most so many."""
    keep_warm_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How long a worker without a stage stays. It keeps its CPUs and its memory, which other jobs then lack. To a
    worker of another pipeline that finds no place it gives way sooner."""
    silence_seconds: float = Field(default=300.0, ge=10, le=86_400)
    """How long a worker may say nothing of what it works on. Each says every five seconds that it is there, whatever
    the user's code does. One that is silent for so long is taken for lost: another one takes over."""
    worker: WorkerResources = WorkerResources()
    queue: Identifier = DEFAULT_QUEUE
    """Of the jobs that its workers are."""
    priority: JobPriority = JobPriority.NORMAL
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=32)
    """Labels of the nodes that its workers may be on."""
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32)
    variables: dict[EnvName, Text] = Field(default_factory=dict, max_length=900)
    """Of its workers' environment."""
    secrets: tuple[SecretRef, ...] = Field(default=(), max_length=100)
    """For the user's own code; those of connections need not be named again."""


class PipelineSpec(Model):
    """A pipeline: its stages, and how they are run."""

    description: Description = ""
    stages: tuple[StageSpec, ...] = Field(min_length=1, max_length=MAX_STAGES)
    """In any order: what a stage waits for says when it begins."""
    tags: tuple[Tag, ...] = Field(default=(), max_length=100)
    """For people, and for lists."""
    parameters: dict[ParameterName, ParameterSpec] = Field(default_factory=dict, max_length=MAX_PARAMETERS)
    """What its runs may be given."""
    schedule: Schedule | None = None
    """When it runs by the clock."""
    triggers: tuple[Trigger, ...] = Field(default=(), max_length=64)
    """What starts runs beside the clock and people. Each has a name of its own."""
    sla: Sla | None = None
    execution: Execution = Execution()
    code: ObjectRef | None = None
    """The user's own Python: the manifest of a folder's files, which is the working directory of the workers."""
    engine: PipelineEngine = PipelineEngine.DUCKDB
    """What computes the transformations of its stages: with the same results, or Spark refuses."""
    spark: SparkOptions = SparkOptions()
    """Of the engine `spark`."""
    notifications: tuple[PipelineNotification, ...] = Field(default=(), max_length=MAX_CHANNELS)
    """Who is told of what goes wrong."""

    @model_validator(mode="after")
    def _channels_fit(self) -> PipelineSpec:
        check_channels(self.notifications)
        return self


class TemplateRef(Model):
    """A revision of a template."""

    template_id: Identifier
    revision: TemplateRevision


def secrets_of(spec: PipelineSpec) -> list[SecretRef]:
    """Those of the user's code and of all connections, each once."""
    places = [given.source for stage in spec.stages for given in stage.inputs.values()]
    watched = [trigger.topic or trigger.files for trigger in spec.triggers]
    used = (place for place in (*places, *(stage.sink for stage in spec.stages), *watched) if place is not None)
    named = (place.connection.secret for place in used if place.connection.secret is not None)
    return list({(ref.name, ref.env): ref for ref in (*spec.execution.secrets, *named)}.values())


def bundles_of(spec: PipelineSpec) -> list[ObjectRef]:
    """The uploaded folders that its workers, and the jobs that stages of it are, work in."""
    jobs = [stage.job.environment.bundle for stage in spec.stages if stage.job is not None]
    return [each for each in (spec.code, *jobs) if each is not None]
