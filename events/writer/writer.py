"""The single writer of a context's event partitions: feeds `Partition`s from Kafka and appends what they decide.

Each context has one loop (`Writer`). It takes what has arrived, decides it, and appends the events of each partition in
RecordBatches; a unit is never split. While Kafka stores one batch, the loop decides the next.

A consumer group on the command topic assigns partitions. The writer fences an assigned partition with a marker and
folds it up to that marker before it decides the first command. After a failed append or a newer marker it throws the
state of the partition away and starts over from the log.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition

from events.log import connect, topics
from events.log.access import client_options
from events.log.consumers import PATIENT
from events.log.fetching import Consumer, Raws
from events.log.tail import LogLost, Tail
from events.log.wire import Raw
from events.process.clock import Clock
from events.process.settings import Settings
from events.process.tasks import end_all
from events.writer.appending import Appender
from events.writer.assignment import Assignment
from events.writer.deciders import OneOrMore, gathered
from events.writer.dispatch import Dispatcher
from events.writer.encoding import DeadLetter, Forward, Unit
from events.writer.hearing import Hearing
from events.writer.noise import Reading
from events.writer.own_topic import OwnTopic
from events.writer.partition import Partition
from events.writer.questions import Ask
from events.writer.snapshots import Snapshots, undumpable
from events.writer.stops import Stops

log = logging.getLogger("forgelog.writer")

_MOST_RECORDS = 2_000

_SESSION_SECONDS = 10.0
"""Silence after which the broker removes a member from the group. Until then a static member (KIP-345) that rejoins
gets its former assignment, which lacks the partitions of a topic that was recreated meanwhile."""

CHECK_EVERY = 1.0
"""Seconds between two checks whether the command topic is still the same."""


class Writer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs a context's deciders. `run` works until cancelled; `status` shows the state of each partition."""

    def __init__(
        self,
        deciders: OneOrMore,
        settings: Settings,
        snapshots: Snapshots | None = None,
        ask: Ask | None = None,
    ) -> None:
        """`ask`: sends a question to another context; needed if a decider has `consults`."""
        deciders = gathered(deciders)
        self.settings = settings
        self.snapshots = snapshots
        self.clock = Clock()
        self.context = deciders.context
        self.partitions: dict[int, Partition] = {}
        self.appender = Appender(deciders.context, settings, self.partitions)
        self.assignment = Assignment(deciders, settings, self.partitions, self.appender, self.clock, snapshots)
        self._handler = self.assignment.handler
        orders = deciders.dispatching
        self.dispatcher = (
            Dispatcher(deciders, settings, self.partitions, self.stops, ask, lambda: self._tail) if orders else None
        )
        self._changed = asyncio.Event()
        self._appending: asyncio.Task[None] | None = None
        """The append that is under way."""
        self._contexts = tuple(sorted(deciders.foreign | {self.context}))
        self._own = OwnTopic(self.context, self._handler, self.assignment, self.partitions, self.dispatcher)
        self._consumer: Consumer | None = None
        self._tail: Tail | None = None
        self._begun = 0
        """Appends that were started."""
        self._ended = 0
        """Appends that have ended, also by an error."""
        self._hearing = Hearing()
        self._reading = Reading(deciders)
        self._check_at = 0.0
        self._heard_of = False
        """Whether the consumer has metadata of the commands' topic; a slow broker may send it late."""

    # Assignment (called by the consumer's coordinator)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self.assignment.assigned -= {place.partition for place in revoked}
        self._changed.set()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.assignment.assigned |= {place.partition for place in assigned}
        self._changed.set()

    def status(self) -> dict[str, Any]:
        """State, epoch and next offset of every assigned partition; problems and notices by place."""
        shown: dict[str, Any] = {}
        for number, state in self.assignment.states().items():
            partition = self.partitions.get(number)
            shown[str(number)] = {
                "state": state,
                "epoch": partition.epoch if partition else -1,
                "next_offset": partition.next_offset if partition else 0,
            }
        return {
            "context": self.context,
            "partitions": shown,
            "problems": {stop.place: stop.text for stop in self.stops},
            "notices": {**self.assignment.notes, **undumpable(self.context, self.partitions, self.snapshots)},
        }

    def readings(self) -> Iterator[tuple[str, str, int, int, str]]:
        """The progress of each reader: kind and place (see `events.progress`), next offset, end offset, and the known
        cause if it stands still."""
        yield (
            "appends",
            topics.events(self.context),
            self._ended,
            self._begun,
            "the broker does not take what was decided",
        )
        if self.dispatcher is not None:
            yield from self.dispatcher.readings()
        if self._consumer is None or self._tail is None:
            return
        own = topics.commands(self.context)
        waits = "what was decided before is still on its way into the log" if self._begun > self._ended else ""
        for number in self.partitions:
            standing = self._consumer.standing(TopicPartition(self.settings.prefix + own, number))
            if standing is not None and number not in self.assignment.targets:
                yield "commands", f"{own}/{number}", *standing, self.stops.cause_of(own, number) or waits
        for place, at in self._tail.positions.items():
            topic = topics.events(place[0])
            if topic in self._handler.foreign:
                end, cause = self._own.end_of(self._tail, place), self.stops.cause_of(topic, place[1]) or waits
                yield "events", f"{topic}/{place[1]}", at.offset, end, cause

    @property
    def ready(self) -> bool:
        """Whether every assigned partition takes commands, or is stopped and shown in `status`."""
        assigned = self.assignment.assigned
        held = set(self.partitions) | {number for number in assigned if self.assignment.stands(number)}
        return bool(held) and held == assigned and not self.assignment.targets

    @property
    def stops(self) -> Stops:
        """The stopped partitions, inputs and orders, each with its cause."""
        return self._handler.stops

    # The loop

    async def run(self) -> None:
        """Write until cancelled. Starts over when the log has been replaced by another one."""
        while True:
            try:
                await self._run()
            except LogLost as error:
                log.error("%s: %s; starting over from what it is now", self.context, error)
            finally:
                self._forget()
            await topics.ensure_topics(self.settings)  # others need them while this waits
            await asyncio.sleep(_SESSION_SECONDS + 1.0 if self.settings.instance else random.uniform(0.5, 1.0))

    def _forget(self) -> None:
        """Drop all state of the log that was read."""
        self._appending = None
        self.partitions.clear()
        self.assignment.forget()
        if self.dispatcher is not None:
            self.dispatcher.forget()
        if self.snapshots is not None:
            self.snapshots.start_over()
        self._heard_of = False

    async def _run(self) -> None:
        counts = await topics.ensure_topics(self.settings)
        self._handler.count = counts[topics.commands(self.context)]
        consumer = Consumer(
            **client_options(self.settings),
            group_id=f"{self.settings.prefix}{self.context}.writer",
            group_instance_id=self.settings.instance or None,
            client_id=self.settings.instance or "forgelog",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # an aborted transaction of a producer takes its commands back
            key_deserializer=Raws(self.settings.prefix),
            fetch_max_bytes=16 << 20,
            **PATIENT,
            max_partition_fetch_bytes=4 << 20,
            session_timeout_ms=int(_SESSION_SECONDS * 1000),
            heartbeat_interval_ms=2_000,
        )
        try:
            await self.appender.producer.open()
            await consumer.start()
            consumer.subscribe([self.settings.prefix + topics.commands(self.context)], listener=self)
            async with Tail(self.settings, self._contexts, start="end", patient=True) as tail:
                self._handler.repairs = tail.repairs
                self._consumer, self._tail = consumer, tail
                await self._loop(consumer, tail)
        finally:
            self._consumer = self._tail = None
            try:
                await connect.stop(consumer)
            finally:
                await self.appender.producer.close()

    async def _loop(self, consumer: Consumer, tail: Tail) -> None:
        """The cycle, until cancelled:

        1. Wait for commands, events, the end of an append, a new assignment, or the next due time; one second at most.
        2. If this process or the machine was paused, call `on_resume` for each partition.
        3. Record for each partition up to where its orders were sent (`OrdersSent`).
        4. Handle the events that came (reactions), the repairs among them, and own events that were not read.
        5. Handle the commands that came (decisions).
        6. Let each partition act by itself: `wake` for due keys if the broker answers (`hearing`), then `after_batch`.
        7. Append the events of steps 3 to 6, once the previous append has ended.
        8. Take snapshots, pause or resume the reading of own events, and check that the log is still the same.
        9. Let a new partition take commands once it has caught up.
        10. If the assignment has changed or a partition may start over, finish what was read, append it, give up
            revoked partitions and take over new ones.
        """
        commands: asyncio.Task[Any] | None = None
        events: asyncio.Task[list[Raw]] | None = None
        changed = asyncio.create_task(self._changed.wait())
        dispatching = asyncio.create_task(self.dispatcher.run()) if self.dispatcher is not None else None
        try:
            while True:
                commands = commands or asyncio.create_task(
                    consumer.getmany(timeout_ms=60_000, max_records=_MOST_RECORDS)
                )
                events = events or asyncio.create_task(self._reading.next(tail, 60.0))
                waiting: set[asyncio.Task[Any]] = {commands, events, changed}
                if self._appending is not None:
                    waiting.add(self._appending)
                if dispatching is not None:
                    waiting.add(dispatching)
                await asyncio.wait(waiting, timeout=self._until_due(tail), return_when=asyncio.FIRST_COMPLETED)
                if dispatching is not None and dispatching.done():
                    await dispatching  # it ends only by an exception, which this raises
                if self._appending is not None and self._appending.done():
                    await self._appended()
                work: dict[int, list[Unit]] = {}
                side: list[Forward | DeadLetter] = []
                now = self.clock.now()
                if self.clock.missed():
                    self._resume(now)
                if self.dispatcher is not None:
                    self.dispatcher.report(work, now)  # first, so that it precedes what is decided below in the log
                if events.done():
                    self._hear(events.result(), work, now)
                    events = None
                    self._take_repairs(tail)
                self._hear(self._own.take(tail), work, now)
                if commands.done():
                    self._handler.commands(commands.result(), work, side, now)
                    commands = None
                self._listen(consumer, now)
                self._handler.time(work, now, self._hearing.deaf)
                if work or side:
                    await self._appended()  # at most one append is under way while the next batch is decided
                    self._appending = asyncio.create_task(self._append(work, side))
                await self._keep_snapshots(tail)
                if (events is None or not events.done()) and self._own.choose(tail):
                    await self._quiesce(commands, events, tail)
                    commands = events = None
                    await tail.rewind({})
                self._check_inputs(consumer)
                if self.assignment.targets:
                    self.assignment.check_ready(consumer, tail)
                if changed.done() or self.assignment.start_due():
                    await self._quiesce(commands, events, tail)
                    commands = events = None
                    self._changed.clear()
                    changed.cancel()
                    changed = asyncio.create_task(self._changed.wait())
                    await self.assignment.reassign(consumer, tail)
        finally:
            await end_all(
                [task for task in (commands, events, changed, dispatching, self._appending) if task is not None]
            )

    async def _appended(self) -> None:
        """Wait for the end of the append that is under way, if any. Raises what it raised."""
        task, self._appending = self._appending, None
        if task is not None:
            await task

    def _until_due(self, tail: Tail) -> float:
        """Seconds until there is something to do; at most one."""
        wait = 0.0 if self._own.has(tail) else 1.0
        now = self.clock.now()
        for number, partition in self.partitions.items():
            due = partition.next_due()
            if due is not None and number not in self.assignment.targets and number not in self._hearing.deaf:
                wait = min(wait, max(0.0, (due - now).total_seconds()))
        return min(wait, self.assignment.until_start())

    def _listen(self, consumer: Consumer, now: datetime) -> None:
        """Find out which partitions hear nothing; for those that hear again it is as after a pause."""
        topic = self.settings.prefix + topics.commands(self.context)
        places = {
            number: TopicPartition(topic, number) for number in self.partitions if number not in self.assignment.targets
        }
        assigned = consumer.assignment()
        marks = {number: consumer.answered(place) for number, place in places.items() if place in assigned}
        for number in self._hearing.note(marks, time.monotonic()):
            self._handler.on_resume(number, now)

    def _resume(self, now: datetime) -> None:
        """Handle a pause of this process: quiet commands of that time may still wait in Kafka."""
        for number in list(self.partitions):
            if number not in self.assignment.targets:
                self._handler.on_resume(number, now)

    def _hear(self, raws: list[Raw], work: dict[int, list[Unit]], now: datetime) -> None:
        self._handler.events(raws, work, now)
        if self.dispatcher is not None:
            self.dispatcher.hear(raws)
        if self.snapshots is not None:
            self.snapshots.note_origins(raws)

    def _take_repairs(self, tail: Tail) -> None:
        for repair in tail.take_repairs():
            for number in self._handler.repaired(repair):
                self.assignment.start_over(number)

    async def _append(self, work: dict[int, list[Unit]], side: list[Forward | DeadLetter]) -> None:
        """Append every partition's units. If that fails, all partitions start over."""
        self._begun += 1
        try:
            if not await self.appender.append(work, side):
                for number in list(self.partitions):
                    self.assignment.start_over(number)
        finally:
            self._ended += 1

    # Checks of the inputs

    def _check_inputs(self, consumer: Consumer) -> None:
        """Raises LogLost if the command topic was deleted, cut or replaced."""
        if time.monotonic() < self._check_at:
            return
        self._check_at = time.monotonic() + CHECK_EVERY
        own = topics.commands(self.context)
        heard_of = bool(consumer.partitions_for_topic(self.settings.prefix + own))
        if self._heard_of and not heard_of:
            raise LogLost({own: 0})
        self._heard_of = self._heard_of or heard_of
        if not self.assignment.assigned:
            # A consumer without partitions does not notice a recreated topic: its partitions would wait for minutes.
            consumer._client.force_metadata_update()
        for number, partition in self.partitions.items():
            place = TopicPartition(self.settings.prefix + own, number)
            if number in self.assignment.targets or place not in consumer.assignment():
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
            self._hear(events.result(), work, now)
        if commands is not None and not commands.cancelled():
            self._handler.commands(commands.result(), work, side, now)
        await self._appended()
        if work or side:
            await self._append(work, side)

    # Snapshots

    async def _keep_snapshots(self, tail: Tail) -> None:
        if self.snapshots is None:
            return
        if any(self.snapshots.due(partition) for partition in self.partitions.values()):
            await self._appended()  # a snapshot must not hold what is not in the log yet
        for number, partition in self.partitions.items():
            if number in self.assignment.targets:
                continue
            self.snapshots.offer(partition, self._own.known(tail, number))
