"""A pipeline's life, with its runs, their stages, and its workers. Pure.

DefinePipeline ─► PipelineDefined, a version; PipelineTemplateUsed ─► the same, and PipelineTemplateApplied
ActivatePipeline ─► PipelineActivated
PausePipeline ─► PipelinePaused; ResumePipeline ─► PipelineResumed; RetirePipeline ─► PipelineRetired
RunPipeline ─► RunQueued; CancelRun, PauseRun, ResumeRun, RetryRun ─► `services.pipelines.pipeline.runs`
what follows from the state and the time: `services.pipelines.pipeline.stepping`; ticks, promises and backfills:
`services.pipelines.clock`; versions of datasets, records of topics, files: `services.pipelines.triggers`
WorkerRequested ─► (order) SubmitJob; WorkerReleased ─► (order) CancelJob; ReportWorkerReady ─► WorkerReady
reports of workers about stages: `services.pipelines.pipeline.reports`
events of jobs: `services.pipelines.pipeline.hearing`; of datasets: `services.pipelines.pipeline.commits`
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from events.language.base import Command, Event
from events.language.common import CommandRejected, ErrorCode, absent, refused
from events.language.jobs import (
    CancelJob,
    JobCancelled,
    JobCompleted,
    JobExited,
    JobFailed,
    JobStarted,
    SubmitJob,
)
from events.language.moves import check_move
from events.language.pipelines.commands import (
    ActivatePipeline,
    DefinePipeline,
    OfPipeline,
    PausePipeline,
    ResumePipeline,
    RetirePipeline,
)
from events.language.pipelines.dataset_messages import (
    CommitRefused,
    OfStage,
    SubscriberNotified,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
)
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.events import (
    PipelineActivated,
    PipelineDefined,
    PipelinePaused,
    PipelineResumed,
    PipelineRetired,
)
from events.language.pipelines.moves import PIPELINE_MOVES
from events.language.pipelines.run_commands import (
    CancelRun,
    OfRun,
    PauseRun,
    ReleaseWorker,
    ReportStageEnded,
    ReportStagePrepared,
    ReportStageProgress,
    ReportStagePublished,
    ReportStageResolved,
    ReportStageStarted,
    ReportWorkerReady,
    ResumeRun,
    RetryRun,
    RunPipeline,
    StageReport,
)
from events.language.pipelines.run_events import (
    CommitPostponed,
    CommitRequested,
    CommitWithdrawn,
    ConditionHeld,
    FanOutPlanned,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunQueued,
    RunResumed,
    RunRetried,
    RunStarted,
    RunStopping,
    StageCommitted,
    StageCompleted,
    StageDispatched,
    StageFailed,
    StageProgressed,
    StagePublished,
    StageResolved,
    StageRetrying,
    StageSkipped,
    StageStarted,
    StageStopped,
    StageStopRequested,
    TasksEnded,
    WorkerGone,
    WorkerReady,
    WorkerReleased,
    WorkerRequested,
    WorkerStarted,
)
from events.language.pipelines.schedule_messages import CLOCK_EVENTS, CancelBackfill, StartBackfill
from events.language.pipelines.templates import PipelineTemplateApplied, PipelineTemplateUsed
from events.language.pipelines.trigger_messages import TRIGGER_EVENTS
from events.language.pipelines.watch_messages import WATCH_COMMANDS, WATCH_EVENTS, TriggerReport
from events.process.settings import Settings
from events.writer.decider import BY_ORIGIN, Decider, DecisionContext, Order, Question
from services.pipelines.clock import decide as backfills
from services.pipelines.pipeline import commits, defining, dispatching, hearing, reports, runs, stepping
from services.pipelines.pipeline.fold import evolve
from services.pipelines.pipeline.state import Pipeline
from services.pipelines.refusals import forbidden
from services.pipelines.triggers import firing, watching

_SHOWN = "forgelog pipeline ls shows them"


def _of_pipeline(event: OfStage | SubscriberNotified | PipelineTemplateUsed) -> tuple[str, ...]:
    """The pipeline that an event of a dataset or of a template is for."""
    return (event.pipeline_id,)


class Pipelines(Decider[Pipeline]):
    """The decider of pipelines; its key is the pipeline's id."""

    context = "pipelines"
    aggregate = "pipeline"
    commands = (
        DefinePipeline,
        ActivatePipeline,
        PausePipeline,
        ResumePipeline,
        RetirePipeline,
        RunPipeline,
        CancelRun,
        PauseRun,
        ResumeRun,
        RetryRun,
        StartBackfill,
        CancelBackfill,
        ReportWorkerReady,
        ReleaseWorker,
        ReportStageStarted,
        ReportStageProgress,
        ReportStageResolved,
        ReportStagePrepared,
        ReportStagePublished,
        ReportStageEnded,
        *WATCH_COMMANDS,
    )
    events = (
        PipelineDefined,
        PipelineActivated,
        PipelinePaused,
        PipelineResumed,
        PipelineRetired,
        PipelineTemplateApplied,
        RunQueued,
        RunStarted,
        RunPaused,
        RunResumed,
        RunRetried,
        RunStopping,
        RunCompleted,
        RunFailed,
        RunCancelled,
        ConditionHeld,
        StageDispatched,
        StageStarted,
        StageProgressed,
        StageResolved,
        FanOutPlanned,
        TasksEnded,
        CommitPostponed,
        CommitRequested,
        CommitWithdrawn,
        StageCommitted,
        StagePublished,
        StageCompleted,
        StageRetrying,
        StageFailed,
        StageSkipped,
        StageStopRequested,
        StageStopped,
        WorkerRequested,
        WorkerStarted,
        WorkerReady,
        WorkerReleased,
        WorkerGone,
        *CLOCK_EVENTS,
        *TRIGGER_EVENTS,
        *WATCH_EVENTS,
    )
    routes: ClassVar = {
        **dict.fromkeys((JobStarted, JobExited, JobCompleted, JobFailed, JobCancelled), BY_ORIGIN),
        **dict.fromkeys((VersionCommitted, CommitRefused, VersionPublished, VersionAbandoned), _of_pipeline),
        **dict.fromkeys((SubscriberNotified, PipelineTemplateUsed), _of_pipeline),
    }
    dispatching = frozenset({WorkerRequested, WorkerReleased, StageDispatched})
    asks = ("jobs",)

    def __init__(self, datasets: str = "") -> None:
        """`datasets`: the URL below which datasets are kept; left out, that of the settings that `prepare` gets."""
        self._datasets = datasets

    def prepare(self, settings: Settings) -> None:
        self._datasets = self._datasets or settings.datasets_url

    def initial(self, key: str) -> Pipeline:
        return Pipeline()

    def evolve(self, state: Pipeline, event: Event, time: datetime) -> Pipeline:
        return evolve(state, event, time)

    def holds(self, state: Pipeline, aggregate: str, id: str) -> bool:
        return aggregate != "template_use" and (aggregate != "pipeline_run" or id in state.runs)

    def may_passivate(self, state: Pipeline) -> bool:
        under_way = any(run.status is not PipelineStatus.FAILED for run in state.runs.values())
        return not state.workers and not under_way and stepping.due(state) is None and not stepping.acts(state)

    def decide(self, state: Pipeline, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, DefinePipeline):
            return defining.defined(state, command, context)
        if isinstance(command, StageReport):
            if state.status is None:
                raise absent("pipeline_id", f"there is no pipeline {command.pipeline_id!r}", _SHOWN)
            return reports.reported(state, command, context.project, context.now)
        assert isinstance(command, OfPipeline)
        id = command.pipeline_id
        if isinstance(command, ReportWorkerReady):
            return _ready(state, command)
        if isinstance(command, TriggerReport) and state.status is not None:
            return watching.reported(state, command)
        if state.status in (None, PipelineStatus.CANCELLED):
            if state.status is None:
                raise absent("pipeline_id", f"there is no pipeline {id!r}", _SHOWN)
            raise absent("pipeline_id", f"pipeline {id} is retired", "define it again to use its name")
        match command:
            case RunPipeline():
                return runs.asked(state, command, context)
            case ReleaseWorker():
                return _let_go(state, command)
            case OfRun():
                return runs.steered(state, command, context)
            case StartBackfill():
                return backfills.started(state, command, context)
            case CancelBackfill():
                return _backfill_cancelled(state, command)
            case ActivatePipeline():
                return _activated(state, id)
            case PausePipeline():
                return _paused(state, command)
            case ResumePipeline():
                return _resumed(state, id)
        assert isinstance(command, RetirePipeline)
        return _retired(state, command)

    def react(self, state: Pipeline, event: Event, context: DecisionContext) -> Sequence[Event]:
        if isinstance(event, OfStage):
            return [*commits.heard(state, event, context.now)]
        if isinstance(event, PipelineTemplateUsed):
            return defining.made(state, event)
        if isinstance(event, SubscriberNotified):
            return firing.advanced(state, context.subject, event.dataset_id, event.dataset_version)
        return [*hearing.heard(state, context.subject, event, context.now)]

    def note_quiet(self, state: Pipeline, command: Command, time: datetime) -> None:
        if isinstance(command, ReportStageProgress) and (worker := state.workers.get(command.worker)) is not None:
            worker.heard_at = time

    def on_resume(self, state: Pipeline, now: datetime) -> None:
        for worker in state.workers.values():
            worker.heard_at = now

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        match event:
            case WorkerRequested():
                return [Order(SubmitJob(job_id=event.worker, spec=event.job))]
            case WorkerReleased():
                return [Order(CancelJob(job_id=event.worker, reason=event.reason))]
        assert isinstance(event, StageDispatched)
        return [] if event.job is None else [Order(SubmitJob(job_id=event.worker, spec=event.job))]

    def refused(self, state: Pipeline, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        return [*hearing.refused(state, context.subject, refusal, context.now)]

    def after_batch(self, state: Pipeline, context: DecisionContext) -> Sequence[Event]:
        return stepping.step(state, self._at(state, context))

    def due(self, state: Pipeline) -> datetime | None:
        return stepping.due(state)

    def wake(self, state: Pipeline, context: DecisionContext) -> Sequence[Event]:
        return stepping.step(state, self._at(state, context))

    def _at(self, state: Pipeline, context: DecisionContext) -> stepping.At:
        return stepping.At(context.subject, state.project, context.now, self._datasets)


def _activated(state: Pipeline, id: str) -> Sequence[Event]:
    if state.status is PipelineStatus.ACTIVE:
        return []
    if state.status is PipelineStatus.PAUSED:
        raise forbidden("pipeline_id", f"pipeline {id} is paused", "resume it")
    return [PipelineActivated(pipeline_id=id)]


def _paused(state: Pipeline, command: PausePipeline) -> Sequence[Event]:
    if state.status is PipelineStatus.PAUSED:
        return []
    assert state.status is not None
    id = command.pipeline_id
    check_move(PIPELINE_MOVES, state.status, PipelineStatus.PAUSED, f"pipeline {id}", "pipeline_id")
    return [PipelinePaused(pipeline_id=id, reason=command.reason)]


def _resumed(state: Pipeline, id: str) -> Sequence[Event]:
    if state.status is PipelineStatus.ACTIVE:
        return []
    if state.status is PipelineStatus.DRAFT:
        raise forbidden("pipeline_id", f"pipeline {id} is a draft and not paused", "activate it")
    return [PipelineResumed(pipeline_id=id)]


def _retired(state: Pipeline, command: RetirePipeline) -> Sequence[Event]:
    """Its runs are cancelled, those that have failed are forgotten, and its workers go."""
    id, found = command.pipeline_id, list[Event]()
    for run_id, run in state.runs.items():
        if run.status is not PipelineStatus.FAILED:
            found += runs.cancelled(run, run_id, id, command.reason or "its pipeline is retired")
    return [*found, PipelineRetired(pipeline_id=id, reason=command.reason)]


def _backfill_cancelled(state: Pipeline, command: CancelBackfill) -> Sequence[Event]:
    found = list(backfills.cancelled(state, command))
    reason = command.reason or "its backfill is cancelled"
    for run_id in state.clock.of_backfill(command.number):
        found += runs.cancelled(state.runs[run_id], run_id, command.pipeline_id, reason)
    return found


def _ready(state: Pipeline, command: ReportWorkerReady) -> Sequence[Event]:
    worker = state.workers.get(command.worker)
    if worker is None or worker.released:
        problem = f"{command.worker} is no worker of pipeline {command.pipeline_id} any more"
        raise refused(ErrorCode.ABORTED, "worker", problem, "end")
    return [] if worker.ready else [WorkerReady(pipeline_id=command.pipeline_id, worker=command.worker)]


def _let_go(state: Pipeline, command: ReleaseWorker) -> Sequence[Event]:
    worker = state.workers.get(command.worker)
    if worker is None or not worker.ready or dispatching.idle_until(state, worker) is None:
        return []
    reason = command.reason or "its place is needed"
    return [WorkerReleased(pipeline_id=command.pipeline_id, worker=command.worker, reason=reason)]
