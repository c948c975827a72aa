"""When a writer reads the events that it has appended itself. Knows nothing of what is done with them."""

from __future__ import annotations

import time

from events.log import topics
from events.log.positions import Place
from events.log.tail import Tail
from events.writer.assignment import Assignment
from events.writer.dispatch import Dispatcher
from events.writer.inputs import InputHandler
from events.writer.partition import Partition

READ_EVERY = 1.0
"""Seconds between two readings of what this writer has appended, where nobody here reacts to it. One begins when the
fetch that waits for other topics' news has ended, so on a platform at rest it may take ten more."""


class OwnTopic:
    """Pauses and resumes the places of the writer's own topic in its `Tail`.

    Where a decider reacts to the topic, it is read like any other. Otherwise each append would wake the very process
    that made it, so it is read now and then only. That can wait: a newer marker makes void what this writer still
    appends, and a snapshot is stored once its position was read.
    """

    def __init__(
        self,
        context: str,
        handler: InputHandler,
        assignment: Assignment,
        partitions: dict[int, Partition],
        dispatcher: Dispatcher | None,
    ) -> None:
        self._context = context
        self._handler = handler
        self._assignment = assignment
        self._partitions = partitions
        self._dispatcher = dispatcher
        self._began: dict[Place, int] = {}
        """Places that are being read, and the offset where that began."""
        self._next = 0.0

    def forget(self) -> None:
        """The reader is a new one."""
        self._began.clear()

    def choose(self, tail: Tail) -> None:
        """Say which places are read on now."""
        if self._dispatcher is not None:
            self._for_orders(tail, self._dispatcher)
            return
        if topics.events(self._context) in self._handler.foreign:
            return
        if self._handler.stops:  # a repair comes with what is read, so read on everywhere
            self._began.clear()
            for number in self._assignment.assigned:
                tail.resume((self._context, number))
            return
        begins = time.monotonic() >= self._next
        for place, standing in tail.positions.items():
            if place[0] != self._context:
                continue
            partition = self._partitions.get(place[1])
            if place in self._began:
                if standing.offset == self._began[place]:
                    continue
                del self._began[place]
            elif begins and partition is not None and standing.offset < partition.next_offset:
                self._began[place] = standing.offset
                tail.resume(place)
                continue
            tail.pause(place)
        if begins:
            self._next = time.monotonic() + READ_EVERY

    def _for_orders(self, tail: Tail, dispatcher: Dispatcher) -> None:
        """Read without a pause, unless too much waits to be ordered."""
        routed = topics.events(self._context) in self._handler.foreign
        for place in tail.positions:
            if place[0] == self._context:
                reads = not dispatcher.full(place[1]) and (routed or place[1] in self._partitions)
                (tail.resume if reads else tail.pause)(place)
