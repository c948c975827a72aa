"""Folds the views of partitions together with their own history, in the order of time, to bound the memory.

A context with a view (scheduling knows the pool's nodes) is folded from its own events and from foreign ones. Folding
all own events first would be correct too. But what own events begin (a placement) is often ended by foreign ones (its
release), so all placements of the whole history would be in memory at once.

So both are folded in the order of their times, own events first at equal times. That is sound because an effect is
never earlier than its cause: a writer stamps an event with a time that is not before that of the input, and not before
that of the partition's last event. So a foreign event that an own one caused is never observed before it.
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
    """Place → where these partitions need the foreign topics read from. Leaves out places that none has read yet."""
    found: dict[Place, ReaderPosition] = {}
    all_ = list(partitions)
    for topic, number in {place for partition in all_ for place in partition.observed}:
        position = min((each.read_from(topic, number) for each in all_), key=lambda each: each.offset)
        found[topics.context_of(topic), number] = position
    return found


class Views:
    """The views of partitions that are being folded, fed from a `Tail` that reads foreign contexts too.

    In each place it stops before the first event that a partition may still have to react to: the writer handles that
    one once its own history is folded. It also stops before an event that can't be decoded: the writer reports that.
    """

    def __init__(
        self, deciders: Deciders, partitions: Mapping[int, Partition], tail: Tail, ends: Mapping[Place, int]
    ) -> None:
        """`ends`: the end offsets of the foreign places; the writer handles what is appended later."""
        self._deciders = deciders
        self._partitions = partitions
        self._count = next(iter(partitions.values())).count
        self._tail = tail
        self._ends = dict(ends)
        self.failed: dict[int, tuple[Raw, Exception]] = {}
        """Partition → the event at which its view raised, and the error. The state of that partition is unusable."""
        self._waiting: dict[Place, deque[Raw]] = {place: deque() for place in ends}

    async def observe(self, before: int) -> None:
        """Observe the events that are earlier than `before` (milliseconds since 1970)."""
        while hungry := [place for place in self._waiting if self._drain(place, before)]:
            for raw in await self._tail.poll_raw(1.0, only=hungry):
                self._waiting[place_of(raw)].append(raw)
            await asyncio.sleep(0)

    def _drain(self, place: Place, before: int) -> bool:
        """Observe the events of a place that have been read. Returns whether more must be read."""
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
        """Let the partitions that an event concerns observe it. Returns False if it must wait."""
        try:
            model = event_model(raw)
            if not self._deciders.routes(model) or self._deciders.passes_by(model, raw):
                return True
            recorded = raw.decode()
            event: Any = recorded.data
            found = self._deciders.concerned(event, recorded.meta.origin)
        except Exception:  # noqa: BLE001 - the writer reads the event again and reports the error
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
                except Exception as error:  # noqa: BLE001 - `recovery` reports it
                    self.failed[number] = raw, error
        return True
