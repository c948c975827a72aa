"""What a pipeline remembers of itself, its runs, their stages, and its workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import Field

from events.language.objects import ObjectRef
from events.language.pipelines.arrivals import ArrivedFiles, TopicBatch
from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.enums import PipelineStatus, RunTrigger, StageStatus, StopReason
from events.language.pipelines.pipeline import PipelineSpec, TemplateRef
from events.language.pipelines.windows import StreamState
from events.language.pipelines.work import StageFailure, StageMetrics, StageOutput
from services.pipelines.clock.state import Clock
from services.pipelines.pipeline.graphs import Graph
from services.pipelines.triggers.state import Triggers

KEPT_VERSIONS = 3
"""Versions that can be run although there are newer ones."""
KEPT_FAILED = 10
"""Failed runs that can be retried."""
KEPT_RESULTS = 200
"""Results of stages that are found again by their key."""

ENDED = frozenset({StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.SKIPPED})
LIVE = frozenset({PipelineStatus.RUNNING, PipelineStatus.PAUSED})


@dataclass(slots=True)
class Range:
    """Tasks of a stage that a worker has."""

    last: int
    worker: str
    since: datetime
    """When it became the worker's turn: it was dispatched, and the worker's range before it had ended."""


@dataclass(slots=True)
class Tasks:
    """The tasks of a stage that is done for each of something."""

    count: int
    items: ObjectRef | None = None
    waiting: list[list[int]] = field(default_factory=list)
    """Ranges that no worker has: first and last."""
    running: dict[int, Range] = field(default_factory=dict)
    """By the first task."""
    begun: set[str] = field(default_factory=set)
    """Workers that have begun with one."""
    failed: list[int] = field(default_factory=list)
    """In this attempt."""
    failure: StageFailure | None = None
    outputs: list[tuple[int, StageOutput]] = field(default_factory=list)
    """By the first task of their range."""
    task_seconds: float = 0.0
    """What a task takes, as the last ranges tell; 0: not known."""


@dataclass(slots=True)
class Stage:
    """A stage of a run that could begin at least."""

    status: StageStatus = StageStatus.PENDING
    attempt: int = 0
    """The last one; 0 before the first."""
    worker: str = ""
    """Which has the attempt; empty if none has."""
    admitted: bool = False
    """Whether its condition held."""
    excused: bool = False
    """Whether it was skipped without anything having failed, or its failure does not count."""
    kept_skip: bool = False
    """Whether it stays skipped when the run is retried."""
    dispatched_at: datetime | None = None
    started_at: datetime | None = None
    """Of the attempt."""
    progressed_at: datetime | None = None
    retry_at: datetime | None = None
    retries: int = 0
    """Those that count."""
    losses: int = 0
    resolved: bool = False
    cache_key: str = ""
    commit: CommitRequest | None = None
    """What was asked of its dataset."""
    ask_at: datetime | None = None
    """When its dataset is asked again, which had no room to decide."""
    postponed: int = 0
    """How often it had none."""
    dataset_version: int = 0
    """The version that its output is; 0: not decided."""
    publishing: bool = False
    """Whether a worker was told to publish that version: a part of it may be in its place."""
    published: bool = False
    tasks: Tasks | None = None
    outputs: list[StageOutput] = field(default_factory=list)
    metrics: StageMetrics = field(default_factory=StageMetrics)
    streams: tuple[StreamState, ...] = ()
    """Of inputs with windows: what is true once `commit` is published."""


@dataclass(slots=True)
class Run:
    """A run that has not ended, or has failed and may be retried."""

    number: int
    version: int
    trigger: RunTrigger
    queued_at: datetime
    trigger_id: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    rank: int = 0
    debug: bool = False
    topics: tuple[TopicBatch, ...] = ()
    files: tuple[ArrivedFiles, ...] = ()
    status: PipelineStatus = PipelineStatus.QUEUED
    started_at: datetime | None = None
    stopping: StopReason | None = None
    """Why nothing of it begins any more. It ends once what is being published is in its place."""
    stop_reason: str = ""
    datasets: dict[str, int] = field(default_factory=dict)
    """Of what a trigger started it for: dataset → the version that its stages see at least."""
    stages: dict[str, Stage] = field(default_factory=dict)
    open: int = 0
    """How many stages have not ended."""
    ready: list[str] = field(default_factory=list)
    """Stages that may begin."""
    unneeded: dict[str, str] = field(default_factory=dict)
    """Stages to be skipped, and why."""
    busy: list[str] = field(default_factory=list)
    """Stages that are worked on, or wait for a worker amid their work."""
    retrying: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    """The last attempts of stages that are open again after a retry: no number comes twice."""


@dataclass(slots=True)
class Assigned:
    """What a worker has to do."""

    run_id: str
    stage_id: str
    attempt: int
    first_task: int | None = None


@dataclass(slots=True)
class Worker:
    """A worker whose job has not ended."""

    number: int
    version: int
    """Of the pipeline, whose code it has."""
    requested_at: datetime
    run_id: str = ""
    """Of a worker for one stage: the run."""
    stage_id: str = ""
    ready: bool = False
    assigned: list[Assigned] = field(default_factory=list)
    stopping: Assigned | None = None
    """An attempt that it was told to stop, and has not said that it did."""
    stop_by: datetime | None = None
    idle_since: datetime | None = None
    released: bool = False
    started_at: datetime | None = None
    """When its process started."""
    hung: str = ""
    """Why it was released, if it had started and did not get ready in time."""
    is_job: bool = False
    """Whether it is a stage's own command, and no program of ours."""
    watches: bool = False
    """Whether it watches topics and files, and does no stage."""
    watching: list[str] = field(default_factory=list)
    """The triggers that it was told of."""
    heard_at: Annotated[datetime | None, Field(exclude=True)] = field(default=None, compare=False)
    """When it last said that it is at work. Not in the log: whoever takes the pipeline over gives it the whole time
    anew."""


@dataclass(slots=True)
class Result:
    """What a stage made, by the key of all that it depends on."""

    run_id: str
    outputs: list[StageOutput]


@dataclass(slots=True)
class Pipeline:
    """A pipeline as its events tell it."""

    status: PipelineStatus | None = None
    """None until it is defined."""
    name: str = ""
    project: str = ""
    version: int = 0
    """The newest one. Numbers go on when a retired pipeline's name is used again."""
    spec: PipelineSpec | None = None
    """Of the newest version."""
    parent: str = ""
    template: TemplateRef | None = None
    """What it was made of last."""
    specs: dict[int, PipelineSpec] = field(default_factory=dict)
    """Of versions that are kept for runs."""
    runs: dict[str, Run] = field(default_factory=dict)
    last_run: int = 0
    workers: dict[str, Worker] = field(default_factory=dict)
    last_worker: int = 0
    worker_failures: int = 0
    """Workers in a row that ended before they were ready."""
    worker_retry_at: datetime | None = None
    """No worker is asked for before then."""
    results: dict[str, Result] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    triggers: Triggers = field(default_factory=Triggers)
    graphs: Annotated[dict[int, Graph], Field(exclude=True)] = field(default_factory=dict, compare=False)
    """By version; made when they are needed."""
    under_way: Annotated[dict[str, None] | None, Field(exclude=True)] = field(default=None, compare=False)
    """Ids of the runs under way: each step asks for them, and thousands may wait. Made when it is needed."""

    def graph(self, version: int) -> Graph:
        """The graph of a version that is kept."""
        found = self.graphs.get(version)
        if found is None:
            found = self.graphs[version] = Graph.of(self.specs[version])
        return found

    def live(self) -> Iterator[tuple[str, Run]]:
        """Runs under way."""
        if self.under_way is None:
            self.under_way = {id: None for id, run in self.runs.items() if run.status in LIVE}
        for id in self.under_way:
            yield id, self.runs[id]

    def move(self, id: str, run: Run, status: PipelineStatus) -> None:
        """A run stands otherwise from now on."""
        run.status = status
        if self.under_way is not None:
            if status in LIVE:
                self.under_way[id] = None
            else:
                self.under_way.pop(id, None)

    def spec_of(self, run: Run) -> PipelineSpec:
        return self.specs[run.version]
