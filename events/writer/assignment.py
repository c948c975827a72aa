"""The partitions that a writer holds: it takes over what it is assigned, and gives up what it is not.

A partition that is assigned is fenced with a marker and folded up to it (`recovery`); it takes commands once the writer
has read the other contexts' events up to their ends of that moment. One that fails is thrown away and starts over.
"""

from __future__ import annotations

import logging
import random
import time

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from events.log import topics
from events.log.fetching import Consumer
from events.log.positions import Place, ReaderPosition
from events.log.tail import LogLost, NoTopic, Tail
from events.process.clock import Clock
from events.process.settings import Settings
from events.writer import recovery, resuming
from events.writer.appending import Appender
from events.writer.deciders import Deciders
from events.writer.inputs import InputHandler
from events.writer.partition import Partition
from events.writer.snapshots import Snapshots

log = logging.getLogger("forgelog.writer")


class Assignment:
    """Which partitions are assigned, held, not ready yet, or to start over."""

    def __init__(
        self,
        deciders: Deciders,
        settings: Settings,
        partitions: dict[int, Partition],
        appender: Appender,
        clock: Clock,
        snapshots: Snapshots | None,
    ) -> None:
        """`partitions`: those that are held, which this adds to and removes from."""
        self.assigned: set[int] = set()
        self.targets: dict[int, dict[Place, int]] = {}
        """Partitions that are not ready yet, and how far they must have read."""
        self.notes: dict[str, str] = {}
        """What was found and mended, for people."""
        self.handler = InputHandler(deciders, partitions, self.targets, clock, self.start_over)
        self._deciders = deciders
        self._settings = settings
        self._partitions = partitions
        self._appender = appender
        self._clock = clock
        self._snapshots = snapshots
        self._context = deciders.context
        self._restart: dict[int, float] = {}
        """Partitions that start over, and from when on they may."""

    def forget(self) -> None:
        """The log is another one: nothing of it is assigned or was met."""
        self.assigned.clear()
        self.targets.clear()
        self._restart.clear()
        self.handler.forget()

    def stands(self, number: int) -> bool:
        """Whether the partition as a whole is stopped."""
        return self.handler.name(number) in self.handler.stops

    def states(self) -> dict[int, str]:
        """Of every partition that is assigned or held: `ready`, `starting`, `catching up` or `stopped`."""
        found: dict[int, str] = {}
        for number in sorted(self.assigned | set(self._partitions)):
            state = "ready" if number in self._partitions else "stopped" if self.stands(number) else "starting"
            found[number] = "catching up" if number in self.targets else state
        return found

    def start_over(self, number: int) -> None:
        """Throw a partition's state away; it is taken over again shortly."""
        self._partitions.pop(number, None)
        self.targets.pop(number, None)
        # Two writers that believe in their assignment would otherwise fence each other in a tight loop.
        self._restart[number] = time.monotonic() + random.uniform(0.05, 0.5)

    def start_due(self) -> bool:
        """Whether a partition may start over now."""
        return any(moment <= time.monotonic() for moment in self._restart.values())

    def until_start(self) -> float:
        """Seconds until a partition may start over."""
        return max(0.0, min(self._restart.values(), default=float("inf")) - time.monotonic())

    async def reassign(self, consumer: Consumer, tail: Tail) -> None:
        """Give up what is not assigned any more, take over what is and is not held. Raises LogLost."""
        for number in set(self._partitions) - self.assigned:
            log.info("%s/%d: given up", self._context, number)
            self._partitions.pop(number)
            self.targets.pop(number, None)
        for number in set(self._restart) - self.assigned:
            del self._restart[number]  # else it would stay due
        for number in {stop.number for stop in self.handler.stops} - self.assigned:
            self.handler.release(number)
        now = time.monotonic()
        fresh = [
            number
            for number in sorted(self.assigned - set(self._partitions))
            if self._restart.get(number, 0.0) <= now and not self.stands(number)
        ]
        if not fresh:
            return
        for number in fresh:
            self._restart.pop(number, None)
        own = self._settings.prefix + topics.commands(self._context)
        places = [TopicPartition(own, number) for number in fresh]
        still = [place for place in places if place in consumer.assignment()]
        consumer.pause(*still)
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self._appender.producer.running()
            started = await recovery.take_over(
                self._deciders,
                fresh,
                self.handler.count,
                self._settings,
                producer,
                self._snapshots,
                self._clock.now(),
                tail.positions,
                self.handler.inputs,
            )
        except LogLost:
            raise
        except (KafkaError, OSError, NoTopic) as error:
            log.error("taking over failed, trying again: %s: %s", type(error).__name__, error)
            if producer is not None:
                self._appender.producer.failed(producer)
            for number in fresh:
                self.start_over(number)
            return
        for number, outcome in started.items():
            if isinstance(outcome, recovery.Failed):
                if outcome.of_view:
                    self.handler.stop_input(number, outcome.raw, outcome.error)
                    self.start_over(number)
                else:
                    self.handler.stop(number, outcome.error, outcome.raw)
                continue
            self._partitions[number] = outcome
            self.targets[number] = {}  # what it must have read is found out next: it is not ready meanwhile
        await self._rewind(tail, [number for number in fresh if number in self._partitions])
        self.check_ready(consumer, tail)

    async def _rewind(self, tail: Tail, fresh: list[int]) -> None:
        """Put the tail where the fresh partitions need it; the others ignore what they have handled."""
        if not fresh:
            return
        for number in fresh:
            for note in await resuming.mend(self._partitions[number], await tail.asking(), self._settings.prefix):
                log.error("%s/%d: %s", self._context, number, note)
                self.notes[f"{self._context}/{number}"] = note
        ends = await tail.ends()
        own = topics.events(self._context)
        earlier: dict[Place, ReaderPosition] = {}
        for place, standing in tail.positions.items():
            topic = topics.events(place[0])
            wanted: list[ReaderPosition] = []
            if topic in self.handler.foreign:
                wanted += [self._partitions[number].read_from(topic, place[1]) for number in fresh]
            if topic == own and place[1] in fresh:
                epoch = self._partitions[place[1]].epoch
                wanted.append(self._own_start(self._partitions[place[1]]))
                if topic not in self.handler.foreign and standing.offset <= epoch:
                    tail.seek(place, wanted[-1])  # it was somebody else's, and was not read meanwhile
            earliest = min(wanted, key=lambda position: position.offset, default=standing)
            if earliest.offset < standing.offset:
                earlier[place] = earliest
        if earlier:
            await tail.rewind(earlier)
        inputs = {place: end for place, end in ends.items() if topics.events(place[0]) in self.handler.foreign}
        for number in fresh:
            self.targets[number] = inputs

    def _own_start(self, partition: Partition) -> ReaderPosition:
        """Where the own topic is read from: behind the marker, or from the first event whose orders may not be sent."""
        behind = ReaderPosition(partition.epoch + 1, partition.epoch)
        if not self._deciders.dispatching or partition.dispatched is None:
            return behind
        return min(behind, partition.dispatched)

    def check_ready(self, consumer: Consumer, tail: Tail) -> None:
        """Let the partitions take commands that have read what they must have read."""
        own = self._settings.prefix + topics.commands(self._context)
        for number, targets in list(self.targets.items()):
            if any(tail.positions[place].offset < target for place, target in targets.items()):
                continue
            del self.targets[number]
            partition = self._partitions[number]
            place = TopicPartition(own, number)
            if place not in consumer.assignment():
                continue
            resume = partition.resume_of(topics.commands(self._context), number)
            consumer.seek(place, resume.offset)
            consumer.resume(place)
            now = self._clock.now() if partition.last_time is None else self._clock.at_least(partition.last_time)
            self.handler.on_resume(number, now)
            log.info("%s/%d: ready, epoch %d, commands from %d", self._context, number, partition.epoch, resume.offset)
