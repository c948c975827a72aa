"""How events of triggers and their batches change their pipeline's row. Pure folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from events.language.base import Message
from events.language.pipelines.answers import StreamProgress
from events.language.pipelines.events import PipelineActivated
from events.language.pipelines.run_events import StageCompleted
from events.language.pipelines.watch_messages import TriggerMended, TriggerTroubled
from events.log.envelope import Recorded
from events.projections.projection import Row


def of_pipeline(recorded: Recorded, event: Message, found: Row) -> Row:
    """What an event changes in its pipeline's row."""
    match event:
        case TriggerMended() | TriggerTroubled():
            return _troubles(event, found)
        case PipelineActivated():
            return {"stream_progress": still_watched(found["stream_progress"], found["spec"])}
        case StageCompleted() if event.streams:
            return {"stream_progress": _moved_on(recorded, event, found)}
    return {}


def still_watched(streams: Any, spec: Mapping[str, Any]) -> list[Any]:
    """Those whose trigger watches the same topic as before: one that begins anew begins without windows."""
    topics = set(_topics(spec))
    return [each for each in streams if (each["trigger"], each["topic"], each["url"]) in topics]


def _troubles(event: TriggerMended | TriggerTroubled, found: Row) -> Row:
    about = (event.trigger, event.kind.value)
    others = [each for each in found["trigger_troubles"] if (each["trigger"], each["kind"]) != about]
    if isinstance(event, TriggerMended):
        return {"trigger_troubles": others}
    told = {"trigger": event.trigger, "kind": event.kind.value, "reason": event.reason}
    return {"trigger_troubles": [*others, told]}


def _moved_on(recorded: Recorded, event: StageCompleted, found: Row) -> list[Any]:
    streams = {(each["stage_id"], each["input"]): each for each in found["stream_progress"]}
    places = {
        name: (given["source"]["topic"], given["source"]["connection"]["url"])
        for stage in found["spec"]["stages"]
        if stage["id"] == event.stage_id
        for name, given in stage["inputs"].items()
        if given.get("source")
    }
    triggers = {(topic, url): trigger for trigger, topic, url in _topics(found["spec"])}
    for state in event.streams:
        place = places.get(state.input)
        if place is None or (trigger := triggers.get(place)) is None:
            continue  # the pipeline was defined otherwise meanwhile, and the next batch begins anew
        topic, url = place
        progress = StreamProgress(
            trigger=trigger,
            stage_id=event.stage_id,
            topic=topic,
            url=url,
            run_id=event.run_id,
            at=recorded.meta.time,
            held_rows=state.held.rows,
            **state.model_dump(include=_SAME),
        )
        streams[event.stage_id, state.input] = progress.model_dump(mode="json")
    return list(streams.values())


_SAME = {"input", "batch", "watermark", "held_by", "open_windows", "next_end", "late_rows"}


def _topics(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Trigger, topic, and where it is."""
    for trigger in spec["triggers"]:
        if (topic := trigger.get("topic")) is not None:
            yield trigger["name"], topic["topic"], topic["connection"]["url"]
