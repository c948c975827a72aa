"""The JSON of a part of an event, as it stands in the event's own.

In C if that was compiled (see `events.log.native`); else it is made anew.
"""

from __future__ import annotations

from events.language.base import Event
from events.log import native

_compiled = native.load("_records")


def member_json(event: Event, field: str) -> bytes:
    """The JSON of a field of the event that holds a model."""
    if _compiled is not None and (found := _compiled.member(event.to_json(), field.encode())) is not None:
        return found  # type: ignore[no-any-return]
    made: bytes = getattr(event, field).to_json()
    return made
