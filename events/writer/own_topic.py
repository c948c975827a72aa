"""Decides which of the own events a writer reads. Knows nothing of what they are used for.

Each append would wake the process that made it, for what it knows already. So a place of the own topic is not read as
long as its writer knows what is there (`events.writer.own_events`).
"""

from __future__ import annotations

import time

from events.log import topics
from events.log.positions import Place, ReaderPosition
from events.log.tail import Tail
from events.log.wire import Raw
from events.writer.assignment import Assignment
from events.writer.dispatch import Dispatcher
from events.writer.inputs import InputHandler
from events.writer.partition import Partition

NOTED_EVERY = 1.0
"""Seconds between two notes of how far the own events are known. From there they are read if they have to be."""


class OwnTopic:
    """Pauses and resumes the places of the writer's own topic in its `Tail`, and gives what was not read.

    A place is read:

    - if another process writes it, and a decider reacts to the topic;
    - after a gap in the own appends, until the gap has been read;
    - while partitions are taken over;
    - if something is stopped, or the context reads nothing else: the `Tail` learns of repairs as it reads;
    - if a decider dispatches, unless too much waits to be ordered.
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
        self._topic = topics.events(context)
        self._reacts = self._topic in handler.foreign
        """Whether a decider reacts to the topic."""
        self._handler = handler
        self._assignment = assignment
        self._partitions = partitions
        self._dispatcher = dispatcher
        self._note_at = 0.0

    def has(self, tail: Tail) -> bool:
        """Whether `take` gives anything."""
        return any(partition.own.has(self._read(tail, number)) for number, partition in self._partitions.items())

    def take(self, tail: Tail) -> list[Raw]:
        """The own events that concern states of this context and are not read, each once. All that the tail gave must
        have been handled."""
        taken: list[Raw] = []
        for number, partition in self._partitions.items():
            taken += partition.own.take(self._read(tail, number))
        return taken

    def known(self, tail: Tail, number: int) -> ReaderPosition:
        """Up to where the events of a partition that is held are known to be valid."""
        return self._partitions[number].own.known(self._read(tail, number))

    def end_of(self, tail: Tail, place: Place) -> int:
        """The end of a place of any topic, as far as it is known and has to be read."""
        if place[0] == self._context and self._dispatcher is None and not self._reads(tail, place):
            return tail.positions[place].offset
        return tail.last_known_end(place)

    def _read(self, tail: Tail, number: int) -> ReaderPosition:
        return tail.positions.get((self._context, number), ReaderPosition())

    def choose(self, tail: Tail) -> bool:
        """Pause or resume each place of the own topic. Returns whether one that resumed may not wait for the end of the
        fetch that is under way, which lacks it. All that the tail gave must have been handled."""
        if self._dispatcher is not None:
            self._for_orders(tail, self._dispatcher)
            return False
        resumed = False
        notes = time.monotonic() >= self._note_at
        if notes:
            self._note_at = time.monotonic() + NOTED_EVERY
        for place in self._places(tail):
            if self._reads(tail, place):
                resumed = tail.resume(place) or resumed
                continue
            tail.pause(place)
            if notes and (partition := self._partitions.get(place[1])) is not None:
                self._note(tail, place, partition)
        return resumed and self._reacts

    def _places(self, tail: Tail) -> list[Place]:
        return [place for place in tail.positions if place[0] == self._context]

    def _reads(self, tail: Tail, place: Place) -> bool:
        if self._handler.stops or self._handler.foreign <= {self._topic}:
            return self._reacts or place[1] in self._assignment.assigned
        partition = self._partitions.get(place[1])
        if partition is None or self._assignment.targets:
            return self._reacts
        return not partition.own.spares_reading(tail.positions[place])

    def _note(self, tail: Tail, place: Place, partition: Partition) -> None:
        """Note how far the events are handled, as if they had been read."""
        position = partition.own.passed(tail.positions[place])
        if position.offset == tail.positions[place].offset:
            return
        tail.seek(place, position)
        if self._reacts:
            for each in self._partitions.values():
                each.passed(self._topic, place[1], position)

    def _for_orders(self, tail: Tail, dispatcher: Dispatcher) -> None:
        """Read without a pause, unless too much waits to be ordered."""
        for place in self._places(tail):
            reads = not dispatcher.full(place[1]) and (self._reacts or place[1] in self._partitions)
            (tail.resume if reads else tail.pause)(place)
