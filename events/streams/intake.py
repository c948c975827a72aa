"""The intake of a stream: reads its topic and stores it (`events.streams.storing`).

It has its own consumer over all partitions, without a group. Several processes may take in the same stream: each
compares the positions before it moves them, and every chunk moves one, so a chunk that one process has stored is not
stored by another. A record that can't be stored because of its content stops only its partition, until a repair.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from events.language.common import shown
from events.log import topics
from events.log.connect import connected
from events.log.consumers import PATIENT, new_consumer
from events.log.deadletters import letter_of
from events.log.envelope import Position
from events.log.fetching import Consumer
from events.log.partitioner import partition_of
from events.log.producer import Producer, ToSend
from events.log.repairs import Repair, Repairs
from events.log.tail import read_repairs
from events.log.wire import Damage, Raw
from events.process import metrics
from events.process.settings import Settings
from events.projections.positions import PositionsMoved
from events.projections.runner import GATHER
from events.projections.tables import quoted
from events.streams.ends import DoneTo
from events.streams.storing import Storing
from events.streams.stream import AnyStream, Unusable
from events.streams.taking import Item
from events.streams.upkeep import Upkeep
from events.writer.stops import Stops

NEXT = "_next"
"""Suffix of the schema's name during a rebuild."""
_MOST = 2000
"""Records fetched at once."""
_ANSWER_SECONDS = 10.0
"""Longest wait for the broker to say where partitions end."""
_AGAIN = 5.0
"""Seconds until a stream that stopped as a whole is tried again."""

log = logging.getLogger("forgelog.streams")

stored_chunks = Counter("forgelog_stream_chunks_total", "Chunks of streams stored", ["context", "stream"])


class Intake:
    """The intake of one stream in one process."""

    def __init__(self, stream: AnyStream, *, rebuilding: bool = False) -> None:
        """`rebuilding`: for the tables of a rebuild. Unusable records are dead letters already and are skipped."""
        self.stream = stream
        self.news = asyncio.Condition()
        """Notified when something was stored, and when a partition is known to be stored up to a wanted time."""
        self.arrived = 0
        """Raised with it."""
        self.stops = Stops(log)
        """Stopped partitions, or the stream as a whole, and why."""
        self.trouble = ""
        """Why nothing could be stored the last time; empty if it could."""
        self.pool: asyncpg.Pool | None = None
        """None until the tables are there."""
        self.schema = ""
        """The schema of the tables, quoted."""
        self._topic = stream.topic.name
        self._whole = f"stream {self._topic}"
        """The name of the place if the stream stops as a whole."""
        self._made = False
        """Whether this process has created the tables and had no error with them since."""
        self._partitions = 0
        self._rebuilding = rebuilding
        self._upkeep = Upkeep(stream, self.stops)
        self._repairs = Repairs()
        self._consumer: Consumer | None = None
        self._storing: Storing | None = None
        self._wanted = -math.inf
        """The latest time (monotonic) up to which a reader wants to know that everything is stored."""
        self._read_to = DoneTo()
        self._stored_to = DoneTo()
        self._known_ends: dict[int, int] = {}
        """The last known ends of the partitions."""

    # For readers

    def complete_to(self, moment: float, key: str) -> bool:
        """Whether all records with a Kafka key that were in the log at `moment` (`time.monotonic`) are stored. If not,
        `news` is notified once they are."""
        self._wanted = max(self._wanted, moment)
        return self._stored_to.time(self._partition_of(key)) >= moment

    def stands(self, key: str) -> str:
        """Why records with this Kafka key are not stored any more; empty if they are."""
        return self.stops.cause_of(self._topic, self._partition_of(key)) or self.stops.text_of(self._whole)

    def _partition_of(self, key: str) -> int:
        return partition_of(key, self._partitions) if self._partitions else -1

    async def wait_for(self, wanted: Sequence[Position], timeout: float) -> list[Position]:
        """Wait until the records at these positions are stored; returns those that are not after `timeout` seconds.

        Positions of other topics hold at once.
        """

        def missing() -> list[Position]:
            return [
                position
                for position in wanted
                if position.topic == self._topic and self.position(position.partition) <= position.offset
            ]

        if not missing():
            return []
        try:
            async with asyncio.timeout(timeout), self.news:
                await self.news.wait_for(lambda: not missing())
        except TimeoutError:
            return missing()
        return []

    def position(self, partition: int) -> int:
        """The next offset to be stored."""
        return 0 if self._storing is None else self._storing.position(partition)

    def readings(self) -> Iterator[tuple[str, str, int, int, str]]:
        """The progress of each partition: kind, place, next offset, end offset, and the known cause of a stop."""
        storing = self._storing
        if storing is None:
            return
        waits = storing.holding().keys() | storing.standing.keys()
        stores = "the database has not taken what was read" if storing.busy else ""
        for partition in range(self._partitions):
            at, end = storing.position(partition), self._known_ends.get(partition, 0)
            if self._consumer is not None and (standing := self._consumer.standing(self._at(partition))) is not None:
                read, end = standing
                self._known_ends[partition] = end
                if read >= end and partition not in waits and not storing.busy:
                    at = end  # the offsets left are markers of transactions, not records
            stop = self.stops.cause_of(self._topic, partition) or self.stops.text_of(self._whole)
            cause = stop or self.trouble or stores
            yield "stream", f"{self._topic}/{partition}", at, max(at, end), cause

    # Taking in

    async def run(self, settings: Settings, pool: asyncpg.Pool) -> None:
        """Take the stream in until cancelled; survives restarts of Kafka and Postgres."""
        self._settings = settings
        self._schema = f"{settings.schema_}_{self.stream.schema}{NEXT if self._rebuilding else ''}"
        self.schema = quoted(self._schema)
        self.stream.configure(settings)
        self._letters = Producer(settings)  # connects when there is a letter
        try:
            while True:
                await self._run_until_trouble(pool)
        finally:
            await self._letters.close()

    async def _run_until_trouble(self, pool: asyncpg.Pool) -> None:
        try:
            await self._run(pool)
        except PositionsMoved:
            log.info("%s: another process has stored some of it; going on behind that", self._topic)
        except (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._made = False
            self.trouble = f"{type(error).__name__}: {error}"
            log.warning("%s waits: %s", self._topic, self.trouble)
            await asyncio.sleep(0.5)
        except Exception as error:  # noqa: BLE001 - any error stops this stream and nothing else
            self._made = False
            nowhere = Position(f"stream.{self._topic}", 0, 0)
            self.stops.add(self._whole, error, at=nowhere, doing="what the stream does", kind="stream")
            await self._notify()
            await asyncio.sleep(_AGAIN)
        finally:
            self._consumer = None

    async def _run(self, pool: asyncpg.Pool) -> None:
        settings = self._settings
        self._partitions = (await topics.ensure_topics(settings))[self._topic]
        if self.stream.expiring and not self._rebuilding:
            self._upkeep.keep = await topics.kept(settings, self.stream.topic)
        storing = Storing(self.stream, pool, self._schema, self._stopped, self._refuse)
        await storing.open(make=not self._made)
        self._made = True
        self._storing, self.pool = storing, pool
        self._read_to, self._stored_to = DoneTo(), DoneTo()
        self.trouble = ""
        self._lift_passed(storing)
        await self._notify()  # another process may have stored what a reader waits for
        while True:
            async with connected(new_consumer(settings, **PATIENT)) as consumer:
                await self._assign(consumer, storing)
                self._consumer = consumer
                while not await self._turn(consumer, storing):
                    pass

    async def _assign(self, consumer: Consumer, storing: Storing) -> None:
        repairs = self._repairs_place
        # Without metadata of all partitions now, some would have to wait for the first fetch of the others.
        await consumer.partitions_of(self._settings.prefix + self._topic)
        end = (await consumer.end_offsets([repairs]))[repairs]
        if end < self._repairs.until:
            self._repairs.forget()  # the topic was made anew
        if end > (known := self._repairs.until):
            await read_repairs(self._settings, self._repairs)
            self._go_on(self._repairs.since(known), storing)
        places = [self._at(partition) for partition in range(self._partitions)]
        consumer.assign([*places, repairs])
        consumer.seek(repairs, self._repairs.until)
        for place in places:
            consumer.seek(place, storing.read_from(place.partition))
        consumer.pause(*map(self._at, storing.standing))

    async def _turn(self, consumer: Consumer, storing: Storing) -> bool:
        """Read and store what has come. Returns whether a stopped partition goes on. The caller then opens another
        consumer: in this one, a seek would have to wait for the fetch that waits at the broker."""
        await self._look_at_ends(consumer, storing)
        wait = 10 if self._upkeep.due else 1000
        fetched = await consumer.getmany(timeout_ms=wait, max_records=_MOST)
        if fetched:
            await asyncio.sleep(GATHER)
            for place, records in (await consumer.getmany(timeout_ms=0, max_records=_MOST)).items():
                fetched.setdefault(place, []).extend(records)
        again = self._apply_repairs(fetched.pop(self._repairs_place, ()), storing)
        await self._say_what_expired(consumer, storing, fetched)
        items = await self._read((raw for records in fetched.values() for raw in records), storing)
        overdue = storing.late(self._read_to.time)
        if items or overdue or storing.unfinished:
            count = await storing.store(items, overdue)
            stored_chunks.labels(self.stream.context, self._topic).inc(count)
            self._lift_passed(storing)
            await self._notify()
        if self._upkeep.due:
            await self._upkeep.step(storing)
        if self._whole in self.stops and (items or self._all_read(consumer, storing)):
            self.stops.lift(self._whole)
            await self._notify()
        return again

    def _lift_passed(self, storing: Storing) -> None:
        """Remove the stops of partitions that another process has stored beyond the stop."""
        for stop in self.stops:
            topic, partition, offset = stop.position
            if topic == self._topic and storing.position(partition) > offset:
                self.stops.lift(stop.place)

    def _all_read(self, consumer: Consumer, storing: Storing) -> bool:
        """Whether all partitions that are not stopped are read to the end that the broker reported."""
        going = [self._at(n) for n in range(self._partitions) if n not in storing.standing]
        heard = [consumer.standing(place) for place in going]
        return all(each is not None and each[0] >= each[1] for each in heard)

    async def _say_what_expired(
        self, consumer: Consumer, storing: Storing, fetched: Mapping[TopicPartition, Sequence[Raw]]
    ) -> None:
        """Log the records that the topic removed before they were read."""
        jumped = [at for at, raws in fetched.items() if raws and raws[0].offset > storing.read_from(at.partition)]
        for at, start in (await consumer.beginning_offsets(jumped)).items() if jumped else ():
            if start > (expected := storing.read_from(at.partition)):
                text = "%s/%d: the records from %d to %d were removed before they were read: the topic keeps no older"
                log.warning(text, self._topic, at.partition, expected, start - 1)

    @property
    def _repairs_place(self) -> TopicPartition:
        return TopicPartition(self._settings.prefix + topics.REPAIRS, 0)

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._settings.prefix + self._topic, partition)

    async def _look_at_ends(self, consumer: Consumer, storing: Storing) -> None:
        """Find out which partitions are stored up to the time that readers want, and which states that are due can get
        nothing more."""
        for partition in storing.standing:
            self._forget(partition)
        going = [n for n in range(self._partitions) if n not in storing.standing]
        ask = self._stored_to.to_ask(dict.fromkeys(going, self._wanted)) | self._read_to.to_ask(storing.due())
        if ask:
            asked = time.monotonic()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    found = await consumer.end_offsets([*map(self._at, ask)])
            except TimeoutError:
                # The broker is away for producers too: read the held records again and wait for them anew.
                problem = f"Kafka did not say within {_ANSWER_SECONDS:.0f} s where {self._topic} ends"
                raise ConnectionError(problem) from None
            ends = {at.partition: end for at, end in found.items()}
            self._read_to.heard(ends, asked)
            self._stored_to.heard(ends, asked)
        # Fetched records are stored before the next fetch, unless they are held.
        holding, done = storing.holding(), False
        for partition in {*self._read_to.open, *self._stored_to.open}:
            read = await consumer.position(self._at(partition))
            self._read_to.reach(partition, read)
            done |= self._stored_to.reach(partition, min(read, holding.get(partition, read)))
        if done:
            await self._notify()

    def _forget(self, partition: int) -> None:
        """Drop what is known of a partition that has stopped or is read again."""
        self._read_to.forget(partition)
        self._stored_to.forget(partition)

    async def _notify(self) -> None:
        async with self.news:
            self.arrived += 1
            self.news.notify_all()

    def _apply_repairs(self, raws: Sequence[Raw], storing: Storing) -> bool:
        """Take repairs. Returns whether a partition goes on because of them."""
        if raws and raws[0].offset < self._repairs.until:
            self._repairs.forget()  # the topic was made anew
        return self._go_on(self._repairs.add(raws), storing)

    def _go_on(self, repairs: Iterable[Repair], storing: Storing) -> bool:
        """Let the partitions go on that stopped at repaired records. Returns whether there are any."""
        mended = [stop for repair in repairs for stop in self.stops.mended_by(repair)]
        mine = [stop.position.partition for stop in mended if stop.position.topic == self._topic]
        for partition in mine:
            storing.go_on(partition)
            self._forget(partition)
        return bool(mine)

    def _stopped(self, raw: Raw, error: Exception) -> None:
        if self._consumer is not None:
            self._consumer.pause(self._at(raw.partition))
        key = (raw.key or b"").decode(errors="replace")
        self.stops.add(
            f"stream {self._topic}/{raw.partition}", error, raw, doing=f"a record of {shown(key)}", kind="stream"
        )

    async def _read(self, raws: Iterable[Raw], storing: Storing) -> list[Item]:
        """Records as pieces. An unusable record becomes a dead letter before its position moves."""
        items: list[Item] = []
        unusable: list[tuple[Raw, str]] = []
        now, read, key = time.monotonic(), self.stream.read, self.stream.key
        repaired = any(self._repairs.concern(self._topic, partition) for partition in range(self._partitions))
        for raw in raws:
            if storing.standing and storing.stands_before(raw):
                continue
            if repaired and self._repairs.pass_over(raw):
                items.append(Item(raw))
                continue
            try:
                if isinstance(raw, Damage):
                    raise Unusable(raw.problem)
                piece = read(raw)
                items.append(Item(raw, key(piece), piece, now))
            except Unusable as error:
                unusable.append((raw, str(error)))
                items.append(Item(raw))
            except Exception as error:  # noqa: BLE001 - any error of the stream's code stops this partition only
                storing.stop_at(raw, error)
        if unusable:
            await self._refuse(unusable)
        return items

    async def _refuse(self, unusable: Sequence[tuple[Raw, str]]) -> None:
        """Make dead letters of records."""
        if not self._rebuilding:  # else they are dead letters already
            await self._letters.send_all([self._letter(raw, reason) for raw, reason in unusable])
            metrics.dead_letters.labels(self.stream.context).inc(len(unusable))

    def _letter(self, raw: Raw, reason: str) -> ToSend:
        log.warning("%s is no piece of the stream, and becomes a dead letter: %s", raw.position, reason)
        key, value, headers = letter_of(raw, reason)
        topic = self._settings.prefix + topics.deadletter(self.stream.context)
        return ToSend(topic, value or b"", key, headers=headers)
