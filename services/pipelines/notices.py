"""What people are told of pipelines and datasets. Pure folds.

A run that ended, a promise that was not kept, a broken schedule and a breached rule are told by the channels that the
pipeline has then; a stale dataset and an odd number of rows by those of the dataset's contract. What a rule found is
told once for an attempt: of the request for a version, or of the stage's end where there was none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from events.language.base import Message
from events.language.jobs.spec_monitoring import AlertSeverity
from events.language.pipelines.dataset_messages import DatasetStale, VolumeAnomaly
from events.language.pipelines.notifications import PipelineMoment, PipelineNotification
from events.language.pipelines.quality import QualitySeverity, RuleOutcome
from events.language.pipelines.run_events import (
    CommitRequested,
    RunCompleted,
    RunFailed,
    StageCompleted,
    StageEvent,
    StageFailed,
    StageSkipped,
)
from events.language.pipelines.schedule_messages import ScheduleBroken, SlaMissed
from events.language.pipelines.work import FailureKind
from events.log.envelope import Recorded
from events.notices import rows as notices
from events.notices.rows import NOTICES
from events.process.instants import instant
from events.projections.projection import Key, Row, Rows, Table
from services.pipelines.dataset.rows import DATASETS
from services.pipelines.pipeline.rows import PIPELINES

_OF_PIPELINE = (
    RunFailed,
    RunCompleted,
    SlaMissed,
    ScheduleBroken,
    CommitRequested,
    StageFailed,
    StageSkipped,
    StageCompleted,
)
_MOST_RULES = 3


class Told(NamedTuple):
    """What there is to tell."""

    moment: PipelineMoment
    severity: AlertSeverity
    title: str
    summary: str
    details: dict[str, Any]


def touched(recorded: Recorded) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    event = recorded.data
    if isinstance(event, _OF_PIPELINE):
        yield PIPELINES, (event.pipeline_id,)
        yield NOTICES, (recorded.meta.id,)
    elif isinstance(event, DatasetStale | VolumeAnomaly):
        yield DATASETS, (event.dataset_id,)
        yield NOTICES, (recorded.meta.id,)


def put(recorded: Recorded, rows: Rows) -> None:
    """Write what people are told of an event."""
    event = recorded.data
    if isinstance(event, DatasetStale | VolumeAnomaly):
        _of_dataset(recorded, event, rows)
        return
    if not isinstance(event, _OF_PIPELINE):
        return
    pipeline: Any = rows.get(PIPELINES, (event.pipeline_id,))
    channels = pipeline["spec"].get("notifications") if pipeline is not None else ()
    if not channels or (told := _told(event)) is None:
        return
    run_id = getattr(event, "run_id", "")
    number = run_id.rpartition(".")[2]
    notices.put(
        recorded,
        rows,
        [each for each in channels if PipelineNotification.model_validate(each).wants(told.moment)],
        project=pipeline["project"],
        aggregate="pipeline",
        subject=event.pipeline_id,
        name=pipeline["name"],
        type=told.moment.value.replace("_", ".", 1),
        title=told.title,
        severity=told.severity.value,
        summary=told.summary,
        details={**told.details, **({"run_id": run_id} if run_id else {})},
        command=f"forgelog pipeline status {pipeline['name']}{f' {number}' if number else ''}",
    )


def _told(event: Message) -> Told | None:
    """What there is to tell of an event; None of one that is as it should be."""
    match event:
        case RunFailed():
            run = _run(event.run_id)
            return Told(
                PipelineMoment.RUN_FAILED, AlertSeverity.CRITICAL, f"{run} failed", event.reason or f"{run} failed", {}
            )
        case RunCompleted():
            run = f"{_run(event.run_id)} is completed"
            return Told(PipelineMoment.RUN_COMPLETED, AlertSeverity.INFO, run, event.reason or run, {})
        case SlaMissed():
            return _missed(event)
        case ScheduleBroken():
            title = "the schedule is broken"
            return Told(PipelineMoment.SCHEDULE_BROKEN, AlertSeverity.CRITICAL, title, event.reason, {})
        case StageEvent():
            return _breached(event)
    return None


def _missed(event: SlaMissed) -> Told:
    kind, deadline = event.kind.value, instant(event.deadline)
    what = _run(event.run_id) if event.run_id else "the run"
    tick = f" of the tick {instant(event.tick)}" if event.tick is not None else ""
    verb = "has not started" if kind == "start_within" else "is not completed"
    details = {"sla": kind, "deadline": deadline}
    if event.tick is not None:
        details["tick"] = instant(event.tick)
    summary = f"{what}{tick} {verb} by {deadline}, as {kind} promises"
    return Told(PipelineMoment.SLA_MISSED, AlertSeverity.WARNING, f"{kind} is missed", summary, details)


def _breached(event: StageEvent) -> Told | None:
    told = [each for each in _outcomes(event) if each.breached and each.severity is not QualitySeverity.INFO]
    failure = event.failure if isinstance(event, StageSkipped) else None
    if not told and (failure is None or failure.kind is not FailureKind.RULE):
        return None
    critical = any(each.stops or each.severity is QualitySeverity.CRITICAL for each in told) or not told
    more = f"; and {len(told) - _MOST_RULES} more" if len(told) > _MOST_RULES else ""
    said = [f"rule {each.rule_id} is breached: {each.failed} of {each.rows} rows fail" for each in told[:_MOST_RULES]]
    details = {"stage": event.stage_id, "rules": [each.rule_id for each in told]}
    if isinstance(event, CommitRequested) and event.commit.dataset_id:
        details["dataset_id"] = event.commit.dataset_id
    return Told(
        PipelineMoment.QUALITY_BREACHED,
        AlertSeverity.CRITICAL if critical else AlertSeverity.WARNING,
        f"data of stage {event.stage_id} breaches rules",
        "; ".join(said) + more if failure is None else failure.problem,
        details,
    )


def _outcomes(event: StageEvent) -> Sequence[RuleOutcome]:
    match event:
        case CommitRequested():
            return event.commit.outcomes
        case StageFailed() if event.failure.kind is FailureKind.RULE:
            return event.outcomes
        case StageCompleted() if not event.output.dataset_id:
            return event.outcomes
    return ()


def _of_dataset(recorded: Recorded, event: DatasetStale | VolumeAnomaly, rows: Rows) -> None:
    dataset: Row | None = rows.get(DATASETS, (event.dataset_id,))
    assert dataset is not None, "a dataset begins with its definition"
    contract: Any = dataset["contract"]
    version = event.dataset_version
    if isinstance(event, DatasetStale):
        kind, title = "dataset.stale", "is stale"
        since = instant(event.published_at)
        summary = f"version {version} was published at {since}, and is older than {event.within_seconds:g} s"
        details: dict[str, Any] = {"version": version, "published_at": since}
    else:
        kind, title = "dataset.volume", "has an odd number of rows"
        summary = f"version {version} has {event.rows} rows, and those before it have {event.median:g}"
        details = {"version": version, "rows": event.rows, "median": event.median}
    notices.put(
        recorded,
        rows,
        contract.get("notifications") or (),
        project=dataset["project"],
        aggregate="dataset",
        subject=event.dataset_id,
        name=dataset["name"],
        type=kind,
        title=title,
        severity=AlertSeverity.WARNING.value,
        summary=summary,
        details=details,
        command=f"forgelog pipeline quality {dataset['name']}",
    )


def _run(run_id: str) -> str:
    return f"run {run_id.rpartition('.')[2]}"
