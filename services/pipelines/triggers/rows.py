"""How events of triggers change their pipeline's row. Pure folds."""

from __future__ import annotations

from events.language.base import Message
from events.language.pipelines.watch_messages import TriggerMended, TriggerTroubled
from events.projections.projection import Row


def of_pipeline(event: Message, found: Row) -> Row:
    """What an event changes in its pipeline's row."""
    if not isinstance(event, TriggerMended | TriggerTroubled):
        return {}
    about = (event.trigger, event.kind.value)
    others = [each for each in found["trigger_troubles"] if (each["trigger"], each["kind"]) != about]
    if isinstance(event, TriggerMended):
        return {"trigger_troubles": others}
    told = {"trigger": event.trigger, "kind": event.kind.value, "reason": event.reason}
    return {"trigger_troubles": [*others, told]}
