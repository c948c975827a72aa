"""The single writer of a context's event partitions: feeds `Partition`s from Kafka and appends what they decide.

One loop per service process: take what has arrived, decide it all, append each partition's events in RecordBatches
(a unit never split), and while Kafka stores them decide what has arrived meanwhile. Assignment comes from a consumer
group on the command topic; a partition that is assigned is fenced with a marker and folded up to it before its first
command is decided. Any failed append, and any newer marker, throws the partition's state away and starts it over from
the log.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from events.log import connect, topics
from events.log.fetching import Consumer, Raws
from events.log.tail import PATIENT, LogLost, NoTopic, Place, ReaderPosition, Tail
from events.log.wire import Raw
from events.runtime import recovery, resuming
from events.runtime.appending import Appender
from events.runtime.clock import Clock
from events.runtime.decider import Decider
from events.runtime.encoding import DeadLetter, Forward, Unit
from events.runtime.feeding import Feeder
from events.runtime.partition import Partition
from events.runtime.settings import Settings
from events.runtime.snapshots import Snapshots
from events.runtime.stops import Stops
from events.runtime.tasks import end_all

S = TypeVar("S")

log = logging.getLogger("forgelog.writer")

_MOST_RECORDS = 2_000

_SESSION_SECONDS = 10.0
"""Silence after which the broker counts a member of the group as gone. Until then a static member (KIP-345) that joins
again has the assignment of before, which names no partition of a topic that was made anew meanwhile."""

LOOK_EVERY = 1.0
"""Seconds between two looks at what this writer has appended, where nobody here reacts to it; one begins when the fetch
that waits for other topics' news has ended, so on a platform at rest it may take ten more."""


class Writer(ConsumerRebalanceListener, Generic[S]):  # type: ignore[misc]
    """Runs a decider. `run` returns when cancelled; `status` tells how each partition fares."""

    def __init__(self, decider: Decider[S], settings: Settings, snapshots: Snapshots | None = None) -> None:
        self.decider = decider
        self.settings = settings
        self.snapshots = snapshots
        self.clock = Clock()
        self.context = decider.context
        self.partitions: dict[int, Partition[S]] = {}
        self.notes: dict[str, str] = {}
        """What was found and mended, for people."""
        self._assigned: set[int] = set()
        self._changed = asyncio.Event()
        self._restart: dict[int, float] = {}
        self._targets: dict[int, dict[Place, int]] = {}
        """Partitions that are not ready yet, and how far they must have read."""
        self._feeder = Feeder(decider, self.partitions, self._targets, self.clock, self._start_over)
        self.appender = Appender(decider.context, settings, self.partitions)
        self._appending: asyncio.Task[None] | None = None
        """The batches on their way to Kafka."""
        foreign = {model.context for model in decider.routes}
        self._contexts = tuple(sorted(foreign | {self.context}))
        self._foreign = tuple(topics.events(context) for context in sorted(foreign))
        self._looking: dict[Place, int] = {}
        """Own places that are being read for a look, and the offset it began at."""
        self._consumer: Consumer | None = None
        self._tail: Tail | None = None
        self._begun = 0
        """Batches that were to be appended."""
        self._ended = 0
        self._look_at = 0.0
        self._check_at = 0.0
        self._heard_of = False
        """Whether the consumer knew of the commands' topic: a slow broker may tell it late."""

    # Assignment (called by the consumer's coordinator)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._assigned -= {place.partition for place in revoked}
        self._changed.set()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._assigned |= {place.partition for place in assigned}
        self._changed.set()

    def status(self) -> dict[str, Any]:
        """State, epoch and next offset of every assigned partition, and the problems."""
        shown: dict[str, Any] = {}
        for number in sorted(self._assigned | set(self.partitions)):
            partition = self.partitions.get(number)
            state = "ready" if partition is not None else "stopped" if self._stands(number) else "starting"
            state = "catching up" if number in self._targets else state
            shown[str(number)] = {
                "state": state,
                "epoch": partition.epoch if partition else -1,
                "next_offset": partition.next_offset if partition else 0,
            }
        return {
            "context": self.context,
            "partitions": shown,
            "problems": {stop.place: stop.text for stop in self.stops},
            "notices": dict(self.notes),
        }

    def readings(self) -> Iterator[tuple[str, str, int, int, str]]:
        """Of all that is read here: kind and place (see `events.runtime.progress`), how far it was read, its end, and
        what is known to stop it."""
        yield (
            "appends",
            topics.events(self.context),
            self._ended,
            self._begun,
            "the broker does not take what was decided",
        )
        if self._consumer is None or self._tail is None:
            return
        own = topics.commands(self.context)
        waits = "what was decided before is still on its way into the log" if self._begun > self._ended else ""
        for number in self.partitions:
            standing = self._consumer.standing(TopicPartition(self.settings.prefix + own, number))
            if standing is not None and number not in self._targets:
                yield "commands", f"{own}/{number}", *standing, self.stops.cause_of(own, number) or waits
        for place, at in self._tail.positions.items():
            topic = topics.events(place[0])
            if topic in self._foreign:
                end, cause = self._tail.heard_end(place), self.stops.cause_of(topic, place[1]) or waits
                yield "events", f"{topic}/{place[1]}", at.offset, end, cause

    @property
    def ready(self) -> bool:
        """Whether every assigned partition takes commands, or stands still and says so."""
        standing = {number for number in self._assigned if self._stands(number)}
        held = set(self.partitions) | standing
        return bool(held) and held == self._assigned and not self._targets

    @property
    def stops(self) -> Stops:
        """What stands still (a partition, an input), and why."""
        return self._feeder.stops

    def _stands(self, number: int) -> bool:
        return self._feeder.name(number) in self.stops

    # The loop

    async def run(self) -> None:
        """Write until cancelled; starts over when the log is another one."""
        while True:
            try:
                await self._run()
            except LogLost as error:
                log.error("%s: %s; starting over from what it is now", self.context, error)
                await asyncio.sleep(_SESSION_SECONDS + 1.0 if self.settings.instance else random.uniform(0.5, 1.0))

    async def _run(self) -> None:
        for held in (self.partitions, self._restart, self._targets, self._looking):
            held.clear()
        self._feeder.forget()
        if self.snapshots is not None:
            self.snapshots.start_over()
        self._assigned.clear()
        self._heard_of = False
        counts = await topics.ensure_topics(self.settings)
        self._feeder.count = counts[topics.commands(self.context)]
        consumer = Consumer(
            bootstrap_servers=self.settings.kafka_required,
            group_id=f"{self.settings.prefix}{self.context}.writer",
            group_instance_id=self.settings.instance or None,
            client_id=self.settings.instance or "forgelog",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # who takes back a transaction takes back its commands
            key_deserializer=Raws(self.settings.prefix),
            fetch_max_bytes=16 << 20,
            **PATIENT,
            max_partition_fetch_bytes=4 << 20,
            session_timeout_ms=int(_SESSION_SECONDS * 1000),
            heartbeat_interval_ms=1_000,
        )
        try:
            await self.appender.producer.open()
            await consumer.start()
            consumer.subscribe([self.settings.prefix + topics.commands(self.context)], listener=self)
            async with Tail(self.settings, self._contexts, start="end", patient=True) as tail:
                self._feeder.repairs = tail.repairs
                self._consumer, self._tail = consumer, tail
                await self._loop(consumer, tail)
        finally:
            self._consumer = self._tail = None
            try:
                await connect.stop(consumer)
            finally:
                await self.appender.producer.close()

    async def _loop(self, consumer: Consumer, tail: Tail) -> None:
        commands: asyncio.Task[Any] | None = None
        events: asyncio.Task[list[Raw]] | None = None
        changed = asyncio.create_task(self._changed.wait())
        try:
            while True:
                commands = commands or asyncio.create_task(
                    consumer.getmany(timeout_ms=60_000, max_records=_MOST_RECORDS)
                )
                events = events or asyncio.create_task(tail.poll_raw(60.0))
                waiting: set[asyncio.Task[Any]] = {commands, events, changed}
                if self._appending is not None:
                    waiting.add(self._appending)
                await asyncio.wait(waiting, timeout=self._until_due(), return_when=asyncio.FIRST_COMPLETED)
                if self._appending is not None and self._appending.done():
                    await self._appended()
                work: dict[int, list[Unit]] = {}
                side: list[Forward | DeadLetter] = []
                now = self.clock.now()
                if self.clock.missed():
                    self._resume(now)
                if events.done():
                    self._feeder.events(events.result(), work, now)
                    events = None
                    self._take_repairs(tail)
                if commands.done():
                    self._feeder.commands(commands.result(), work, side, now)
                    commands = None
                self._feeder.time(work, now)
                if work or side:
                    await self._appended()  # one batch on its way while the next is decided, not more
                    self._appending = asyncio.create_task(self._append(work, side))
                await self._keep_snapshots(tail)
                self._look(tail)
                self._check_inputs(consumer)
                if self._targets:
                    self._check_ready(consumer, tail)
                if changed.done() or self._restart_due():
                    await self._quiesce(commands, events, tail)
                    commands = events = None
                    self._changed.clear()
                    changed.cancel()
                    changed = asyncio.create_task(self._changed.wait())
                    await self._reassign(consumer, tail)
        finally:
            await end_all([task for task in (commands, events, changed, self._appending) if task is not None])

    async def _appended(self) -> None:
        """Wait until what is on its way has come to its end. Raises what ended it."""
        task, self._appending = self._appending, None
        if task is not None:
            await task

    def _until_due(self) -> float:
        """Seconds until something is due by the clock; at most one."""
        wait = 1.0
        now = self.clock.now()
        for number, partition in self.partitions.items():
            due = partition.next_due()
            if due is not None and number not in self._targets:
                wait = min(wait, max(0.0, (due - now).total_seconds()))
        for moment in self._restart.values():
            wait = min(wait, max(0.0, moment - time.monotonic()))
        return wait

    def _resume(self, now: datetime) -> None:
        """Time went by that this process has not seen: what it has not heard meanwhile may wait in Kafka."""
        for number in list(self.partitions):
            if number not in self._targets:
                self._feeder.resumed(number, now)

    def _take_repairs(self, tail: Tail) -> None:
        for repair in tail.take_repairs():
            for number in self._feeder.repaired(repair):
                self._start_over(number)

    async def _append(self, work: dict[int, list[Unit]], side: list[Forward | DeadLetter]) -> None:
        """Append every partition's units; if that fails all start over."""
        self._begun += 1
        try:
            if not await self.appender.append(work, side):
                for number in list(self.partitions):
                    self._start_over(number)
        finally:
            self._ended += 1

    # Taking over and giving up partitions

    def _start_over(self, number: int) -> None:
        self.partitions.pop(number, None)
        self._targets.pop(number, None)
        # Two writers that believe in their assignment would otherwise fence each other in a tight loop.
        self._restart[number] = time.monotonic() + random.uniform(0.05, 0.5)

    def _restart_due(self) -> bool:
        return any(moment <= time.monotonic() for moment in self._restart.values())

    def _look(self, tail: Tail) -> None:
        """Read the own topic only now and then, unless the decider reacts to it: else each append would wake the very
        process that made it. What a look is for can wait: a newer marker makes void whatever this one still appends,
        and a snapshot is stored once it was seen."""
        if topics.events(self.context) in self._foreign:
            return
        if self.stops:  # what stands still waits for a repair, which comes with what is read: read on everywhere
            self._looking.clear()
            for number in self._assigned:
                tail.resume((self.context, number))
            return
        look = time.monotonic() >= self._look_at
        for place, standing in tail.positions.items():
            if place[0] != self.context:
                continue
            partition = self.partitions.get(place[1])
            if place in self._looking:
                if standing.offset == self._looking[place]:
                    continue
                del self._looking[place]
            elif look and partition is not None and standing.offset < partition.next_offset:
                self._looking[place] = standing.offset
                tail.resume(place)
                continue
            tail.pause(place)
        if look:
            self._look_at = time.monotonic() + LOOK_EVERY

    def _check_inputs(self, consumer: Consumer) -> None:
        """Notice that the commands are others now. Raises LogLost."""
        if time.monotonic() < self._check_at:
            return
        self._check_at = time.monotonic() + LOOK_EVERY
        own = topics.commands(self.context)
        heard_of = bool(consumer.partitions_for_topic(self.settings.prefix + own))
        if self._heard_of and not heard_of:
            raise LogLost({own: 0})
        self._heard_of = self._heard_of or heard_of
        if not self._assigned:
            # Who reads nothing does not hear of a topic that is made anew: its partitions would wait for minutes.
            consumer._client.force_metadata_update()
        for number, partition in self.partitions.items():
            place = TopicPartition(self.settings.prefix + own, number)
            if number in self._targets or place not in consumer.assignment():
                continue
            end, handled = consumer.highwater(place), partition.resume_of(own, number).offset
            if end is not None and end < handled:
                raise LogLost({f"{own}/{number}": handled})

    async def _quiesce(
        self, commands: asyncio.Task[Any] | None, events: asyncio.Task[list[Raw]] | None, tail: Tail
    ) -> None:
        """Stop reading and handle what was read, so that no record fetched before a seek is handled after it."""
        await end_all([task for task in (commands, events) if task is not None])
        work: dict[int, list[Unit]] = {}
        side: list[Forward | DeadLetter] = []
        now = self.clock.now()
        if events is not None and not events.cancelled():
            self._feeder.events(events.result(), work, now)
        if commands is not None and not commands.cancelled():
            self._feeder.commands(commands.result(), work, side, now)
        await self._appended()
        if work or side:
            await self._append(work, side)

    async def _reassign(self, consumer: Consumer, tail: Tail) -> None:
        for number in set(self.partitions) - self._assigned:
            log.info("%s/%d: given up", self.context, number)
            self.partitions.pop(number)
            self._targets.pop(number, None)
        for number in set(self._restart) - self._assigned:
            del self._restart[number]  # else it would be due for ever
        for number in {stop.number for stop in self.stops} - self._assigned:
            self._feeder.release(number)
        now = time.monotonic()
        fresh = [
            number
            for number in sorted(self._assigned - set(self.partitions))
            if self._restart.get(number, 0.0) <= now and not self._stands(number)
        ]
        if not fresh:
            return
        for number in fresh:
            self._restart.pop(number, None)
        own = self.settings.prefix + topics.commands(self.context)
        places = [TopicPartition(own, number) for number in fresh]
        still = [place for place in places if place in consumer.assignment()]
        consumer.pause(*still)
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self.appender.producer.running()
            started = await recovery.take_over(
                self.decider,
                fresh,
                self._feeder.count,
                self.settings,
                producer,
                self.snapshots,
                self.clock.now(),
                tail.positions,
                self._feeder.inputs,
            )
        except LogLost:
            raise
        except (KafkaError, OSError, NoTopic) as error:
            log.error("taking over failed, trying again: %s: %s", type(error).__name__, error)
            if producer is not None:
                self.appender.producer.failed(producer)
            for number in fresh:
                self._start_over(number)
            return
        for number, outcome in started.items():
            if isinstance(outcome, recovery.Failed):
                if outcome.of_view:
                    self._feeder.stop_input(number, outcome.raw, outcome.error)
                    self._start_over(number)
                else:
                    self._feeder.stop(number, outcome.error, outcome.raw)
                continue
            self.partitions[number] = outcome
            self._targets[number] = {}  # what it must have read is found out next: it is not ready meanwhile
        await self._rewind(tail, [number for number in fresh if number in self.partitions])
        self._check_ready(consumer, tail)

    async def _rewind(self, tail: Tail, fresh: list[int]) -> None:
        """Put the tail where the fresh partitions need it; the others ignore what they have handled."""
        if not fresh:
            return
        for number in fresh:
            for note in await resuming.mend(self.partitions[number], await tail.asking(), self.settings.prefix):
                log.error("%s/%d: %s", self.context, number, note)
                self.notes[f"{self.context}/{number}"] = note
        ends = await tail.ends()
        own = topics.events(self.context)
        earlier: dict[Place, ReaderPosition] = {}
        for place, standing in tail.positions.items():
            topic = topics.events(place[0])
            wanted: list[ReaderPosition] = []
            if topic in self._foreign:
                wanted += [self.partitions[number].read_from(topic, place[1]) for number in fresh]
            if topic == own and place[1] in fresh:
                epoch = self.partitions[place[1]].epoch
                wanted.append(ReaderPosition(epoch + 1, epoch))
                if topic not in self._foreign and standing.offset <= epoch:
                    tail.seek(place, wanted[0])  # it was somebody else's, and was not read meanwhile
            earliest = min(wanted, key=lambda position: position.offset, default=standing)
            if earliest.offset < standing.offset:
                earlier[place] = earliest
        if earlier:
            await tail.rewind(earlier)
        inputs = {place: end for place, end in ends.items() if topics.events(place[0]) in self._foreign}
        for number in fresh:
            self._targets[number] = inputs

    def _check_ready(self, consumer: Consumer, tail: Tail) -> None:
        own = self.settings.prefix + topics.commands(self.context)
        for number, targets in list(self._targets.items()):
            if any(tail.positions[place].offset < target for place, target in targets.items()):
                continue
            del self._targets[number]
            partition = self.partitions[number]
            place = TopicPartition(own, number)
            if place not in consumer.assignment():
                continue
            resume = partition.resume_of(topics.commands(self.context), number)
            consumer.seek(place, resume.offset)
            consumer.resume(place)
            now = self.clock.now() if partition.last_time is None else self.clock.at_least(partition.last_time)
            self._feeder.resumed(number, now)
            log.info("%s/%d: ready, epoch %d, commands from %d", self.context, number, partition.epoch, resume.offset)

    # Snapshots

    async def _keep_snapshots(self, tail: Tail) -> None:
        if self.snapshots is None:
            return
        if any(self.snapshots.due(partition) for partition in self.partitions.values()):
            await self._appended()  # a snapshot holds what is in the log, and no more
        for number, partition in self.partitions.items():
            if number in self._targets:
                continue
            confirmed = tail.positions.get((self.context, number), ReaderPosition())
            self.snapshots.offer(partition, confirmed)
