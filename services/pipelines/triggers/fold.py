"""How events change a pipeline's triggers."""

from __future__ import annotations

from events.language.base import Event
from events.language.pipelines.enums import RunTrigger
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import RunEnded, RunQueued
from events.language.pipelines.trigger_messages import (
    DatasetAdvanced,
    DatasetSubscribed,
    DatasetUnsubscribed,
    TriggerFired,
)
from events.log.ids import named_id
from services.pipelines.triggers.state import Triggers


def evolve(triggers: Triggers, event: Event, spec: PipelineSpec | None, project: str) -> None:
    """Changes the triggers. `spec` and `project` are the pipeline's, as they were before the event."""
    match event:
        case DatasetSubscribed():
            triggers.subscribed.add(event.dataset_id)
        case DatasetUnsubscribed():
            triggers.subscribed.discard(event.dataset_id)
            triggers.newest.pop(event.dataset_id, None)
            for waiting in triggers.waiting.values():
                waiting.pop(event.dataset_id, None)
        case DatasetAdvanced():
            _advanced(triggers, event, spec, project)
        case TriggerFired():
            triggers.waiting.pop(event.trigger, None)
        case RunQueued() if event.trigger is RunTrigger.EVENT:
            triggers.runs[event.run_id] = event.trigger_id
        case RunEnded():
            triggers.runs.pop(event.run_id, None)


def _advanced(triggers: Triggers, event: DatasetAdvanced, spec: PipelineSpec | None, project: str) -> None:
    triggers.newest[event.dataset_id] = event.dataset_version
    for trigger in spec.triggers if spec is not None else ():
        if trigger.dataset is not None and event.dataset_id in ids_of(trigger.dataset.datasets, project):
            waiting = triggers.waiting.setdefault(trigger.name, {})
            first, _ = waiting.get(event.dataset_id, (event.dataset_version, 0))
            waiting[event.dataset_id] = (first, event.dataset_version)


def ids_of(datasets: tuple[str, ...], project: str) -> list[str]:
    """The ids of datasets that are named by their names in the project, or by their ids."""
    return [name if "." in name else named_id(name, project) for name in datasets]
