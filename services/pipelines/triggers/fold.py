"""How events change a pipeline's triggers."""

from __future__ import annotations

from datetime import datetime

from events.language.base import Event
from events.language.pipelines.arrivals import identity_of
from events.language.pipelines.enums import RunTrigger
from events.language.pipelines.events import PipelineActivated, PipelineDefined
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import RunEnded, RunFailed, RunQueued, StageCompleted
from events.language.pipelines.trigger_messages import (
    DatasetAdvanced,
    DatasetSubscribed,
    DatasetUnsubscribed,
    TriggerFired,
)
from events.language.pipelines.triggers import FileTrigger
from events.language.pipelines.watch_messages import FilesArrived, TopicAdvanced, TriggerMended, TriggerTroubled
from events.log.ids import named_id
from services.pipelines.triggers.state import Files, Topic, Triggers


def evolve(
    triggers: Triggers, event: Event, time: datetime, spec: PipelineSpec | None, project: str, *, listens: bool
) -> None:
    """Changes the triggers. `spec` and `project` are the pipeline's, as they were before the event; `listens`: whether
    it was active or paused."""
    match event:
        case PipelineActivated():
            _watch(triggers, spec, time)
        case PipelineDefined() if listens:
            _watch(triggers, event.spec, time)
        case DatasetSubscribed():
            triggers.subscribed.add(event.dataset_id)
        case DatasetUnsubscribed():
            triggers.subscribed.discard(event.dataset_id)
            triggers.newest.pop(event.dataset_id, None)
            for waiting in triggers.waiting.values():
                waiting.pop(event.dataset_id, None)
        case DatasetAdvanced():
            _advanced(triggers, event, spec, project)
        case TopicAdvanced() if event.trigger in triggers.topics:
            topic = triggers.topics[event.trigger]
            for each in event.ranges:
                topic.ends[each.partition] = each.end
                topic.taken.setdefault(each.partition, each.start)
        case FilesArrived() if event.trigger in triggers.files:
            _arrived(triggers.files[event.trigger], event)
        case TriggerFired():
            triggers.waiting.pop(event.trigger, None)
            triggers.taken[event.run_id] = {each.dataset_id: each.last for each in event.versions}
        case TriggerTroubled():
            triggers.troubles.setdefault(event.trigger, {})[event.kind.value] = event.reason
        case TriggerMended():
            triggers.troubles.get(event.trigger, {}).pop(event.kind.value, None)
        case StageCompleted() if event.streams:
            _left(triggers, event, spec)
        case RunQueued() | RunEnded():
            _of_run(triggers, event)


def _watch(triggers: Triggers, spec: PipelineSpec | None, time: datetime) -> None:
    """What is watched from now on. A trigger that watches the same as before goes on where it was."""
    topics, files = triggers.topics, triggers.files
    triggers.topics, triggers.files = {}, {}
    given = spec.triggers if spec is not None else ()
    for each in given:
        if (topic := each.topic) is not None:
            known = topics.get(each.name)
            same = known is not None and known.is_of(topic.topic, topic.connection.url)
            fresh = Topic(topic.topic, topic.connection.url, time)
            triggers.topics[each.name] = known if known is not None and same else fresh
        elif each.files is not None:
            found, place = files.get(each.name), place_of(each.files)
            known_place = found is not None and found.place == place
            triggers.files[each.name] = found if found is not None and known_place else Files(place, time)
    names = {each.name for each in given}
    triggers.troubles = {name: found for name, found in triggers.troubles.items() if name in names}


def place_of(trigger: FileTrigger) -> str:
    """What a trigger of files watches, in a line."""
    return f"{trigger.type} {trigger.connection.url} {trigger.path}"


def _arrived(files: Files, event: FilesArrived) -> None:
    for gone in event.gone:
        files.known.pop(gone, None)
    files.known.update(dict.fromkeys(event.existing))
    files.known.update((identity_of(each), None) for each in event.files)
    files.waiting += event.files
    files.looked = files.looked or event.looked


def _of_run(triggers: Triggers, event: RunQueued | RunEnded) -> None:
    id = event.run_id
    if isinstance(event, RunQueued):
        if event.trigger is RunTrigger.EVENT:
            triggers.runs[id] = event.trigger_id
        _taken(triggers, event)
    else:
        triggers.runs.pop(id, None)
        for topic in () if isinstance(event, RunFailed) else triggers.topics.values():
            if topic.run == id:
                topic.run = ""


def _left(triggers: Triggers, event: StageCompleted, spec: PipelineSpec | None) -> None:
    """What a batch leaves of its windows belongs to the topic that its run has records of: where the trigger has begun
    anew, that is none."""
    places = {
        name: (given.source.topic, given.source.connection.url)
        for stage in (spec.stages if spec is not None else ())
        if stage.id == event.stage_id
        for name, given in stage.inputs.items()
        if given.source is not None
    }
    for left in event.streams:
        for topic in triggers.topics.values():
            if topic.run == event.run_id and left.input in places and topic.is_of(*places[left.input]):
                topic.streams[event.stage_id, left.input] = left


def _taken(triggers: Triggers, event: RunQueued) -> None:
    for batch in event.topics:
        topic = triggers.topics.get(batch.trigger)
        if topic is None or not batch.ranges or not topic.is_of(batch.topic, batch.url):
            continue
        topic.taken.update((each.partition, each.end) for each in batch.ranges)
        topic.run = event.run_id
    for given in event.files:
        if (files := triggers.files.get(given.trigger)) is not None:
            taken = set(given.files)
            files.waiting = [each for each in files.waiting if each not in taken]


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
