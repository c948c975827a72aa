"""Decides when a writer reads the events that it has appended itself. Knows nothing of what they are used for."""

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
"""Seconds between two readings of the own events, if no decider reacts to them. A reading begins when the current fetch
of the other topics has ended, so on an idle platform it may come ten seconds later."""


class OwnTopic:
    """Pauses and resumes the places of the writer's own topic in its `Tail`.

    If a decider reacts to the topic, it is read like any other. Otherwise each append would wake the process that made
    it, so the topic is read only now and then. That can wait: a newer marker voids what this writer still appends, and
    a snapshot is stored once its position was read.
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
        """Places that are being read → the offset where the reading began."""
        self._next = 0.0

    def forget(self) -> None:
        """Drop all state: the `Tail` is a new one."""
        self._began.clear()

    def choose(self, tail: Tail) -> None:
        """Pause or resume each place of the own topic."""
        if self._dispatcher is not None:
            self._for_orders(tail, self._dispatcher)
            return
        if topics.events(self._context) in self._handler.foreign:
            return
        if self._handler.stops:  # the `Tail` learns of repairs as it reads, so read every place
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
