"""The JSON of a part of an event, as it stands in what the event was read from or written as.

In C if that was compiled (see `events.log.native`); else it is made anew.
"""

from __future__ import annotations

from events.language.base import Event, kept_json
from events.log import native

_compiled = native.load("_records")


def member_json(event: Event, field: str) -> bytes:
    """The JSON of a field of the event that holds a model."""
    if _compiled is not None and (json := kept_json(event)) is not None:
        found: bytes | None = _compiled.member(json, field.encode())
        if found is not None:
            return found
    made: bytes = getattr(event, field).to_json()
    return made
