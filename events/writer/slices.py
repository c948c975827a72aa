"""What one input leads to is one append, which has a bound. Where there may be more, a decider gives the first events,
and the others follow at once by `after_batch`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from events.language.base import Event

E = TypeVar("E", bound=Event)

MOST_BYTES_AT_ONCE = 1 << 20
"""Of one append, but for the last event: an append takes 4 MiB."""


def within_append(events: Iterable[E]) -> Iterator[E]:
    """The first events, as many as one append takes by their bytes."""
    size = 0
    for event in events:
        yield event
        size += len(event.to_json())
        if size > MOST_BYTES_AT_ONCE:
            return
