"""How its events change a dataset."""

from __future__ import annotations

from datetime import datetime

from events.language.base import Event
from events.language.pipelines.dataset_messages import (
    CommitHeld,
    CommitRefused,
    ContractSet,
    DatasetDefined,
    DatasetStale,
    LineageRecorded,
    QualityRuleDefined,
    SchemaChanged,
    SubscriberAdded,
    SubscriberRemoved,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
)
from services.pipelines.dataset.recording import digest
from services.pipelines.dataset.state import (
    MAX_COUNTS,
    MAX_JOBS,
    MAX_STAGES,
    Dataset,
    Rule,
    StageRun,
    stage_key,
)


def evolve(state: Dataset, event: Event, time: datetime) -> Dataset:
    """The state after an event; it is changed in place."""
    match event:
        case DatasetDefined():
            state.project = event.project
        case QualityRuleDefined():
            state.rules[event.rule.rule_id] = Rule(event.rule, event.revision)
            state.revision = event.revision
        case ContractSet():
            state.contract, state.stale = event.contract, False
        case CommitHeld() | CommitRefused():
            _asked(state, event)
        case VersionCommitted():
            _asked(state, event)
            state.committed, state.pending = event.dataset_version, event.request
        case VersionPublished() if state.pending is not None and event.dataset_version == state.committed:
            state.counts = [*state.counts, state.pending.manifest.rows][-MAX_COUNTS:]
            state.published, state.published_at, state.stale = event.dataset_version, time, False
            state.pending = None
        case VersionAbandoned():
            if event.dataset_version == state.committed:
                state.pending = None
            known = state.stages.get(stage_key(event.run_id, event.stage_id))
            if known is not None and known.version == event.dataset_version:
                known.version = 0
        case SchemaChanged():
            state.columns, state.schema_version = event.columns, event.schema_version
        case DatasetStale():
            state.stale = True
        case SubscriberAdded():
            state.subscribers[event.pipeline_id] = None
        case SubscriberRemoved():
            state.subscribers.pop(event.pipeline_id, None)
        case LineageRecorded():
            state.recorded.pop(event.job, None)
            state.recorded[event.job] = digest(event)
            _forget(state.recorded, MAX_JOBS)
    return state


def _asked(state: Dataset, event: CommitHeld | CommitRefused | VersionCommitted) -> None:
    """Note what became of a request; it waits no more, unless it begins to."""
    key = stage_key(event.run_id, event.stage_id)
    state.held = [
        each for each in state.held if (stage_key(each.run_id, each.stage_id), each.attempt) != (key, event.attempt)
    ]
    if isinstance(event, CommitHeld):
        state.held.append(event.request)
    known = state.stages.pop(key, None) or StageRun(event.attempt)
    known.attempt = max(known.attempt, event.attempt)
    if isinstance(event, VersionCommitted):
        known.version = event.dataset_version
    state.stages[key] = known
    _forget(state.stages, MAX_STAGES)


def _forget(kept: dict[str, StageRun] | dict[str, str], most: int) -> None:
    """Drop the oldest beyond `most`."""
    while len(kept) > most:
        del kept[next(iter(kept))]
