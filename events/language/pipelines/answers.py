"""Pipelines as queries answer them; their tables have these fields as columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, ProjectName, Timestamp
from events.language.pipelines.enums import PipelineStatus, RunTrigger, StagePhase, StageStatus
from events.language.pipelines.parameters import Parameters
from events.language.pipelines.pipeline import PipelineSpec, TemplateRef
from events.language.pipelines.quality import RuleOutcome
from events.language.pipelines.watch_messages import TroubleKind
from events.language.pipelines.work import StageFailure, StageMetrics, StageOutput

_Count = Annotated[int, Field(ge=0, lt=1 << 31)]


class TriggerTrouble(Model):
    """What keeps a trigger from starting runs."""

    trigger: Identifier
    kind: TroubleKind
    reason: str
    """With what to do."""


class StreamProgress(Model):
    """How far the windows of a stage's input are, after the last batch that was completed."""

    trigger: Identifier
    """What gives the stage its batches."""
    stage_id: Identifier
    input: str
    topic: str
    url: str
    """Where the topic is."""
    run_id: Identifier
    """Of the last batch."""
    at: Timestamp
    """When that was completed."""
    batch: _Count
    """How many batches there were."""
    watermark: Timestamp | None = None
    """Windows that end then or before are complete; None: none is."""
    held_by: _Count | None = None
    """The partition that holds the watermark back; None: all are idle."""
    open_windows: _Count = 0
    """Windows that have rows and are not complete."""
    next_end: Timestamp | None = None
    """When the first of them ends: what the watermark has to reach next."""
    held_rows: Annotated[int, Field(ge=0)] = 0
    """Rows that are kept for windows that are open, or may be updated."""
    late_rows: Annotated[int, Field(ge=0)] = 0
    """Rows that came after their window was complete, of all batches."""


class Pipeline(Model):
    """A pipeline, with its newest version."""

    pipeline_id: Identifier
    project: ProjectName
    name: str
    owner: str
    """Who defined its newest version."""
    status: PipelineStatus
    reason: str = ""
    """Why it is paused or retired."""
    version: _Count = 0
    """The number of its newest version."""
    spec: PipelineSpec
    note: str = ""
    parent: str = ""
    """The pipeline that it was made from; empty if it was copied from none."""
    template: TemplateRef | None = None
    """The template that it was made of; None: of none."""
    stages: _Count = 0
    """How many stages it has."""
    runs: _Count = 0
    """How many runs it has had."""
    last_run_status: PipelineStatus | None = None
    """How the run stands, or ended, that was queued or ended last."""
    last_run_at: Timestamp | None = None
    last_tick: Timestamp | None = None
    """When its schedule fired last."""
    skipped_ticks: _Count = 0
    """How many ticks came and did not fire."""
    schedule_problem: str = ""
    """Why its schedule can't be computed; empty: it can."""
    sla_misses: _Count = 0
    """How many promises were not kept."""
    trigger_troubles: tuple[TriggerTrouble, ...] = ()
    """Of triggers that start no runs now; the others do."""
    stream_progress: tuple[StreamProgress, ...] = ()
    """How far inputs with windows are."""
    created_at: Timestamp
    updated_at: Timestamp
    retired_at: Timestamp | None = None


class PipelineVersion(Model):
    """A version of a pipeline. It never changes."""

    pipeline_id: Identifier
    version: _Count
    project: ProjectName
    spec: PipelineSpec
    note: str = ""
    parent: str = ""
    template: TemplateRef | None = None
    """The template that the pipeline was made of by then."""
    author: str
    defined_at: Timestamp


class PipelineRun(Model):
    """A run of a pipeline."""

    run_id: Identifier
    pipeline_id: Identifier
    number: _Count
    project: ProjectName
    pipeline_version: _Count
    status: PipelineStatus
    reason: str = ""
    """Why it is paused, has failed or was cancelled."""
    trigger: RunTrigger
    trigger_id: str = ""
    requester: str
    """Who it acts for."""
    parameters: Parameters
    interval_start: Timestamp | None = None
    interval_end: Timestamp | None = None
    debug: bool = False
    note: str = ""
    stages: _Count = 0
    """How many stages have begun or ended."""
    completed: _Count = 0
    failed: _Count = 0
    skipped: _Count = 0
    running: _Count = 0
    current_stages: tuple[str, ...] = ()
    """Those that are worked on."""
    retries: _Count = 0
    """Attempts that failed and were tried again."""
    rows_read: Annotated[int, Field(ge=0)] = 0
    """Rows of its stages' inputs: see `StageMetrics`."""
    rows_written: Annotated[int, Field(ge=0)] = 0
    bytes_read: Annotated[int, Field(ge=0)] = 0
    bytes_written: Annotated[int, Field(ge=0)] = 0
    rejected_rows: Annotated[int, Field(ge=0)] = 0
    """Rows that rules have set aside."""
    cpu_seconds: float = 0.0
    """Of CPUs that its stages used."""
    memory_byte_seconds: float = 0.0
    """Peak memory of each stage times its duration."""
    inputs: tuple[str, ...] = ()
    """Datasets, and places outside, that it has read."""
    outputs: tuple[str, ...] = ()
    """Datasets that it has written, each with its version: ``clean-orders/3``."""
    queued_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    updated_at: Timestamp


class StageRun(Model):
    """A stage of a run that has begun, or was skipped."""

    run_id: Identifier
    stage_id: str
    pipeline_id: Identifier
    project: ProjectName
    status: StageStatus
    attempt: _Count = 0
    """The last one."""
    reason: str = ""
    """Why it was skipped, is tried again or has failed."""
    failure: StageFailure | None = None
    worker: str = ""
    """The job that has, or had, the last attempt."""
    phase: StagePhase | None = None
    task_count: _Count = 0
    """Of a stage that is done for each of something: how many there are."""
    tasks_completed: _Count = 0
    tasks_failed: _Count = 0
    metrics: StageMetrics = StageMetrics()
    """Of the last attempt; where its log is, too."""
    output: StageOutput | None = None
    outcomes: tuple[RuleOutcome, ...] = ()
    """Of rules that were evaluated."""
    dataset_id: str = ""
    """What it writes."""
    dataset_version: _Count = 0
    location: str = ""
    cached_from: str = ""
    """The run whose result was taken."""
    dispatched_at: Timestamp | None = None
    started_at: Timestamp | None = None
    retry_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    updated_at: Timestamp


class PipelineWorker(Model):
    """A worker of a pipeline."""

    worker: Identifier
    """The job that it is."""
    pipeline_id: Identifier
    project: ProjectName
    pipeline_version: _Count
    """Whose code it has."""
    stage_id: str = ""
    """Of a worker for one stage."""
    watches: bool = False
    """Whether it watches topics and files for triggers, and does no stage."""
    ready: bool = False
    reason: str = ""
    """Why it has ended, or is to end."""
    requested_at: Timestamp
    started_at: Timestamp | None = None
    """When its process started."""
    ready_at: Timestamp | None = None
    released_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    updated_at: Timestamp
