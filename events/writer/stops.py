"""What stands still and why: a place that can't go on stops alone, and says so; the rest of its process goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from events.log.envelope import Position
from events.log.repairs import Repair
from events.log.wire import Raw, Undecodable

MOST_CAUSE = 2_000
"""Characters of a cause that are kept."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A place that stands still."""

    place: str
    """What stands, for people, such as ``jobs/2`` or ``tables of jobs reading events.jobs/2``."""
    position: Position
    """The record at which; where no single record is to blame, the one that the place would write next."""
    skippable: bool
    """Whether the record can be passed over."""
    record: str
    """Its type and id, as far as they can be read; else what was being done."""
    cause: str
    since: datetime
    """When it first stood there, since it last went on."""
    number: int = -1
    """The writer's partition that it concerns; -1 for none."""
    kind: str = ""
    """What does not go on: `writer` (of a partition), `input` (of one), its `orders`, `tables` or a `stream`."""

    @property
    def text(self) -> str:
        """All of it, on one line."""
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
        """Note that a place stands still: at a record, or before it could write at a position, `doing` something.

        `doing` names a record that has neither type nor id, too.
        """
        expected = isinstance(error, Undecodable)
        cause = str(error) if expected else f"{type(error).__name__}: {error}"
        position = raw.position if raw is not None else at or Position(place.replace(" ", "-"), 0, 0)
        cause = " ".join(cause.removeprefix(f"{position}: ").split())[:MOST_CAUSE]
        what = (_named(raw) if raw is not None else "") or doing or "no event"
        known = self._all.get(place)
        since = known.since if known is not None and known.position == position else datetime.now(UTC)
        skips = raw is not None if skippable is None else skippable
        stop = Stop(place, position, skips, what, cause, since, number, kind)
        if known is None:
            self._log.error("%s stopped %s", place, stop.text, exc_info=None if expected else error)
        self._all[place] = stop
        return stop

    def cause_of(self, topic: str, partition: int) -> str:
        """Why nothing is read on in a partition; empty if nothing stops there."""
        found = (stop.text for stop in self if (stop.position.topic, stop.position.partition) == (topic, partition))
        return next(found, "")

    def text_of(self, place: str) -> str:
        """Why a place stands still; empty if it does not."""
        stop = self._all.get(place)
        return stop.text if stop is not None else ""

    def lift(self, place: str) -> None:
        """A place goes on."""
        if self._all.pop(place, None) is not None:
            self._log.info("%s goes on", place)

    def mended_by(self, repair: Repair) -> list[Stop]:
        """Those that a repair lets go on; they are lifted."""
        mended = [stop for stop in self if stop.mended_by(repair)]
        for stop in mended:
            self.lift(stop.place)
        return mended

    def forget(self) -> None:
        """All is begun anew: what still stands will be met again."""
        self._all.clear()


def _named(raw: Raw) -> str:
    names = []
    for header in ("ce_type", "ce_id"):
        try:
            names.append(raw.text(header)[:200])
        except Undecodable:
            names.append("(not UTF-8)")
    return " ".join(filter(None, names))
