"""Reads event topics as every reader must: in order, valid records only, from a position that includes the epoch.

The epoch rule decides which records are valid: see `events.log.positions`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from events.log.connect import connected, start, stop
from events.log.consumers import HASTY, PATIENT, new_consumer
from events.log.envelope import Recorded
from events.log.fetching import Consumer
from events.log.positions import EpochRule, Place, ReaderPosition, place_of
from events.log.reading import read_to_end
from events.log.repairs import Repair, Repairs
from events.log.topics import REPAIRS, context_of, events
from events.log.wire import Damage, Raw
from events.process.settings import Settings

log = logging.getLogger("forgelog.reading")

LOOK_BACK = 200
"""Records read before the end, to learn the epoch there."""


class NoTopic(LookupError):
    """Kafka does not know the topic, or has not said so in time."""

    @classmethod
    def at(cls, settings: Settings, names: Iterable[str]) -> NoTopic:
        """The error for missing topics (names without prefix)."""
        topics = ", ".join(settings.prefix + name for name in names)
        return cls(f"there is no topic {topics} at {settings.kafka}; give the address of the platform's Kafka")


class LogLost(KafkaError):  # type: ignore[misc]
    """A topic ends before a position that was read: it was cut, or created anew, under its reader."""

    def __init__(self, where: Mapping[str, int], places: Collection[Place] = ()) -> None:
        """`where`: topic and partition (``events.jobs/3``) → the offset up to which it was read."""
        super().__init__(f"the log has lost what was read before {', '.join(f'{p}@{at}' for p, at in where.items())}")
        self.places = tuple(places)


_FIXED = {**PATIENT, "fetch_max_wait_ms": 10_000}
"""`PATIENT` for a consumer whose assignment never changes."""


async def read_repairs(settings: Settings, known: Repairs | None = None) -> Repairs:
    """All repairs at the time of the call. `known`: repairs that were read before, to which new ones are added."""
    repairs = known or Repairs()
    place = TopicPartition(settings.prefix + REPAIRS, 0)
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, raws in read_to_end(consumer, {place: repairs.until}):
            repairs.add(raws)
    return repairs


class Tail:
    """Follows event topics. An async context manager; see `poll`.

    `start`: each place's position; a place that it leaves out starts at the beginning. ``"end"`` starts at the current
    end; the last records before it give the epoch there.
    """

    def __init__(
        self,
        settings: Settings,
        contexts: Sequence[str],
        *,
        start: Mapping[Place, ReaderPosition] | Literal["beginning", "end"] = "beginning",
        partitions: Collection[int] | None = None,
        max_records: int = 2000,
        patient: bool = False,
        hasty: bool = False,
        repairs: Repairs | None = None,
    ) -> None:
        """`patient`: for a reader without an end that seldom seeks. Its fetches wait long at the broker, and a request
        on the same connection (a seek, for example) waits as long.
        `hasty`: for a reader of records that are there already, from some places at a time (`only` of `poll_raw`). It
        does not learn of repairs that are made meanwhile.
        `repairs`: all repairs, if the caller has read them."""
        self._settings = settings
        self._contexts = tuple(contexts)
        self._start = start
        self._only = partitions
        self.max_records = max_records
        self._options = _FIXED if patient else HASTY if hasty else {}
        self._consumer: Consumer | None = None
        self._asking: Consumer | None = None
        """For requests that must not wait behind a fetch."""
        self._opening = asyncio.Lock()
        self._follows_repairs = not hasty
        self._paused: set[Place] = set()
        self._resting = False
        self.stopped: dict[Place, int] = {}
        """Stopped places → the offset of the record at which each stopped, until that is repaired."""
        self._given = repairs
        self.repairs = repairs or Repairs()
        """The records to skip."""
        self._heard: list[Repair] = []
        self._rules: dict[Place, EpochRule] = {}
        self.positions: dict[Place, ReaderPosition] = {}

    async def __aenter__(self) -> Tail:
        await self.start()
        return self

    async def start(self) -> None:
        """Connect and seek to the start positions."""
        self._consumer = consumer = self._new_consumer()
        await start(consumer)
        try:
            places = [(context, p) for context in self._contexts for p in await self._partitions(context)]
            if self._start == "end":
                ends = await consumer.end_offsets([self._topic(place) for place in places])
            await self._know_repairs(consumer)
            consumer.assign([*(self._topic(place) for place in places), *self._repairs_topic()])
            for topic in self._repairs_topic():
                consumer.seek(topic, self.repairs.until)
            for place in places:
                if self._start == "end":
                    end = ends[self._topic(place)]
                    self.seek(place, ReaderPosition(max(0, end - LOOK_BACK), -1))
                    self.positions[place] = ReaderPosition(end, -1)
                elif isinstance(self._start, Mapping):
                    self.seek(place, self._start.get(place, ReaderPosition()))
                else:
                    self.seek(place, ReaderPosition())
        except BaseException:
            await stop(consumer)
            raise

    async def _know_repairs(self, consumer: Consumer) -> None:
        await self._partitions_of(REPAIRS)
        if self._given is None:
            place = TopicPartition(self._settings.prefix + REPAIRS, 0)
            if (await consumer.end_offsets([place]))[place] > self.repairs.until:
                await read_repairs(self._settings, self.repairs)

    def _repairs_topic(self) -> list[TopicPartition]:
        return [TopicPartition(self._settings.prefix + REPAIRS, 0)] if self._follows_repairs else []

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Disconnect."""
        async with self._opening:  # so that a consumer that is just being opened is stopped too
            consumers = [consumer for consumer in (self._consumer, self._asking) if consumer is not None]
            self._consumer = self._asking = None
            await stop(*consumers)

    async def _partitions(self, context: str) -> list[int]:
        found = await self._partitions_of(events(context))
        return sorted(found if self._only is None else found & set(self._only))

    async def _partitions_of(self, name: str) -> set[int]:
        topic = self._settings.prefix + name
        deadline = time.monotonic() + 10
        consumer = self._running
        while not (found := await consumer.partitions_of(topic)):
            if time.monotonic() > deadline:
                raise NoTopic(f"there is no topic {topic}; start the platform's services first (`forgelog up`)")
            await asyncio.sleep(0.02)
        return found

    def _new_consumer(self) -> Consumer:
        # The log keeps everything: a position that is not in it means another log, so the reader must not go on.
        return new_consumer(self._settings, auto_offset_reset="none", **self._options)

    @property
    def _running(self) -> Consumer:
        if self._consumer is None:
            raise RuntimeError("Tail is used outside its `async with` block")
        return self._consumer

    def _topic(self, place: Place) -> TopicPartition:
        return TopicPartition(self._settings.prefix + events(place[0]), place[1])

    def _place(self, topic: TopicPartition) -> Place:
        return context_of(topic.topic.removeprefix(self._settings.prefix)), topic.partition

    def seek(self, place: Place, position: ReaderPosition) -> None:
        """Continue a place at another position."""
        self._running.seek(self._topic(place), position.offset)
        self._rules[place] = EpochRule(position.epoch, position.offset)
        self.positions[place] = position

    async def rewind(self, positions: Mapping[Place, ReaderPosition]) -> None:
        """Continue places at other positions at once, and those that were resumed where they stand. (After a `seek` or
        a `resume`, a fetch that waits at the broker must end first.)"""
        fresh = self._new_consumer()
        await start(fresh)
        old, self._consumer = self._running, fresh
        fresh.assign([*(self._topic(place) for place in self.positions), *self._repairs_topic()])
        for topic in self._repairs_topic():
            fresh.seek(topic, self.repairs.until)
        for place, position in {**self.positions, **positions}.items():
            self.seek(place, position)
        fresh.pause(*(self._topic(place) for place in {*self._paused, *self.stopped}))
        self._pause_repairs()
        await stop(old)

    def pause(self, place: Place) -> None:
        """Pause the reading of a place."""
        if place not in self._paused:
            self._paused.add(place)
            self._running.pause(self._topic(place))
            self._pause_repairs()

    def _pause_repairs(self) -> None:
        """Pause the topic of repairs if all places are paused: a place that resumes would have to wait for a fetch of
        the repairs alone."""
        if len(self._paused) == len(self.positions):
            self._running.pause(*self._repairs_topic())

    def resume(self, place: Place) -> bool:
        """Resume a paused place with the next fetch; one that is under way may have to end first (see `rewind`). Amid a
        rest: when it ends, since a fetch of this place alone would be one that all others have to wait for. Returns
        whether it was paused."""
        if place not in self._paused:
            return False
        self._paused.remove(place)
        if not self._resting:
            if place not in self.stopped:
                self._running.resume(self._topic(place))
            self._running.resume(*self._repairs_topic())
        return True

    def stop_at(self, raw: Raw) -> None:
        """Stop a place at an unusable record. After a repair the place goes on: behind it if it is skipped."""
        place = place_of(raw)
        self.stopped[place] = raw.offset
        self._running.pause(self._topic(place))
        self.seek(place, ReaderPosition(raw.offset, raw.epoch))

    def stands_before(self, raw: Raw) -> bool:
        """Whether the place is stopped at this record, or at one before it."""
        return bool(self.stopped) and raw.offset >= self.stopped.get(place_of(raw), raw.offset + 1)

    def take_repairs(self) -> list[Repair]:
        """The repairs that were read since the last call."""
        heard, self._heard = self._heard, []
        return heard

    def _hear(self, raws: list[Raw]) -> None:
        for repair in self.repairs.add(raws):
            self._heard.append(repair)
            for place, offset in list(self.stopped.items()):
                if repair.place == (events(place[0]), place[1]) and repair.first <= offset <= repair.last:
                    del self.stopped[place]
                    self.seek(place, self.positions[place])
                    if place not in self._paused:
                        self._running.resume(self._topic(place))

    def rest(self) -> None:
        """Send no fetches until `go_on`, so that new records wake nobody. Nothing is lost."""
        self._resting = True
        self._running.pause(*(self._topic(place) for place in self.positions), *self._repairs_topic())

    def go_on(self) -> None:
        """Send fetches again after `rest`."""
        self._resting = False
        going = [place for place in self.positions if place not in self._paused and place not in self.stopped]
        self._running.resume(*(self._topic(place) for place in going))
        if len(self._paused) < len(self.positions):
            self._running.resume(*self._repairs_topic())

    def last_known_end(self, place: Place) -> int:
        """The end of a place by the last answer to a fetch, and at least the position. Sends no request."""
        standing = self._consumer.standing(self._topic(place)) if self._consumer is not None else None
        read = self.positions[place].offset
        return read if standing is None else max(read, standing[1])

    async def ends(self) -> dict[Place, int]:
        """Place → its current end: one past the last offset."""
        places = list(self.positions)
        ends = await (await self.asking()).end_offsets([self._topic(place) for place in places])
        return {place: ends[self._topic(place)] for place in places}

    async def asking(self) -> Consumer:
        """A consumer for requests that must not wait behind a fetch."""
        async with self._opening:
            if self._asking is None:
                _ = self._running  # raises if the tail is stopped: nothing would stop this consumer
                asking = new_consumer(self._settings)
                await start(asking)
                self._asking = asking
            return self._asking

    async def poll_raw(self, timeout: float, *, only: Iterable[Place] | None = None) -> list[Raw]:
        """Valid records, undecoded, markers included; waits at most `timeout` seconds for the first.

        Raises LogLost.
        """
        partitions = [self._topic(place) for place in only] if only is not None else []
        try:
            fetched = await self._running.getmany(
                *partitions, timeout_ms=max(0, int(timeout * 1000)), max_records=self.max_records
            )
        except OffsetOutOfRangeError as error:
            lost = dict(error.args[0])
            for topic in self._repairs_topic():
                if lost.pop(topic, None) is not None:
                    self.repairs.forget()
                    self._running.seek(topic, 0)
            if not lost:
                return []
            places = {self._place(at): offset for at, offset in lost.items()}
            raise LogLost({f"{events(name)}/{n}": offset for (name, n), offset in places.items()}, [*places]) from None
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(0.1)
            return []
        valid: list[Raw] = []
        for records in fetched.values():
            if not records:
                continue
            raws: list[Raw] = records
            if raws[0].topic == REPAIRS:
                self._hear(raws)
                continue
            place = place_of(raws[0])
            if place in self.stopped:
                continue
            rule = self._rules[place]
            expected = self.positions[place].offset
            if self.repairs.concern(raws[0].topic, raws[0].partition):
                raws = [raw for raw in raws if not self._passed_over(raw, rule)]
            for raw in raws:
                if rule.admits(raw):
                    if raw.offset >= expected:
                        valid.append(raw)
                elif type(raw) is Damage:
                    raw.epoch = rule.epoch
                    valid.append(raw)
            self.positions[place] = ReaderPosition(max(expected, records[-1].last + 1), rule.epoch)
        return valid

    def _passed_over(self, raw: Raw, rule: EpochRule) -> bool:
        if not self.repairs.pass_over(raw):
            return False
        rule.missed(raw.last)
        return True

    async def poll(self, timeout: float) -> list[Recorded]:
        """Valid records of the contexts, decoded; waits at most `timeout` seconds for the first.

        Raises UnknownType at an event of a type that this version does not know. The caller must stop there.
        """
        return [raw.decode() for raw in await self.poll_raw(timeout) if not raw.is_marker]
