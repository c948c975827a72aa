"""What a pipeline's triggers lead to. Pure.

1. It subscribes to the datasets that its triggers name, while it is active (`DatasetSubscribed`).
2. A version that a dataset tells it of waits (`DatasetAdvanced`), also while the pipeline is paused.
3. Once the trigger has all that its rule asks for, and no run of the trigger is under way, a run takes all that has
   waited (`TriggerFired`, `RunQueued`). So each version is taken once, in whatever number they come.
4. Records of topics and files that have arrived (`services.pipelines.triggers.watching`) start runs in the same way.
   Any run takes what waits of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.language.base import Event
from events.language.pipelines.enums import PipelineStatus, RunTrigger
from events.language.pipelines.parameters import bound
from events.language.pipelines.run_events import RunQueued
from events.language.pipelines.trigger_messages import (
    DatasetAdvanced,
    DatasetSubscribed,
    DatasetUnsubscribed,
    DatasetVersions,
    TriggerFired,
)
from events.language.pipelines.triggers import DatasetRule, DatasetTrigger, Trigger
from services.pipelines.pipeline.runs import queued
from services.pipelines.pipeline.state import Pipeline
from services.pipelines.triggers.fold import ids_of

LISTENING = (PipelineStatus.ACTIVE, PipelineStatus.PAUSED)


def advanced(state: Pipeline, pipeline_id: str, dataset_id: str, version: int) -> list[Event]:
    """A dataset tells of a version. Nothing if the pipeline did not ask, or has heard of it."""
    triggers = state.triggers
    if dataset_id not in triggers.subscribed or version <= triggers.newest.get(dataset_id, 0):
        return []
    return [DatasetAdvanced(pipeline_id=pipeline_id, dataset_id=dataset_id, dataset_version=version)]


def fired(state: Pipeline, pipeline_id: str) -> list[Event]:
    """Subscriptions that are to change, and the runs of triggers. It comes to nothing once these are folded."""
    return [*_subscriptions(state, pipeline_id), *_runs(state, pipeline_id)]


def _subscriptions(state: Pipeline, id: str) -> Iterator[Event]:
    wanted: set[str] = set()
    if state.status in LISTENING and state.spec is not None:
        for trigger in state.spec.triggers:
            wanted |= set(ids_of(trigger.dataset.datasets, state.project)) if trigger.dataset is not None else set()
    for dataset in sorted(wanted - state.triggers.subscribed):
        yield DatasetSubscribed(pipeline_id=id, dataset_id=dataset)
    for dataset in sorted(state.triggers.subscribed - wanted):
        yield DatasetUnsubscribed(pipeline_id=id, dataset_id=dataset)


def _runs(state: Pipeline, id: str) -> Iterator[Event]:
    if state.status is not PipelineStatus.ACTIVE or state.spec is None:
        return
    number = state.last_run
    for trigger in state.spec.triggers:
        waiting = state.triggers.waiting.get(trigger.name, {})
        if trigger.name in state.triggers.runs.values():
            continue
        if trigger.dataset is not None:
            if not waiting or not _is_complete(trigger.dataset, waiting, state.project):
                continue
        elif number > state.last_run or not _has_news(state, trigger):
            continue  # a run that is queued before it takes what waits
        number += 1
        run = _queued(state, id, number, trigger)
        versions = tuple(
            DatasetVersions(dataset_id=dataset, first=first, last=last) for dataset, (first, last) in waiting.items()
        )
        yield TriggerFired(pipeline_id=id, trigger=trigger.name, run_id=run.run_id, versions=versions)
        yield run


def _has_news(state: Pipeline, trigger: Trigger) -> bool:
    """Whether records or files wait for a run."""
    topic, files = state.triggers.topics.get(trigger.name), state.triggers.files.get(trigger.name)
    if topic is not None:
        return not topic.run and any(end > topic.taken[partition] for partition, end in topic.ends.items())
    return files is not None and bool(files.waiting)


def _is_complete(trigger: DatasetTrigger, waiting: dict[str, tuple[int, int]], project: str) -> bool:
    return trigger.rule is DatasetRule.ANY or set(ids_of(trigger.datasets, project)) <= set(waiting)


def _queued(state: Pipeline, id: str, number: int, trigger: Trigger) -> RunQueued:
    assert state.spec is not None
    values, _ = bound(state.spec.parameters, {})
    return queued(
        state,
        id,
        state.project,
        trigger=RunTrigger.EVENT,
        trigger_id=trigger.name,
        parameters=values,
        number=number,
    )
