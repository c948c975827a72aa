"""What a dataset's decisions mean for the stage whose output they are about. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from events.language.base import Event
from events.language.pipelines.dataset_messages import (
    CommitRefusal,
    CommitRefused,
    OfStage,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
)
from events.language.pipelines.enums import StageStatus
from events.language.pipelines.run_events import CommitPostponed, CommitRequested, StageCommitted, StageCompleted
from events.language.pipelines.work import FailureKind, StageFailure, StageOutput
from services.pipelines.pipeline.failures import failed
from services.pipelines.pipeline.state import Pipeline, Run, Stage

LEAST_WAIT, MOST_WAIT = 1.0, 30.0
"""Seconds before a dataset that had no room is asked again."""


def heard(state: Pipeline, event: OfStage, now: datetime) -> Iterator[Event]:
    """What an event of a dataset means, if it is about the attempt that the stage is at."""
    run = state.runs.get(event.run_id)
    stage = run.stages.get(event.stage_id) if run is not None else None
    if run is None or stage is None or stage.status is not StageStatus.RUNNING or stage.commit is None:
        return
    names = {"run_id": event.run_id, "pipeline_id": event.pipeline_id, "stage_id": event.stage_id}
    match event:
        case VersionCommitted():
            if event.attempt == stage.commit.attempt and not stage.dataset_version:
                yield _committed(names, stage, event.dataset_id, event.dataset_version)
        case CommitRefused():
            if event.attempt == stage.commit.attempt and not stage.dataset_version:
                yield _refused(state, run, stage, names, event, now)
        case VersionPublished():
            if event.dataset_version == stage.dataset_version:
                yield _completed(names, stage, event)
        case VersionAbandoned():
            if event.dataset_version == stage.dataset_version:
                problem = f"version {event.dataset_version} of {event.dataset_id} is abandoned: {event.reason}"
                failure = StageFailure(kind=FailureKind.COMMIT, field="sink", problem=problem)
                yield failed(state, run, names, failure, now, retried=False)


def _committed(names: dict[str, Any], stage: Stage, dataset_id: str, version: int) -> StageCommitted:
    return StageCommitted(**names, attempt=stage.attempt, dataset_id=dataset_id, dataset_version=version)


def _refused(
    state: Pipeline, run: Run, stage: Stage, names: dict[str, Any], event: CommitRefused, now: datetime
) -> Event:
    if event.cause is CommitRefusal.STALE and event.dataset_version:
        return _committed(names, stage, event.dataset_id, event.dataset_version)  # it has to be published all the same
    if event.cause is CommitRefusal.BUSY:
        return _postponed(state, run, stage, names, event, now)
    kind = FailureKind.RULE if event.cause is CommitRefusal.QUALITY else FailureKind.COMMIT
    failure = StageFailure(kind=kind, field="sink", problem=event.reason or f"refused: {event.cause}")
    changed = event.cause is CommitRefusal.RULES  # another attempt may not meet that
    assert stage.commit is not None, "it was asked for"
    outcomes = stage.commit.outcomes
    return failed(state, run, names, failure, now, outcomes=outcomes, retried=changed, excused=changed)


def _postponed(
    state: Pipeline, run: Run, stage: Stage, names: dict[str, Any], event: CommitRefused, now: datetime
) -> Event:
    """The output is aside and stays so: the dataset is asked again about it, as long as the stage may take."""
    limit = state.graph(run.version).stages[event.stage_id].timeout_seconds
    wait = now + timedelta(seconds=min(MOST_WAIT, LEAST_WAIT * 2 ** min(stage.postponed, 16)))
    if limit is not None and stage.started_at is not None:
        end = stage.started_at + timedelta(seconds=limit)
        if end <= now:
            failure = StageFailure(
                kind=FailureKind.TIMEOUT,
                field="timeout_seconds",
                problem=f"{event.dataset_id} took no version within the stage's {limit:g} seconds: {event.reason}"[
                    :4_000
                ],
                remedy=f"see what it waits for: forgelog pipeline datasets show {event.dataset_id}",
            )
            return failed(state, run, names, failure, now)
        wait = min(wait, end)
    about = {"attempt": stage.attempt, "dataset_id": event.dataset_id, "reason": event.reason}
    return CommitPostponed(**names, **about, ask_at=wait)


def asked_again(state: Pipeline, id: str, now: datetime) -> list[Event]:
    """Requests to datasets that had no room for them, and whose time has come."""
    found: list[Event] = []
    for run_id, run in state.live():
        for stage_id in run.busy:
            stage = run.stages[stage_id]
            if stage.commit is None or stage.ask_at is None or stage.ask_at > now:
                continue
            about = {"run_id": run_id, "pipeline_id": id, "stage_id": stage_id, "attempt": stage.attempt}
            found.append(CommitRequested(**about, commit=stage.commit, streams=stage.streams, metrics=stage.metrics))
    return found


def _completed(names: dict[str, Any], stage: Stage, event: VersionPublished) -> StageCompleted:
    assert stage.commit is not None, "it was asked for"
    manifest = stage.commit.manifest
    output = StageOutput(
        rows=manifest.rows,
        columns=manifest.columns,
        dataset_id=event.dataset_id,
        dataset_version=event.dataset_version,
    )
    return StageCompleted(
        **names,
        attempt=stage.attempt,
        output=output,
        metrics=stage.metrics,
        outcomes=stage.commit.outcomes,
        cache_key=stage.cache_key,
        streams=stage.streams,
    )
