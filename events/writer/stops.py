"""The stopped places of a process and their causes. A place that can't go on stops alone; the rest goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from events.language.wording import told
from events.log.envelope import Position
from events.log.repairs import Repair
from events.log.wire import Raw, Undecodable

MOST_CAUSE = 2_000
"""Characters of a cause that are kept."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A place that has stopped."""

    place: str
    """Its name, for people: ``jobs/2`` or ``tables of jobs reading events.jobs/2``."""
    position: Position
    """The record that caused the stop; without a single such record, the next one that the place would write."""
    skippable: bool
    """Whether `forgelog repair` can skip the record."""
    record: str
    """Type and id of the record, as far as they can be read; without a record, what the place was doing."""
    cause: str
    since: datetime
    """When it stopped at this position."""
    number: int = -1
    """The writer's partition that has stopped, in whole or in part; -1 for none."""
    kind: str = ""
    """`writer` (a partition), `input` (of a partition), `orders` (of a partition), `tables` or `stream`."""

    @property
    def text(self) -> str:
        """Position, record, cause and remedy on one line."""
        return f"at {self.position} ({self.record}): {self.cause}; `forgelog repair` says what to do"

    def mended_by(self, repair: Repair) -> bool:
        """Whether this repair is about the record."""
        at = self.position
        return repair.place == (at.topic, at.partition) and repair.first <= at.offset <= repair.last


class Stops:
    """The stopped places of a process, by name."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._all: dict[str, Stop] = {}

    def __contains__(self, place: str) -> bool:
        return place in self._all

    def __iter__(self) -> Iterator[Stop]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def add(
        self,
        place: str,
        error: Exception,
        raw: Raw | None = None,
        *,
        at: Position | None = None,
        doing: str = "",
        skippable: bool | None = None,
        number: int = -1,
        kind: str = "",
    ) -> Stop:
        """Note that a place has stopped: at a record (`raw`), or before it could write at a position (`at`).

        `doing`: what the place was doing; also stands for a record that has neither type nor id.
        """
        expected = isinstance(error, Undecodable)
        cause = told(error) if expected else f"{type(error).__name__}: {told(error)}"
        position = raw.position if raw is not None else at or Position(place.replace(" ", "-"), 0, 0)
        cause = " ".join(cause.removeprefix(f"{position}: ").split())[:MOST_CAUSE]
        record = (_named(raw) if raw is not None else "") or doing or "no event"
        known = self._all.get(place)
        since = known.since if known is not None and known.position == position else datetime.now(UTC)
        skips = raw is not None if skippable is None else skippable
        stop = Stop(place, position, skips, record, cause, since, number, kind)
        if known is None:
            self._log.error("%s stopped %s", place, stop.text, exc_info=None if expected else error)
        self._all[place] = stop
        return stop

    def cause_of(self, topic: str, partition: int) -> str:
        """Why the reading of a topic's partition has stopped; empty if it has not."""
        found = (stop.text for stop in self if (stop.position.topic, stop.position.partition) == (topic, partition))
        return next(found, "")

    def text_of(self, place: str) -> str:
        """Why a place has stopped; empty if it has not."""
        stop = self._all.get(place)
        return stop.text if stop is not None else ""

    def lift(self, place: str) -> None:
        """Remove the stop of a place."""
        if self._all.pop(place, None) is not None:
            self._log.info("%s goes on", place)

    def mended_by(self, repair: Repair) -> list[Stop]:
        """Remove and return the stops that a repair mends."""
        mended = [stop for stop in self if stop.mended_by(repair)]
        for stop in mended:
            self.lift(stop.place)
        return mended

    def forget(self) -> None:
        """Remove all stops; a cause that is still there stops its place again."""
        self._all.clear()


def _named(raw: Raw) -> str:
    names = []
    for header in ("ce_type", "ce_id"):
        try:
            names.append(raw.text(header)[:200])
        except Undecodable:
            names.append("(not UTF-8)")
    return " ".join(filter(None, names))
