"""What tasks print: taken from Kafka into Postgres. No part of a decision.

Node agents ship output in pieces (topic ``logs.jobs``, key: the job; headers ``job``, ``task``, ``attempt``,
``stream``, ``offset`` in bytes, ``eof``, ``truncated``, ``missing``). Each piece is stored once: its stream's size says
what of a repeat is already there, and the topic's positions move in the rows' transaction. A piece that is ahead of its
stream (see `streams`) is held for a while; the stored position stays before it, so that a restart reads it again. A
piece that names no stream is no command: it is counted, logged and passed over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from events.log import topics
from events.log.connect import connected
from events.log.consumers import PATIENT, new_consumer
from events.log.positions import Place, ReaderPosition
from events.process.settings import Settings
from events.projections.positions import PositionsMoved, write_positions
from events.projections.runner import GATHER
from events.projections.tables import Db, quoted
from services.jobs.streams import (
    WAIT,
    Chunk,
    Piece,
    Stream,
    StreamKey,
    Unusable,
    give_up,
    held_from,
    read_piece,
    take,
)

_REMEMBERED = 20_000
_CHUNKS: Place = ("chunks", 0)
"""Where the number of the last chunk is kept, among the positions."""
_TABLES = """
create schema if not exists {schema};
set local search_path to {schema};
create table if not exists positions (
  context text, partition int, off bigint not null, epoch bigint not null, primary key (context, partition));
create table if not exists streams (
  job_id text, task int, attempt int, stream smallint, size bigint not null, eof bool not null,
  truncated bool not null, missing bigint not null default 0, primary key (job_id, task, attempt, stream));
alter table streams add column if not exists missing bigint not null default 0;
create table if not exists chunks (
  job_id text, arrival bigint, task int not null, attempt int not null, stream smallint not null, off bigint not null,
  data bytea not null, at timestamptz not null, eof bool not null, truncated bool not null,
  missing bigint not null default 0, primary key (job_id, arrival));
alter table chunks add column if not exists missing bigint not null default 0;
"""

log = logging.getLogger("forgelog.logs")

stored_bytes = Counter("forgelog_output_bytes_total", "Bytes of tasks' output stored")
unusable = Counter("forgelog_output_unusable_total", "Pieces of output that name no stream of a task")


class Output:
    """Takes output in. One per process; several processes may: what one has stored the others find stored."""

    def __init__(self) -> None:
        self.news = asyncio.Condition()
        """Notified when something was stored, or everything up to a wanted time."""
        self.arrived = 0
        """Raised with it."""
        self._complete = self._wanted = -math.inf
        """All is stored that was in the log at the one time (monotonic); of the other somebody wants to know it."""
        self.pool: asyncpg.Pool | None = None
        self.schema = ""
        self._streams: OrderedDict[StreamKey, Stream] = OrderedDict()
        self._holding: dict[StreamKey, int] = {}
        """Streams with held pieces, and their partition."""
        self._last = 0
        """Number of the chunk that was stored last: chunks are numbered in the order in which they are read."""

    def complete_to(self, moment: float) -> bool:
        """Whether all is stored that was in the log at a time (`time.monotonic`). If not, `news` tells of it later."""
        self._wanted = max(self._wanted, moment)
        return self._complete >= moment

    async def ingest(self, settings: Settings, pool: asyncpg.Pool) -> None:
        """Take output in until cancelled; survives restarts of Kafka and Postgres."""
        self.schema = quoted(f"{settings.schema_}_jobs_logs")
        while True:
            try:
                await self._ingest(settings, pool)
            except PositionsMoved:
                log.info("output was taken in by another process; going on behind it")
            except (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("output waits: %s: %s", type(error).__name__, error)
                await asyncio.sleep(0.5)

    async def _ingest(self, settings: Settings, pool: asyncpg.Pool) -> None:
        self._forget()
        self._most = settings.output_bytes
        await topics.ensure_topics(settings)
        async with pool.acquire() as db, db.transaction():
            await db.execute("select pg_advisory_xact_lock(hashtext($1))", self.schema)
            await db.execute(_TABLES.format(schema=self.schema))
            rows = await db.fetch("select context, partition, off from positions")
            if not any(row["context"] == _CHUNKS[0] for row in rows):  # not yet, or an earlier version's tables
                self._last = await db.fetchval("select coalesce(max(arrival), 0) from chunks")
        self.pool = pool
        stored: dict[Place, ReaderPosition] = {
            (row["context"], row["partition"]): ReaderPosition(row["off"]) for row in rows
        }
        if _CHUNKS in stored:
            self._last = stored[_CHUNKS].offset
        topic = settings.prefix + topics.LOGS
        async with connected(new_consumer(settings, **PATIENT)) as consumer:
            counts = await topics.ensure_topics(settings)
            places = [TopicPartition(topic, number) for number in range(counts[topics.LOGS])]
            consumer.assign(places)
            for place in places:
                consumer.seek(place, stored.get(("logs", place.partition), ReaderPosition()).offset)
            now, ends = math.inf, dict[TopicPartition, int]()  # nobody wants to know
            while True:
                if self._wanted > self._complete and not ends:
                    now, ends = time.monotonic(), await consumer.end_offsets(places)
                if ends and all([await self._stored(consumer, place, end) for place, end in ends.items()]):
                    self._complete, ends = now, {}
                    await self._tell()
                fetched = await consumer.getmany(timeout_ms=1000, max_records=2000)
                if fetched:
                    await asyncio.sleep(GATHER)
                    for place, records in (await consumer.getmany(timeout_ms=0, max_records=2000)).items():
                        fetched.setdefault(place, []).extend(records)
                if fetched or self._overdue():
                    stored = await self._store(pool, fetched, stored)

    async def _stored(self, consumer: Any, place: TopicPartition, end: int) -> bool:
        """Whether all before an offset is. What was fetched is stored before the next is, unless it is held."""
        return place.partition not in self._holding.values() and await consumer.position(place) >= end

    async def _tell(self) -> None:
        async with self.news:
            self.arrived += 1
            self.news.notify_all()

    async def _store(
        self, pool: asyncpg.Pool, fetched: Any, stored: dict[Place, ReaderPosition]
    ) -> dict[Place, ReaderPosition]:
        positions = dict(stored)
        pieces: list[tuple[int, Piece]] = []
        for place, records in fetched.items():
            for record in records:
                try:
                    pieces.append((place.partition, read_piece(record)))
                except Unusable as error:
                    unusable.inc()
                    log.warning("%s/%d@%d: passed over: %s", topics.LOGS, place.partition, record.offset, error)
            self._reached[place.partition] = records[-1].offset + 1
        now = time.monotonic()
        try:
            async with pool.acquire() as db, db.transaction():
                await db.execute(f"set local search_path to {self.schema}")
                streams = await self._known(db, {piece.key for _, piece in pieces} | set(self._holding))
                chunks: list[Chunk] = []
                for partition, piece in pieces:
                    stream = streams[piece.key]
                    chunks += take(stream, piece, self._most, now)
                    if stream.held:
                        self._holding[piece.key] = partition
                for key in self._overdue():
                    lost = give_up(streams[key], self._most, now)
                    log.warning("%s: %d bytes were lost on the way", key, sum(chunk.missing for chunk in lost))
                    chunks += lost
                self._holding = {key: each for key, each in self._holding.items() if streams[key].held}
                for partition, reached in self._reached.items():
                    first = held_from(streams[key] for key, each in self._holding.items() if each == partition)
                    positions["logs", partition] = ReaderPosition(reached if first is None else min(first, reached))
                # Moves with every chunk, so that two processes never store at once, not even while positions stand.
                positions[_CHUNKS] = ReaderPosition(self._last + len(chunks))
                await write_positions(db, stored, positions)
                numbers = range(self._last + 1, self._last + 1 + len(chunks))
                await _insert(db, numbers, chunks, {chunk.key: streams[chunk.key] for chunk in chunks})
        except BaseException:
            self._forget()  # they were moved on for a transaction that was not
            raise
        self._last += len(chunks)
        stored_bytes.inc(sum(len(chunk.data) for chunk in chunks))
        await self._tell()
        return positions

    def _forget(self) -> None:
        self._streams.clear()
        self._holding.clear()
        self._reached: dict[int, int] = {}

    def _overdue(self) -> list[StreamKey]:
        """Streams whose missing bytes have been waited for long enough."""
        before = time.monotonic() - WAIT
        return [key for key in self._holding if self._streams[key].held and self._streams[key].since < before]

    async def _known(self, db: Db, keys: set[StreamKey]) -> dict[StreamKey, Stream]:
        """The streams of these keys, from memory, the table, or new."""
        missing = [key for key in keys if key not in self._streams]
        if missing:
            rows = await db.fetch(
                "select s.* from streams s join unnest($1::text[], $2::int[], $3::int[], $4::smallint[]) "
                "as k(job_id, task, attempt, stream) using (job_id, task, attempt, stream)",
                *_columns(missing),
            )
            self._streams.update({key: Stream() for key in missing})
            for row in rows:
                key = (row["job_id"], row["task"], row["attempt"], row["stream"])
                self._streams[key] = Stream(row["size"], row["eof"], row["truncated"], row["missing"])
        known = {key: self._streams[key] for key in keys}
        if len(self._streams) > 2 * _REMEMBERED:
            others = [key for key in self._streams if key not in keys]
            for key in others[: len(self._streams) - _REMEMBERED]:
                del self._streams[key]
        return known


def _columns(keys: Iterable[StreamKey]) -> tuple[Sequence[Any], ...]:
    columns = tuple(zip(*keys, strict=True))
    return tuple(list(column) for column in columns) if columns else ([], [], [], [])


async def _insert(db: Db, numbers: Iterable[int], chunks: Sequence[Chunk], streams: dict[StreamKey, Stream]) -> None:
    if not chunks:
        return
    await db.copy_records_to_table(
        "chunks",
        records=[
            (
                chunk.key[0],
                number,
                *chunk.key[1:],
                chunk.offset,
                chunk.data,
                chunk.at,
                chunk.eof,
                chunk.truncated,
                chunk.missing,
            )
            for number, chunk in zip(numbers, chunks, strict=True)
        ],
        columns=["job_id", "arrival", "task", "attempt", "stream", "off", "data", "at", "eof", "truncated", "missing"],
    )
    await db.execute(
        "insert into streams select * from unnest($1::text[], $2::int[], $3::int[], $4::smallint[], $5::bigint[], "
        "$6::bool[], $7::bool[], $8::bigint[]) on conflict (job_id, task, attempt, stream) do update set "
        "size = excluded.size, eof = excluded.eof, truncated = excluded.truncated, missing = excluded.missing",
        *_columns(streams),
        [stream.size for stream in streams.values()],
        [stream.eof for stream in streams.values()],
        [stream.truncated for stream in streams.values()],
        [stream.missing for stream in streams.values()],
    )
