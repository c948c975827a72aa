"""Events of runs, their stages, and workers. The pipeline decides all of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Event, Model
from events.language.common import Attempt, Identifier, OptionalIdentifier, Timestamp
from events.language.jobs.spec import JobSpec
from events.language.objects import ObjectRef
from events.language.pipelines.arrivals import ArrivedFiles, TopicBatch
from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.enums import RunTrigger, SkipReason, StagePhase, StopReason
from events.language.pipelines.events import PipelineEvent
from events.language.pipelines.lineage import Location
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.parameters import Parameters
from events.language.pipelines.pipeline import Note, Reason, RunNumber, VersionNumber
from events.language.pipelines.quality import MAX_RULES, RuleOutcome
from events.language.pipelines.run_commands import CacheKey, Task
from events.language.pipelines.stages import MAX_TASKS, InputName, OptionalStageId, StageId
from events.language.pipelines.windows import StreamState
from events.language.pipelines.work import StageFailure, StageMetrics, StageOutput

Rank = Annotated[int, Field(ge=0, le=1_000)]
"""Of runs that wait, those of the least rank come first, and of these the oldest."""

OptionalDatasetVersion = Annotated[int, Field(ge=0, le=1_000_000_000)]


class RunEvent(Event):
    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline_run"
    subject_from: ClassVar[str] = "run_id"
    decided_by: ClassVar[str] = "pipeline"
    key_from: ClassVar[str] = "pipeline_id"

    run_id: Identifier
    pipeline_id: Identifier


class RunQueued(RunEvent):
    """There is such a run from here on. It waits for its turn."""

    begins: ClassVar[bool] = True

    number: RunNumber
    pipeline_version: VersionNumber
    trigger: RunTrigger
    trigger_id: Annotated[str, Field(max_length=256)] = ""
    """What asked for it: a command, a tick, a trigger's name, a backfill."""
    parameters: Parameters = Field(default_factory=dict)
    """All that have a value, defaults included."""
    interval_start: Timestamp | None = None
    interval_end: Timestamp | None = None
    rank: Rank = 0
    debug: bool = False
    note: Note = ""
    topics: Annotated[tuple[TopicBatch, ...], Field(max_length=64)] = ()
    """What it reads of each topic that the pipeline watches. All its attempts read just that."""
    files: Annotated[tuple[ArrivedFiles, ...], Field(max_length=64)] = ()
    """The files that have arrived for it, of each trigger."""


class RunStarted(RunEvent):
    """Its stages are worked on from here on."""


class RunPaused(RunEvent):
    """No further stage of it begins."""

    reason: Reason = ""


class RunResumed(RunEvent):
    """Its stages begin again."""


class RunRetried(RunEvent):
    """It goes on after it had failed. Stages that failed wait for another attempt; those that were skipped because of
    them are open again."""


class RunStopping(RunEvent):
    """It is to end, and nothing of it begins any more. Its end waits for the versions that workers have begun to
    publish."""

    cause: StopReason
    """Cancelled, or another stage has failed (`fail_fast`): as it then ends."""
    reason: Reason = ""


class RunEnded(RunEvent):
    """What the three ends of a run share."""

    reason: Reason = ""


class RunCompleted(RunEnded):
    """Each of its stages has completed or was skipped, and none failed."""


class RunFailed(RunEnded):
    """A stage of it has failed."""


class RunCancelled(RunEnded):
    """It was ended on request."""


class StageEvent(RunEvent):
    stage_id: StageId


class ConditionHeld(StageEvent):
    """The stage could begin, and its condition was true."""


class GivenInput(Model):
    """What one of a stage's inputs is."""

    name: InputName
    output: StageOutput


class StageDispatched(StageEvent):
    """A worker is to do this of a stage. It has all that the worker needs but the stage's description, which is in the
    version of the pipeline."""

    attempt: Attempt
    worker: Identifier
    """The job that the worker is."""
    phase: StagePhase = StagePhase.RUN
    pipeline_version: VersionNumber
    parameters: Parameters = Field(default_factory=dict)
    interval_start: Timestamp | None = None
    interval_end: Timestamp | None = None
    debug: bool = False
    topics: Annotated[tuple[TopicBatch, ...], Field(max_length=64)] = ()
    """What it reads of topics that the pipeline watches."""
    streams: Annotated[tuple[StreamState, ...], Field(max_length=100)] = ()
    """Of inputs with windows: what the batch before has left."""
    files: Annotated[tuple[ArrivedFiles, ...], Field(max_length=64)] = ()
    """The files that its sources read which name a trigger."""
    inputs: tuple[GivenInput, ...] = Field(default=(), max_length=MAX_TASKS)
    """The outputs of other stages that it takes. Several of one name are parts, to be read one after the other."""
    datasets: dict[Identifier, OptionalDatasetVersion] = Field(default_factory=dict, max_length=300)
    """What a trigger started the run for, and what stages of the run have published: of each dataset, the version that
    is there at least when the newest one is read. Tables that lack it are behind."""
    first_task: Task | None = None
    """Of a range of tasks: the first one."""
    last_task: Task | None = None
    items: ObjectRef | None = None
    """What its tasks are for: a list of texts as JSON; None of a count."""
    manifest: CommitManifest | None = None
    """What is to be published."""
    quarantine: CommitManifest | None = None
    dataset_id: OptionalIdentifier = ""
    """The dataset whose version is to be published."""
    dataset_version: OptionalDatasetVersion = 0
    job: JobSpec | None = None
    """Of a stage that is a job: the job, whose id `worker` is."""


class AttemptEvent(StageEvent):
    attempt: Attempt
    worker: OptionalIdentifier = ""


class StageStarted(AttemptEvent):
    """The worker has begun with the attempt."""


class StageProgressed(AttemptEvent):
    """How far the attempt is. There is one at most every ten seconds."""

    metrics: StageMetrics


class StageResolved(AttemptEvent):
    """It is known what the stage's inputs are now, and that it was not done with them before."""

    cache_key: CacheKey = ""


class FanOutPlanned(AttemptEvent):
    """The stage has so many tasks."""

    count: Annotated[int, Field(ge=0, le=MAX_TASKS)]
    items: ObjectRef | None = None
    """What they are for: a list of texts as JSON; None of a count, of texts of its description, and of rows."""


class TasksEnded(AttemptEvent):
    """A range of the stage's tasks has ended."""

    first_task: Task
    last_task: Task
    failed_tasks: tuple[Task, ...] = Field(default=(), max_length=MAX_TASKS)
    failure: StageFailure | None = None
    """Of the first task that failed."""
    output: StageOutput | None = None
    """Of those that have completed."""
    metrics: StageMetrics = StageMetrics()


class CommitRequested(AttemptEvent):
    """The stage's output is aside. The dataset decides whether it becomes a version."""

    commit: CommitRequest
    streams: Annotated[tuple[StreamState, ...], Field(max_length=100)] = ()
    """Of inputs with windows: what is left to the next batch, once the stage has completed."""
    metrics: StageMetrics = StageMetrics()


class CommitPostponed(AttemptEvent):
    """Too much waits for the dataset's decision already. It is asked again, about the same output."""

    dataset_id: Identifier
    reason: Reason = ""
    ask_at: Timestamp
    """Not before then."""


class CommitWithdrawn(AttemptEvent):
    """The stage is stopped, and its output need not become a version. No worker was told to publish it, so nothing of
    it is in its place: the dataset need not wait for it."""

    dataset_id: Identifier


class StageCommitted(AttemptEvent):
    """The stage's output is a version of its dataset. It is to be published."""

    dataset_id: Identifier
    dataset_version: Annotated[int, Field(ge=1, le=1_000_000_000)]


class StagePublished(AttemptEvent):
    """The version is in its place."""

    dataset_id: Identifier
    dataset_version: Annotated[int, Field(ge=1, le=1_000_000_000)]
    location: Location = ""
    already: bool = False
    superseded: bool = False
    """Nothing was put there: a newer version is in its place."""
    metrics: StageMetrics = StageMetrics()


class StageCompleted(AttemptEvent):
    """The stage has its output."""

    output: StageOutput = StageOutput()
    metrics: StageMetrics = StageMetrics()
    outcomes: tuple[RuleOutcome, ...] = Field(default=(), max_length=2 * MAX_RULES)
    cache_key: CacheKey = ""
    cached_from: OptionalIdentifier = ""
    """The run whose result was taken; empty: it was worked on."""
    streams: Annotated[tuple[StreamState, ...], Field(max_length=100)] = ()
    """Of inputs with windows: what the next batch begins with."""


class StageRetrying(AttemptEvent):
    """The attempt has failed; the next one follows."""

    failure: StageFailure
    retry_at: Timestamp
    """Not before then."""
    counted: bool = True
    """Whether it is one of the retries that the stage has. The first losses of a worker are not."""
    metrics: StageMetrics = StageMetrics()
    outcomes: tuple[RuleOutcome, ...] = Field(default=(), max_length=2 * MAX_RULES)


class StageFailed(AttemptEvent):
    """The stage has failed for good."""

    failure: StageFailure
    metrics: StageMetrics = StageMetrics()
    outcomes: tuple[RuleOutcome, ...] = Field(default=(), max_length=2 * MAX_RULES)


class StageSkipped(StageEvent):
    """The stage is not done."""

    reason: SkipReason
    message: Reason = ""
    """More of why, for people."""
    failure: StageFailure | None = None
    """Of one whose failure does not count."""
    metrics: StageMetrics = StageMetrics()


class StageStopRequested(AttemptEvent):
    """The worker is to stop the attempt."""

    reason: StopReason


class StageStopped(AttemptEvent):
    """The worker has stopped the attempt, and is free."""

    metrics: StageMetrics = StageMetrics()


class WorkerEvent(PipelineEvent):
    worker: Identifier
    """The job that it is."""


class WorkerRequested(WorkerEvent):
    """There is to be one worker more."""

    number: Annotated[int, Field(ge=1, le=1_000_000_000)]
    pipeline_version: VersionNumber
    """Whose code it has."""
    job: JobSpec
    run_id: OptionalIdentifier = ""
    """Of a worker for one stage: the run."""
    stage_id: OptionalStageId = ""
    """The stage that it is for; empty: for any."""
    attempt: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    watches: bool = False
    """Whether it watches topics and files for triggers, and does no stage."""


class WorkerStarted(WorkerEvent):
    """Its process has started, and gets ready."""


class WorkerReady(WorkerEvent):
    """It waits for stages."""


class WorkerReleased(WorkerEvent):
    """It is not needed any more, or does not answer: its job is cancelled."""

    reason: Reason = ""
    hung: bool = False
    """Whether its process had started, and it did not get ready in time: a start that failed."""


class WorkerGone(WorkerEvent):
    """Its job has ended, or was never taken. The stages that it had are lost."""

    reason: Reason = ""
