"""Runs: how they are asked for, paused, cancelled and retried. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from events.language.base import Event
from events.language.common import ErrorCode, Refused, absent, invalid, refused
from events.language.moves import check_move
from events.language.pipelines.checks import summary
from events.language.pipelines.clock.ticks import ScheduleError, latest_interval
from events.language.pipelines.enums import PipelineStatus, RunTrigger, SkipReason, StageStatus, StopReason
from events.language.pipelines.moves import RUN_MOVES
from events.language.pipelines.parameters import bound
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_commands import CancelRun, OfRun, PauseRun, ResumeRun, RetryRun, RunPipeline
from events.language.pipelines.run_events import (
    CommitWithdrawn,
    RunCancelled,
    RunPaused,
    RunQueued,
    RunResumed,
    RunRetried,
    RunStopping,
    StageSkipped,
    StageStopRequested,
)
from events.log.ids import child_id
from events.writer.decider import DecisionContext
from services.pipelines.pipeline.state import Pipeline, Run
from services.pipelines.refusals import forbidden
from services.pipelines.triggers import batches

_MOST_QUEUED = 10_000
"""Runs that may wait."""


def run_id_of(pipeline_id: str, number: int, project: str) -> str:
    """The id of a run."""
    return child_id(pipeline_id, str(number), project)


def queued(
    state: Pipeline,
    id: str,
    project: str,
    *,
    trigger: RunTrigger,
    trigger_id: str = "",
    parameters: Mapping[str, str] | None = None,
    interval_start: datetime | None = None,
    interval_end: datetime | None = None,
    rank: int = 0,
    version: int = 0,
    debug: bool = False,
    note: str = "",
    number: int = 0,
) -> RunQueued:
    """A run more. `parameters` are all that have a value. `number`: of the run, where several are asked for at once."""
    number = number or state.last_run + 1
    version = version or state.version
    # Of runs that are queued together the first one takes what waits of topics and files.
    watched = state.triggers, state.specs[version]
    other = number != state.last_run + 1
    return RunQueued(
        run_id=run_id_of(id, number, project),
        pipeline_id=id,
        number=number,
        pipeline_version=version,
        trigger=trigger,
        trigger_id=trigger_id,
        parameters=dict(parameters or {}),
        interval_start=interval_start,
        interval_end=interval_end,
        rank=rank,
        debug=debug,
        note=note,
        topics=batches.of_topics(*watched, empty=other),
        files=batches.of_files(*watched, empty=other),
    )


def asked(state: Pipeline, command: RunPipeline, context: DecisionContext) -> Sequence[Event]:
    """A run that somebody asks for."""
    version = command.pipeline_version or state.version
    spec = state.specs.get(version)
    if spec is None:
        kept = ", ".join(str(each) for each in sorted(state.specs))
        raise absent("pipeline_version", f"version {version} is not kept", f"those that can be run are {kept}")
    values, errors = bound(spec.parameters, command.parameters)
    if errors:
        raise Refused(ErrorCode.INVALID_ARGUMENT, summary(errors, "the run"), errors)
    if sum(run.status is PipelineStatus.QUEUED for run in state.runs.values()) >= _MOST_QUEUED:
        problem = f"{_MOST_QUEUED} runs of pipeline {command.pipeline_id} wait already"
        raise refused(
            ErrorCode.RESOURCE_EXHAUSTED, "pipeline_id", problem, "wait until some have ended, or cancel some"
        )
    start, end = _interval(spec, command, context.now)
    return [
        queued(
            state,
            command.pipeline_id,
            context.project,
            trigger=command.trigger,
            trigger_id=context.id[:256],
            parameters=values,
            interval_start=start,
            interval_end=end,
            version=version,
            debug=command.debug,
            note=command.note,
        )
    ]


def _interval(spec: PipelineSpec, command: RunPipeline, now: datetime) -> tuple[datetime, datetime] | tuple[None, None]:
    """The interval that a run is about: the one that is given, or the schedule's latest one that is over."""
    if command.interval_start is not None and command.interval_end is not None:
        return command.interval_start, command.interval_end
    if spec.schedule is None:
        return None, None
    try:
        latest = latest_interval(spec.schedule, now)
    except ScheduleError:
        return None, None  # the schedule is broken, and a run by hand is not about it
    return (None, None) if latest is None else (latest.start, latest.end)


def steered(state: Pipeline, command: OfRun, context: DecisionContext) -> Sequence[Event]:
    """Commands about a run."""
    run_id = run_id_of(command.pipeline_id, command.number, context.project)
    names = {"run_id": run_id, "pipeline_id": command.pipeline_id}
    run = state.runs.get(run_id)
    if run is None:
        if command.number > state.last_run:
            raise absent("number", f"there is no run {command.number}", "forgelog pipeline runs shows them")
        if isinstance(command, CancelRun):
            return []
        problem = f"run {command.number} has ended" + (" and is not kept" if isinstance(command, RetryRun) else "")
        raise forbidden("number", problem, "run the pipeline again")
    what = f"run {command.number}"
    match command:
        case CancelRun():
            if run.status is PipelineStatus.FAILED:
                # Records of a topic wait for it: they are given up, and later ones go on.
                held = state.triggers.holds(run_id)
                return [RunCancelled(**names, reason=command.reason)] if held else []
            return cancelled(run, run_id, command.pipeline_id, command.reason)
        case PauseRun() | ResumeRun() if run.stopping is not None:
            problem = f"{what} is ending, and waits only for what it has begun to publish"
            raise forbidden("number", problem, "wait for its end")
        case PauseRun():
            if run.status is PipelineStatus.PAUSED:
                return []
            check_move(RUN_MOVES, run.status, PipelineStatus.PAUSED, what, "number")
            return [RunPaused(**names, reason=command.reason)]
        case ResumeRun():
            if run.status is PipelineStatus.RUNNING:
                return []
            if run.status is not PipelineStatus.PAUSED:
                raise forbidden("number", f"{what} is {run.status} and not paused", "pause only what runs")
            return [RunResumed(**names)]
    assert isinstance(command, RetryRun)
    if run.status is not PipelineStatus.FAILED:
        raise forbidden("number", f"{what} is {run.status} and has not failed", "retry a run once it has failed")
    if run.version not in state.specs:
        raise invalid("number", f"version {run.version} of the pipeline is not kept", "run the pipeline again")
    return [RunRetried(**names)]


def cancelled(run: Run, run_id: str, pipeline_id: str, reason: str) -> list[Event]:
    """The end of a run on request, or what comes before it."""
    if run.stopping is StopReason.CANCELLED:
        return []
    names = {"run_id": run_id, "pipeline_id": pipeline_id}
    found = stopped(run, run_id, pipeline_id, StopReason.CANCELLED, SkipReason.CANCELLED)
    if is_publishing(run):
        return [RunStopping(**names, cause=StopReason.CANCELLED, reason=reason), *found]
    return [*found, RunCancelled(**names, reason=reason)]


def is_publishing(run: Run) -> bool:
    """Whether a version of the run is being published. Its dataset waits for it, so the run has to end with that."""
    return any(run.stages[id].publishing for id in (*run.busy, *run.retrying))


def stopped(run: Run, run_id: str, pipeline_id: str, why: StopReason, skip: SkipReason) -> list[Event]:
    """Workers stop what they do of a run, and the stages that had begun are skipped: but for those which are being
    published. What nobody was told to publish is withdrawn from its dataset."""
    names = {"run_id": run_id, "pipeline_id": pipeline_id}
    found: list[Event] = []
    for stage_id in [*run.busy, *run.retrying]:
        stage = run.stages[stage_id]
        if stage.publishing:
            continue
        about = {**names, "stage_id": stage_id}
        workers = [stage.worker] if stage.worker else []
        if stage.tasks is not None:
            workers += dict.fromkeys(each.worker for each in stage.tasks.running.values())
        found += [StageStopRequested(**about, attempt=stage.attempt, worker=worker, reason=why) for worker in workers]
        if stage.commit is not None:
            found.append(CommitWithdrawn(**about, attempt=stage.attempt, dataset_id=stage.commit.dataset_id))
        if stage.status in (StageStatus.RUNNING, StageStatus.RETRYING):
            found.append(StageSkipped(**about, reason=skip, metrics=stage.metrics))
    return found
