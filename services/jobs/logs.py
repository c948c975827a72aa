"""What tasks print: taken from Kafka into Postgres. No part of a decision.

Node agents ship output in pieces (topic ``logs.jobs``, key: the job; headers ``job``, ``task``, ``attempt``,
``stream``, ``offset`` in bytes, ``eof``). Each piece is stored once: its stream's size says what of a repeat is already
there, and the topic's positions move in the rows' transaction. A piece that names no stream is no command: it is
counted, logged and passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from events.log import topics
from events.log.connect import connected
from events.log.tail import PATIENT, Place, ReaderPosition, new_consumer
from events.runtime.runner import GATHER, PositionsMoved, write_positions
from events.runtime.settings import Settings
from events.runtime.tables import Db, quoted

MAX_STREAM_BYTES = 64 << 20
"""Of one stream of one attempt; what comes beyond is dropped and the stream says so."""

STREAMS = ("stdout", "stderr")

_REMEMBERED = 20_000
_TABLES = """
create schema if not exists {schema};
set local search_path to {schema};
create table if not exists positions (
  context text, partition int, off bigint not null, epoch bigint not null, primary key (context, partition));
create table if not exists streams (
  job_id text, task int, attempt int, stream smallint, size bigint not null, eof bool not null,
  truncated bool not null, primary key (job_id, task, attempt, stream));
create table if not exists chunks (
  job_id text, arrival bigint, task int not null, attempt int not null, stream smallint not null, off bigint not null,
  data bytea not null, at timestamptz not null, eof bool not null, truncated bool not null,
  primary key (job_id, arrival));
"""

log = logging.getLogger("forgelog.logs")

stored_bytes = Counter("forgelog_output_bytes_total", "Bytes of tasks' output stored")
unusable = Counter("forgelog_output_unusable_total", "Pieces of output that name no stream of a task")

StreamKey = tuple[str, int, int, int]
"""Job, task, attempt, index into `STREAMS`."""


@dataclass(slots=True)
class Stream:
    """How much of a stream is stored."""

    size: int = 0
    eof: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of output as it arrived."""

    key: StreamKey
    arrival: int
    """Its offset in Kafka: a job's pieces are all in one partition."""
    offset: int
    data: bytes
    at: datetime
    eof: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece, or what was new of it, as stored."""

    key: StreamKey
    arrival: int
    offset: int
    data: bytes
    at: datetime
    eof: bool
    truncated: bool = False


class Unusable(Exception):
    """A record that is no piece of output; the text says why."""


def read_piece(record: Any) -> Piece:
    """A Kafka record as a piece of output. Raises Unusable."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    try:
        key = (headers["job"], int(headers["task"]), int(headers["attempt"]), STREAMS.index(headers["stream"]))
        offset = int(headers["offset"])
    except KeyError as error:
        raise Unusable(f"header {error} is missing") from None
    except ValueError as error:
        raise Unusable(f"a header is malformed: {error}") from None
    if (
        not key[0]
        or not key[0].isprintable()
        or min(key[1], key[2], offset) < 0
        or max(key[1], key[2]) >= 1 << 31
        or offset >= 1 << 62
    ):
        raise Unusable("a header is out of range")
    try:
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except (ValueError, OverflowError):
        raise Unusable(f"its timestamp, {record.timestamp} ms, is no time") from None
    return Piece(key, record.offset, offset, record.value or b"", at, headers.get("eof") == "1")


def take(stream: Stream, piece: Piece, most: int = MAX_STREAM_BYTES) -> Chunk | None:
    """What of a piece is new; notes it on the stream. None if all of it was there."""
    offset, data = piece.offset, piece.data
    if offset < stream.size:
        data = data[stream.size - offset :]
        offset = stream.size
    room = max(0, most - offset)
    cut = len(data) > room and not stream.truncated
    data = data[:room]
    ends = piece.eof and not stream.eof
    if not data and not ends and not cut:
        return None
    stream.size = max(stream.size, offset + len(data))
    stream.eof |= piece.eof
    stream.truncated |= cut
    return Chunk(piece.key, piece.arrival, offset, data, piece.at, ends, cut)


class Output:
    """Takes output in. One per process; several processes may: what one has stored the others find stored."""

    def __init__(self) -> None:
        self.news = asyncio.Condition()
        """Notified when something was stored."""
        self.arrived = 0
        """Raised with it."""
        self.caught_up = False
        """Whether all was taken in that was there when it last began: after a start, or a time without a server, what
        is missing may still be on its way, however old it is."""
        self.pool: asyncpg.Pool | None = None
        self.schema = ""
        self._streams: OrderedDict[StreamKey, Stream] = OrderedDict()

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
        self._streams.clear()
        self.caught_up = False
        await topics.ensure_topics(settings)
        async with pool.acquire() as db, db.transaction():
            await db.execute("select pg_advisory_xact_lock(hashtext($1))", self.schema)
            await db.execute(_TABLES.format(schema=self.schema))
            rows = await db.fetch("select partition, off from positions")
        self.pool = pool
        stored: dict[Place, ReaderPosition] = {("logs", row["partition"]): ReaderPosition(row["off"]) for row in rows}
        topic = settings.prefix + topics.LOGS
        async with connected(new_consumer(settings, **PATIENT)) as consumer:
            counts = await topics.ensure_topics(settings)
            places = [TopicPartition(topic, number) for number in range(counts[topics.LOGS])]
            consumer.assign(places)
            for place in places:
                consumer.seek(place, stored.get(("logs", place.partition), ReaderPosition()).offset)
            while True:
                fetched = await consumer.getmany(timeout_ms=1000, max_records=2000)
                if fetched:
                    await asyncio.sleep(GATHER)
                    for place, records in (await consumer.getmany(timeout_ms=0, max_records=2000)).items():
                        fetched.setdefault(place, []).extend(records)
                    stored = await self._store(pool, fetched, stored)
                if not self.caught_up:
                    self.caught_up = all(_at_end(consumer, place, stored) for place in places)

    async def _store(
        self, pool: asyncpg.Pool, fetched: Any, stored: dict[Place, ReaderPosition]
    ) -> dict[Place, ReaderPosition]:
        positions = dict(stored)
        pieces: list[Piece] = []
        for place, records in fetched.items():
            for record in records:
                try:
                    pieces.append(read_piece(record))
                except Unusable as error:
                    unusable.inc()
                    log.warning("%s/%d@%d: passed over: %s", topics.LOGS, place.partition, record.offset, error)
            positions[("logs", place.partition)] = ReaderPosition(records[-1].offset + 1)
        try:
            async with pool.acquire() as db, db.transaction():
                await db.execute(f"set local search_path to {self.schema}")
                await write_positions(db, stored, positions)
                streams = await self._known(db, {piece.key for piece in pieces})
                chunks = [chunk for piece in pieces if (chunk := take(streams[piece.key], piece)) is not None]
                await _insert(db, chunks, {chunk.key: streams[chunk.key] for chunk in chunks})
        except BaseException:
            self._streams.clear()  # they were moved on for a transaction that was not
            raise
        stored_bytes.inc(sum(len(chunk.data) for chunk in chunks))
        async with self.news:
            self.arrived += 1
            self.news.notify_all()
        return positions

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
                self._streams[key] = Stream(row["size"], row["eof"], row["truncated"])
        known = {key: self._streams[key] for key in keys}
        while len(self._streams) > max(_REMEMBERED, len(keys)):
            self._streams.popitem(last=False)
        return known


def _at_end(consumer: Any, place: TopicPartition, stored: Mapping[Place, ReaderPosition]) -> bool:
    """Whether all that the broker has told of a partition is stored."""
    end = consumer.highwater(place)  # None before its first answer
    return end is not None and stored.get(("logs", place.partition), ReaderPosition()).offset >= end


def _columns(keys: Iterable[StreamKey]) -> tuple[Sequence[Any], ...]:
    columns = tuple(zip(*keys, strict=True))
    return tuple(list(column) for column in columns) if columns else ([], [], [], [])


async def _insert(db: Db, chunks: Sequence[Chunk], streams: dict[StreamKey, Stream]) -> None:
    if not chunks:
        return
    await db.copy_records_to_table(
        "chunks",
        records=[
            (
                chunk.key[0],
                chunk.arrival,
                *chunk.key[1:],
                chunk.offset,
                chunk.data,
                chunk.at,
                chunk.eof,
                chunk.truncated,
            )
            for chunk in chunks
        ],
        columns=["job_id", "arrival", "task", "attempt", "stream", "off", "data", "at", "eof", "truncated"],
    )
    await db.execute(
        "insert into streams select * from unnest($1::text[], $2::int[], $3::int[], $4::smallint[], $5::bigint[], "
        "$6::bool[], $7::bool[]) on conflict (job_id, task, attempt, stream) do update set "
        "size = excluded.size, eof = excluded.eof, truncated = excluded.truncated",
        *_columns(streams),
        [stream.size for stream in streams.values()],
        [stream.eof for stream in streams.values()],
        [stream.truncated for stream in streams.values()],
    )
