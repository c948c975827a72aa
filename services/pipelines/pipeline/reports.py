"""What workers report of stages, and what it means for the run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from events.language.base import Event
from events.language.common import ErrorCode, invalid, refused
from events.language.pipelines.commits import CommitRequest, place_label
from events.language.pipelines.enums import StageOutcome, StageStatus
from events.language.pipelines.run_commands import (
    ReportStageEnded,
    ReportStagePrepared,
    ReportStageProgress,
    ReportStagePublished,
    ReportStageResolved,
    ReportStageStarted,
    StageReport,
)
from events.language.pipelines.run_events import (
    CommitRequested,
    FanOutPlanned,
    StageCompleted,
    StageProgressed,
    StagePublished,
    StageResolved,
    StageStarted,
    StageStopped,
    TasksEnded,
)
from events.language.pipelines.stages import MAX_TASKS
from events.language.pipelines.work import FailureKind, StageFailure, StageOutput
from events.log.ids import named_id
from services.pipelines.pipeline.failures import failed
from services.pipelines.pipeline.state import Assigned, Pipeline, Run, Stage

PROGRESS_SECONDS = 10.0
"""Between two events that say how far an attempt is."""

_LAST = (ReportStageEnded, ReportStagePrepared, ReportStagePublished)
"""With the first of these a worker is done with what it was told, as with what it has resolved. One that was on its way
when the attempt was stopped is the only answer: the worker has nothing to stop any more."""


def reported(state: Pipeline, command: StageReport, project: str, now: datetime) -> Sequence[Event]:
    """The events of a report. Raises Refused for one about an attempt that is not its sender's."""
    names: dict[str, Any] = {
        "run_id": command.run_id,
        "pipeline_id": command.pipeline_id,
        "stage_id": command.stage_id,
    }
    about = {**names, "attempt": command.attempt, "worker": command.worker}
    worker = state.workers.get(command.worker)
    told = Assigned(command.run_id, command.stage_id, command.attempt)
    if worker is not None and worker.stopping == told:
        if isinstance(command, ReportStageResolved):
            return [StageStopped(**about)]
        if not isinstance(command, _LAST):
            raise _stale(command, "is to be stopped")
        return [StageStopped(**about, metrics=command.metrics)]
    run, stage = _attempt(state, command)
    match command:
        case ReportStageStarted():
            return [] if _has_begun(stage, command.worker) else [StageStarted(**about)]
        case ReportStageProgress():
            if stage.tasks is not None or stage.publishing:
                return []  # its figures are not those of the stage's work: it says only that it is there
            since = stage.progressed_at or stage.started_at
            if since is not None and now - since < timedelta(seconds=PROGRESS_SECONDS):
                return []
            return [StageProgressed(**about, metrics=command.metrics)]
        case ReportStageResolved():
            return _resolved(state, run, stage, command, about)
        case ReportStagePrepared():
            return [
                CommitRequested(
                    **about,
                    commit=_commit(state, run, command, project),
                    streams=command.streams,
                    metrics=command.metrics,
                )
            ]
        case ReportStagePublished():
            return _published(stage, command, about)
    assert isinstance(command, ReportStageEnded)
    if command.first_task is not None:
        return _tasks_ended(stage, command, command.first_task, about)
    return _ended(state, run, stage, command, names, about, now)


def _attempt(state: Pipeline, command: StageReport) -> tuple[Run, Stage]:
    """The attempt that a report is about. Raises Refused."""
    run = state.runs.get(command.run_id)
    if run is None:
        raise _stale(command, "belongs to a run that has ended")
    stage = run.stages.get(command.stage_id)
    if stage is None or stage.status is not StageStatus.RUNNING or stage.attempt != command.attempt:
        raise _stale(command, "is over")
    worker = state.workers.get(command.worker)
    mine = (command.run_id, command.stage_id, command.attempt)
    has = worker is not None and any(
        (each.run_id, each.stage_id, each.attempt) == mine
        and (not isinstance(command, ReportStageEnded) or each.first_task == command.first_task)
        for each in worker.assigned
    )
    if not has:
        raise _stale(command, "is not this worker's")
    return run, stage


def _has_begun(stage: Stage, worker: str) -> bool:
    """Whether that is known already; of tasks, for each worker."""
    return stage.started_at is not None if stage.tasks is None else worker in stage.tasks.begun


def _stale(command: StageReport, why: str) -> Exception:
    problem = f"attempt {command.attempt} of stage {command.stage_id} in run {command.run_id} {why}"
    return refused(ErrorCode.ABORTED, "attempt", problem, "drop its result")


def _resolved(
    state: Pipeline, run: Run, stage: Stage, command: ReportStageResolved, about: dict[str, Any]
) -> Sequence[Event]:
    spec = state.graph(run.version).stages[command.stage_id]
    if stage.resolved or stage.tasks is not None:
        return []
    if spec.for_each is not None:
        return [FanOutPlanned(**about, count=command.count, items=command.items)]
    known = state.results.get(command.cache_key) if command.cache_key else None
    if known is not None and len(known.outputs) == 1:
        return [StageCompleted(**about, output=known.outputs[0], cache_key=command.cache_key, cached_from=known.run_id)]
    return [StageResolved(**about, cache_key=command.cache_key)]


def _commit(state: Pipeline, run: Run, command: ReportStagePrepared, project: str) -> CommitRequest:
    sink = state.graph(run.version).stages[command.stage_id].sink
    if sink is None:
        raise invalid("stage_id", f"stage {command.stage_id} has no sink, and nothing to commit", "report its end")
    return CommitRequest(
        dataset_id=_dataset_id(sink.dataset or sink.id, command.manifest.base, project),
        pipeline_id=command.pipeline_id,
        pipeline_version=run.version,
        run_id=command.run_id,
        stage_id=command.stage_id,
        attempt=command.attempt,
        manifest=command.manifest,
        quarantine=command.quarantine,
        outcomes=command.outcomes,
        inputs=command.inputs,
        lineage=command.lineage,
        transformations=command.transformations,
    )


def _dataset_id(dataset: str, base: str, project: str) -> str:
    """The dataset that a sink writes: one of the platform, or a place outside under a name that its location gives."""
    name = dataset or place_label(base)
    return name if "." in name else named_id(name, project)


def _published(stage: Stage, command: ReportStagePublished, about: dict[str, Any]) -> Sequence[Event]:
    if stage.commit is None or stage.dataset_version != command.dataset_version:
        problem = f"is {command.dataset_version}, and version {stage.dataset_version} is to be published"
        raise invalid("dataset_version", problem, "publish that one")
    if stage.published:
        return []
    return [
        StagePublished(
            **about,
            dataset_id=stage.commit.dataset_id,
            dataset_version=command.dataset_version,
            location=command.location,
            already=command.already,
            superseded=command.superseded,
            metrics=command.metrics,
        )
    ]


def _tasks_ended(stage: Stage, command: ReportStageEnded, first: int, about: dict[str, Any]) -> Sequence[Event]:
    tasks = stage.tasks
    assert tasks is not None, "a range is assigned once tasks are planned"
    last = tasks.running[first].last
    if strays := [each for each in command.failed_tasks if not first <= each <= last]:
        raise invalid("failed_tasks", f"has task {strays[0]}, and the range is {first} to {last}", "name those of it")
    bad = tuple(range(first, last + 1)) if command.outcome is not StageOutcome.COMPLETED else ()
    tasks_failed = command.failed_tasks or bad
    assert len(tasks_failed) <= MAX_TASKS
    return [
        TasksEnded(
            **about,
            first_task=first,
            last_task=last,
            failed_tasks=tasks_failed,
            failure=command.failure,
            output=command.output,
            metrics=command.metrics,
        )
    ]


def _ended(
    state: Pipeline,
    run: Run,
    stage: Stage,
    command: ReportStageEnded,
    names: dict[str, Any],
    about: dict[str, Any],
    now: datetime,
) -> Sequence[Event]:
    metrics, outcomes = command.metrics, command.outcomes
    match command.outcome:
        case StageOutcome.COMPLETED:
            spec = state.graph(run.version).stages[command.stage_id]
            if spec.sink is not None:
                problem = "is completed, and the stage's sink has no version of its output"
                raise invalid("outcome", problem, "report that it is prepared")
            output = command.output or StageOutput()
            return [
                StageCompleted(
                    **about,
                    output=output,
                    metrics=metrics,
                    outcomes=outcomes,
                    cache_key=stage.cache_key,
                    streams=command.streams,
                )
            ]
        case StageOutcome.CANCELLED:
            failure = StageFailure(kind=FailureKind.LOST, problem="its worker has given it up")
        case StageOutcome.FAILED:
            assert command.failure is not None, "the command says why"
            failure = command.failure
    return [failed(state, run, names, failure, now, worker=command.worker, metrics=metrics, outcomes=outcomes)]
