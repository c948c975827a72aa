"""Commands of runs, and reports of workers. The pipeline decides all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Command
from events.language.common import Attempt, Identifier, Timestamp
from events.language.objects import ObjectRef
from events.language.pipelines.commands import OfPipeline
from events.language.pipelines.commits import AppliedTransformation
from events.language.pipelines.enums import RunTrigger, StageOutcome
from events.language.pipelines.lineage import MAX_LINEAGE_INPUTS, LineageEdges, LineageInput, Location
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.parameters import Parameters
from events.language.pipelines.pipeline import Note, Reason, RunNumber
from events.language.pipelines.quality import MAX_RULES, RuleOutcome
from events.language.pipelines.stages import MAX_TASKS, StageId
from events.language.pipelines.windows import StreamState
from events.language.pipelines.work import StageFailure, StageMetrics, StageOutput

OptionalVersionNumber = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""Which version; 0: the newest one."""

CacheKey = Annotated[str, StringConstraints(pattern=r"^$|^[0-9a-f]{64}$"), Field(examples=["4f" * 32])]
"""Digest of all that a stage's output depends on; empty: it can't be told."""

Task = Annotated[int, Field(ge=0, lt=MAX_TASKS)]


class RunPipeline(OfPipeline):
    """Run a pipeline once. The run waits for its turn."""

    parameters: Parameters = Field(default_factory=dict)
    """Those that are left out have their defaults."""
    pipeline_version: OptionalVersionNumber = 0
    interval_start: Timestamp | None = None
    """What stretch of time the run is about; given with `interval_end`."""
    interval_end: Timestamp | None = None
    trigger: RunTrigger = RunTrigger.MANUAL
    """`manual` or `api`."""
    debug: bool = False
    """Whether its stages write into their logs what they read and the queries that they run. A stage that is a job has
    the variable ``FORGELOG_DEBUG``."""
    note: Note = ""
    """What it is for, for people."""

    @model_validator(mode="after")
    def _whole(self) -> RunPipeline:
        if self.trigger not in (RunTrigger.MANUAL, RunTrigger.API):
            raise ValueError(f"trigger is {self.trigger}; a run that is asked for is manual or api")
        if (self.interval_start is None) is not (self.interval_end is None):
            raise ValueError("interval_start and interval_end go together; give both")
        start, end = self.interval_start, self.interval_end
        if start is not None and end is not None and start >= end:
            raise ValueError("interval_start is not before interval_end; exchange them")
        return self


class OfRun(OfPipeline):
    number: RunNumber
    """Of the run."""


class CancelRun(OfRun):
    """End a run: what waits is skipped, what runs is stopped."""

    reason: Reason = ""


class PauseRun(OfRun):
    """Let no further stage of a run begin until it is resumed."""

    reason: Reason = ""


class ResumeRun(OfRun):
    """Go on with a run that is paused."""


class RetryRun(OfRun):
    """Go on with a run that has failed: what failed is done again, what has completed is kept."""


class ReportWorkerReady(OfPipeline):
    """From a worker: it waits for stages."""

    worker: Identifier


class ReleaseWorker(OfPipeline):
    """Let a worker go before its time, if it has nothing to do: another one waits for its place. Of one that works, or
    is gone, nothing changes."""

    worker: Identifier
    reason: Reason = ""


class StageReport(Command):
    """What a worker tells of a stage. One about an attempt that is not its own any more is refused as ``aborted``."""

    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline_run"
    subject_from: ClassVar[str] = "run_id"
    decided_by: ClassVar[str] = "pipeline"
    key_from: ClassVar[str] = "pipeline_id"

    run_id: Identifier
    pipeline_id: Identifier
    stage_id: StageId
    attempt: Attempt
    worker: Identifier


class ReportStageStarted(StageReport):
    """It has begun with the attempt. Its time limit runs from here on."""


class ReportStageProgress(StageReport):
    """How far it is."""

    quiet: ClassVar[bool] = True

    metrics: StageMetrics
    """So far."""


class ReportStagePrepared(StageReport):
    """What the stage writes is aside, whole and durable, and asks to be committed."""

    manifest: CommitManifest
    quarantine: CommitManifest | None = None
    """The rows that rules have set aside; None if there are none."""
    outcomes: tuple[RuleOutcome, ...] = Field(default=(), max_length=2 * MAX_RULES)
    """Of the stage's rules and of the dataset's."""
    inputs: tuple[LineageInput, ...] = Field(default=(), max_length=MAX_LINEAGE_INPUTS)
    lineage: LineageEdges = LineageEdges()
    transformations: tuple[AppliedTransformation, ...] = Field(default=(), max_length=1_000)
    """In their order."""
    streams: Annotated[tuple[StreamState, ...], Field(max_length=100)] = ()
    """Of inputs with windows: what is left to the next batch."""
    metrics: StageMetrics = StageMetrics()

    def objects(self) -> Sequence[tuple[str, ObjectRef]]:
        given = (("manifest", self.manifest), ("quarantine", self.quarantine))
        return [
            (f"{name}.files_object", each.files_object)
            for name, each in given
            if each is not None and each.files_object is not None
        ]


class ReportStagePublished(StageReport):
    """What is committed is in its place."""

    dataset_version: Annotated[int, Field(ge=1, le=1_000_000_000)]
    location: Location = ""
    """Where it is, as a URI without credentials."""
    already: bool = False
    """Whether it was there already, since an earlier attempt had got so far."""
    superseded: bool = False
    """Whether a later version is there, so that this one was left out."""
    metrics: StageMetrics = StageMetrics()


class ReportStageResolved(StageReport):
    """It is known what the inputs are now."""

    cache_key: CacheKey = ""
    count: Annotated[int, Field(ge=0, le=MAX_TASKS)] = 0
    """Of a stage that is done for each of something: how many tasks there are."""
    items: ObjectRef | None = None
    """What they are for: a list of texts as JSON."""


class ReportStageEnded(StageReport):
    """The attempt has ended, or its tasks of a range have."""

    outcome: StageOutcome
    output: StageOutput | None = None
    failure: StageFailure | None = None
    """Of one that failed; of a range, of its first task that failed."""
    metrics: StageMetrics = StageMetrics()
    outcomes: tuple[RuleOutcome, ...] = Field(default=(), max_length=2 * MAX_RULES)
    """Of rules that were evaluated."""
    streams: Annotated[tuple[StreamState, ...], Field(max_length=100)] = ()
    """Of inputs with windows: what is left to the next batch."""
    first_task: Task | None = None
    """Of a range of tasks: where it begins."""
    failed_tasks: tuple[Task, ...] = Field(default=(), max_length=MAX_TASKS)
    """Those of the range that failed; the others have completed."""

    @model_validator(mode="after")
    def _whole(self) -> ReportStageEnded:
        failed = self.outcome is StageOutcome.FAILED
        if failed is not (self.failure is not None):
            raise ValueError("failure says why an attempt failed; give it with the outcome failed, and only then")
        if self.failed_tasks and self.first_task is None:
            raise ValueError("failed_tasks is given without first_task; say of which range they are")
        return self
