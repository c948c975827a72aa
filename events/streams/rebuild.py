"""Rebuilds a stream's tables from its topic, while the live tables serve and grow.

1. An intake fills ``<schema>_next`` from the beginning of the topic until it reaches the positions of the live tables.
2. The live tables are locked, and the intake takes in the records that they got meanwhile.
3. `Stream.carry` copies what the topic does not contain, and the schemas are swapped by renaming them.

The live intakes notice that the positions were moved, and go on from the new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import import_module

import asyncpg
from aiokafka import TopicPartition

from events.language.contexts import contexts
from events.log import topics
from events.log.connect import connected
from events.log.consumers import new_consumer
from events.process import faults
from events.process.settings import Settings
from events.projections.positions import read_positions
from events.projections.rebuild import RebuildFailed
from events.projections.replaying import connected as connected_db
from events.projections.tables import Db, quoted, set_codecs
from events.streams.intake import NEXT, Intake
from events.streams.storing import CHUNKS, Storing
from events.streams.stream import AnyStream

_LOOK_SECONDS = 1.0
"""Longest time between two checks of the progress of the new tables."""
_TRIES = 30
"""Checks without progress and with a failing intake after which the rebuild gives up."""
_BEHIND = 1 << 32
"""Gap between the last number of the live tables and the first number of new rows: more rows than come meanwhile."""

__all__ = ["RebuildFailed", "RebuiltStream", "WouldLose", "rebuild_stream", "streams_of"]

Progress = Callable[[int, int], None]
"""Called with records taken and records to take."""


class WouldLose(RebuildFailed):
    """The topic does not have all records any more. The text says which are missing."""


@dataclass(frozen=True, slots=True)
class RebuiltStream:
    """What a rebuild did."""

    topic: str
    records: int
    """Offsets passed."""
    seconds: float


def streams_of(context: str) -> tuple[AnyStream, ...]:
    """A context's streams: ``STREAMS`` of the module ``streams`` of its service; none without that module."""
    spec = contexts().get(context)
    if spec is None or not spec.streams:
        return ()
    found: tuple[AnyStream, ...] = tuple(kind() for kind in import_module(f"{spec.package}.streams").STREAMS)
    return found


async def rebuild_stream(
    settings: Settings, stream: AnyStream, progress: Progress | None = None, *, lose: bool = False
) -> RebuiltStream:
    """Build a stream's tables anew and swap them in. Raises RebuildFailed; the live tables are then as they were.

    `lose`: rebuild even if the topic has removed records. The rows that came from them are lost.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    live = f"{settings.schema_}_{stream.schema}"
    fresh, old = f"{live}{NEXT}", f"{live}_old"
    partitions = (await topics.ensure_topics(settings))[stream.topic.name]
    starts, ends = await _extent(settings, stream, partitions)
    if starts and not lose:
        raise WouldLose(_said(stream, starts))
    address = settings.postgres_required
    async with (
        asyncpg.create_pool(address, min_size=0, max_size=4, init=set_codecs) as pool,
        connected_db(settings) as db,
    ):
        await db.fetchval("select pg_advisory_lock(hashtext($1))", f"rebuild {live}")
        stood = Storing(stream, pool, live, _never, _nothing)
        await stood.open()
        total = sum(ends.values())

        def tell(reached: int) -> None:
            faults.point(faults.MID_REBUILD)
            if progress is not None:
                progress(min(reached, total), total)

        try:
            await _begin(stream, pool, db, fresh, starts, stood.last + _BEHIND)
            await _fill(settings, stream, pool, await _stands(settings, stream, db, live), tell)
            async with db.transaction():
                # Transactions that create or change the tables wait at this lock, before they lock any table.
                await db.execute("select pg_advisory_xact_lock(hashtext($1))", quoted(live))
                await db.execute(f"lock table {quoted(live)}.positions in access exclusive mode")
                reached = await _fill(settings, stream, pool, await _stands(settings, stream, db, live), tell)
                await db.execute(f"set local search_path to {quoted(fresh)}")
                await stream.carry(db, quoted(live))
                await db.execute(f"drop schema if exists {quoted(old)} cascade")
                await db.execute(f"alter schema {quoted(live)} rename to {quoted(old)}")
                await db.execute(f"alter schema {quoted(fresh)} rename to {quoted(live)}")
                await db.execute(f"drop schema {quoted(old)} cascade")
                faults.point(faults.BEFORE_SWAP)
        except asyncpg.PostgresError as error:
            await _drop(db, fresh)
            raise RebuildFailed(f"the database refuses it: {type(error).__name__}: {error}") from error
        except BaseException:
            await _drop(db, fresh)
            raise
    records = sum(max(0, offset - starts.get(number, 0)) for number, offset in reached.items())
    return RebuiltStream(stream.topic.name, records, loop.time() - began)


async def _begin(
    stream: AnyStream, pool: asyncpg.Pool, db: Db, fresh: str, starts: Mapping[int, int], last: int
) -> None:
    """Create new tables, positioned at the beginning of the topic. They number their rows from behind `last`."""
    await db.execute(f"drop schema if exists {quoted(fresh)} cascade")
    await Storing(stream, pool, fresh, _never, _nothing).open()
    places = [(*CHUNKS, last), *((stream.place or stream.topic.name, number, at) for number, at in starts.items())]
    await db.executemany(f"insert into {quoted(fresh)}.positions values ($1, $2, $3, -1)", places)


async def _drop(db: Db, schema: str) -> None:
    """Drop the tables of a failed rebuild: they may have filled the disk. The next rebuild drops what is left."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await db.execute(f"drop schema if exists {quoted(schema)} cascade")


async def _extent(settings: Settings, stream: AnyStream, partitions: int) -> tuple[dict[int, int], dict[int, int]]:
    """Where the partitions begin that have lost records, and where all of them end."""
    places = [TopicPartition(settings.prefix + stream.topic.name, number) for number in range(partitions)]
    async with connected(new_consumer(settings)) as consumer:
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    return (
        {at.partition: offset for at, offset in starts.items() if offset},
        {at.partition: offset for at, offset in ends.items()},
    )


def _said(stream: AnyStream, starts: Mapping[int, int]) -> str:
    name = stream.topic.name
    gone = ", ".join(f"{name}/{number} before {offset}" for number, offset in sorted(starts.items()))
    return (
        f"the topic does not have these records any more: {gone}. What was stored of them would be lost. "
        "Say --lose to rebuild from what is left"
    )


async def _stands(settings: Settings, stream: AnyStream, db: Db, live: str) -> dict[int, int]:
    """Partition → the next offset that the live tables take; the topic's end, where that is before it: a topic that
    was made anew has no more."""
    place = stream.place or stream.topic.name
    stood = {at[1]: position.offset for at, position in (await read_positions(db, live)).items() if at[0] == place}
    _, ends = await _extent(settings, stream, len(stood) and max(stood) + 1)
    return {number: min(offset, ends[number]) for number, offset in stood.items()}


async def _fill(
    settings: Settings,
    stream: AnyStream,
    pool: asyncpg.Pool,
    target: Mapping[int, int],
    tell: Callable[[int], None],
) -> dict[int, int]:
    """Take records in until the new tables stand at these offsets, or behind them; where they stand then."""
    tries, before = 0, -1
    async with _running(Intake(stream, rebuilding=True), settings, pool) as intake:
        while True:
            reached = {number: intake.position(number) for number in target}
            tell(sum(reached.values()))
            if intake.pool is not None and all(reached[number] >= offset for number, offset in target.items()):
                return reached
            for stop in intake.stops:
                raise RebuildFailed(f"{stop.place} stands still {stop.text}")
            if (now := sum(reached.values())) > before:
                tries, before = 0, now
            tries += bool(intake.trouble)
            if tries >= _TRIES:
                raise RebuildFailed(f"nothing can be stored: {intake.trouble}")
            async with intake.news:
                try:
                    await asyncio.wait_for(intake.news.wait(), _LOOK_SECONDS)
                except TimeoutError:
                    continue


@asynccontextmanager
async def _running(intake: Intake, settings: Settings, pool: asyncpg.Pool) -> AsyncIterator[Intake]:
    task = asyncio.create_task(intake.run(settings, pool))
    try:
        yield intake
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _never(*_: object) -> None:
    """Nothing is stored by what only opens tables."""


async def _nothing(*_: object) -> None:
    """Nothing is read by what only opens tables."""
