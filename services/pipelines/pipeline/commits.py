"""What a dataset's decisions mean for the stage whose output they are about. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
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
from events.language.pipelines.run_events import StageCommitted, StageCompleted
from events.language.pipelines.work import FailureKind, StageFailure, StageOutput
from services.pipelines.pipeline.failures import failed
from services.pipelines.pipeline.state import Pipeline, Run, Stage

_AGAIN = frozenset({CommitRefusal.RULES, CommitRefusal.BUSY})
"""Refusals that another attempt may not meet."""


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
    kind = FailureKind.RULE if event.cause is CommitRefusal.QUALITY else FailureKind.COMMIT
    failure = StageFailure(kind=kind, field="sink", problem=event.reason or f"refused: {event.cause}")
    again, changed = event.cause in _AGAIN, event.cause is CommitRefusal.RULES
    assert stage.commit is not None, "it was asked for"
    outcomes = stage.commit.outcomes
    return failed(state, run, names, failure, now, outcomes=outcomes, retried=again, excused=changed)


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
