"""The partitions that a writer holds. It takes over partitions that are assigned to it, and gives up revoked ones.

An assigned partition is fenced with a marker and folded up to it (`recovery`). It takes commands once the writer has
read the events of other contexts up to where they ended at that moment. A partition that fails starts over.
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
        """`partitions`: those that are held now; this class changes the mapping."""
        self.assigned: set[int] = set()
        self.targets: dict[int, dict[Place, int]] = {}
        """Partitions that are not ready yet → the offsets up to which they must have read other contexts' events."""
        self.notes: dict[str, str] = {}
        """Lost inputs that were given a new resume position, for people."""
        self.handler = InputHandler(deciders, partitions, self.targets, clock, self.start_over)
        self._deciders = deciders
        self._settings = settings
        self._partitions = partitions
        self._appender = appender
        self._clock = clock
        self._snapshots = snapshots
        self._context = deciders.context
        self._restart: dict[int, float] = {}
        """Partitions that start over → the earliest monotonic time for that."""

    def forget(self) -> None:
        """Drop all state: the log has been replaced."""
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
        """Throw a partition's state away and take the partition over again shortly."""
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
        """Give up partitions that are no longer assigned; take over assigned ones that are not held. Raises LogLost."""
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
            self.targets[number] = {}  # not ready; how far it must have read is determined next
        await self._rewind(tail, [number for number in fresh if number in self._partitions])
        self.check_ready(consumer, tail)

    async def _rewind(self, tail: Tail, fresh: list[int]) -> None:
        """Seek the tail to where the new partitions need it; the others ignore what they have handled already."""
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
            resumed = topic == own and own in self.handler.foreign and tail.resume(place)
            wanted: list[ReaderPosition] = []
            if topic in self.handler.foreign:
                wanted += [self._partitions[number].read_from(topic, place[1]) for number in fresh]
            if topic == own and place[1] in fresh:
                epoch = self._partitions[place[1]].epoch
                wanted.append(self._own_start(self._partitions[place[1]]))
                if topic not in self.handler.foreign and standing.offset <= epoch:
                    tail.seek(place, wanted[-1])  # another writer held it, so this one has not read it meanwhile
            earliest = min(wanted, key=lambda position: position.offset, default=standing)
            if earliest.offset < standing.offset or (resumed and standing.offset < ends[place]):
                earlier[place] = min(earliest, standing)
        if earlier:
            await tail.rewind(earlier)
        for partition in self._partitions.values():
            partition.own.reread()
        inputs = {place: end for place, end in ends.items() if topics.events(place[0]) in self.handler.foreign}
        for number in fresh:
            self.targets[number] = inputs

    def _own_start(self, partition: Partition) -> ReaderPosition:
        """Where to read the own topic from: behind the marker, or from the first event whose orders may be unsent."""
        behind = ReaderPosition(partition.epoch + 1, partition.epoch)
        if not self._deciders.dispatching or partition.dispatched is None:
            return behind
        return min(behind, partition.dispatched)

    def check_ready(self, consumer: Consumer, tail: Tail) -> None:
        """Let each partition take commands once it has read up to its targets."""
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
