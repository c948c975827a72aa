"""Folding a view beside the history it belongs to, so that what ended long ago is not all held at once.

A context with a view (scheduling knows the pool's nodes) is folded from its own events and from foreign ones. One after
the other would be right too, but everything that own events began (a placement) and foreign ones end (its release)
would be in memory in between: as much as the whole history has.

So both are folded in the order of their times, own events first at equal ones. That is sound because times never run
against causes: a writer stamps what it decides with a time not before that of the event it handled, and not before that
of its partition's last event. A foreign event that follows from an own one is therefore never observed before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from events.log import topics
from events.log.partitioner import partition_of
from events.log.positions import Place, ReaderPosition, place_of
from events.log.tail import Tail
from events.log.wire import Raw, event_model
from events.writer.deciders import Concerned, Deciders
from events.writer.partition import Partition


def starts(partitions: Iterable[Partition]) -> dict[Place, ReaderPosition]:
    """Where these partitions need foreign topics to be read from; places they know nothing of are left out."""
    found: dict[Place, ReaderPosition] = {}
    all_ = list(partitions)
    for topic, number in {place for partition in all_ for place in partition.observed}:
        position = min((each.read_from(topic, number) for each in all_), key=lambda each: each.offset)
        found[topics.context_of(topic), number] = position
    return found


class Views:
    """The views of partitions that are being folded, fed from a `Tail` that reads foreign contexts too.

    Of a place nothing is observed from the first event on that a partition may still have to react to: that is the
    writer's to do, when it has all of its own history. Nor from one on that can't be decoded: the writer says so.
    """

    def __init__(
        self, deciders: Deciders, partitions: Mapping[int, Partition], tail: Tail, ends: Mapping[Place, int]
    ) -> None:
        """`ends`: where the foreign places end; what is appended from now on is left to the writer."""
        self._deciders = deciders
        self._partitions = partitions
        self._count = next(iter(partitions.values())).count
        self._tail = tail
        self._ends = dict(ends)
        self.failed: dict[int, tuple[Raw, Exception]] = {}
        """Partitions whose view raised, at which event; their states are of no more use."""
        self._waiting: dict[Place, deque[Raw]] = {place: deque() for place in ends}

    async def observe(self, before: int) -> None:
        """Observe what happened earlier than `before` (milliseconds since 1970)."""
        while hungry := [place for place in self._waiting if self._drain(place, before)]:
            for raw in await self._tail.poll_raw(1.0, only=hungry):
                self._waiting[place_of(raw)].append(raw)
            await asyncio.sleep(0)

    def _drain(self, place: Place, before: int) -> bool:
        """Observe what has been read of a place; whether more of it is needed."""
        waiting = self._waiting[place]
        last: Raw | None = None
        while waiting and waiting[0].timestamp < before:
            if not waiting[0].is_marker and not self._take(waiting[0]):
                break
            last = waiting.popleft()
        if last is not None:
            for partition in self._partitions.values():
                partition.passed(last.topic, last.partition, ReaderPosition.behind(last))
        return not waiting and self._tail.positions[place].offset < self._ends[place]

    def _take(self, raw: Raw) -> bool:
        """Let the partitions concerned observe an event; False if it must wait."""
        try:
            model = event_model(raw)
            if not self._deciders.routes(model) or self._deciders.passes_by(model, raw):
                return True
            recorded = raw.decode()
            event: Any = recorded.data
            found = self._deciders.concerned(event, recorded.meta.origin)
        except Exception:  # noqa: BLE001 - the writer meets it again, and says so
            return False
        concerned: dict[int, list[Concerned]] = {}
        for each in found:
            number = partition_of(each.key, self._count)
            if number in self._partitions and number not in self.failed:
                concerned.setdefault(number, []).append(each)
        wants = {number: self._partitions[number].wants(raw.topic, raw.partition, raw.offset) for number in concerned}
        if any(handle for handle, _ in wants.values()) and self._deciders.reacts(model):
            return False
        for number in concerned:
            if wants[number][1]:
                try:
                    self._partitions[number].event(recorded, concerned[number], recorded.meta.time, handle=False)
                except Exception as error:  # noqa: BLE001 - told by who folds the partition
                    self.failed[number] = raw, error
        return True
