"""Rebuilding projections from the log: blue/green, and rebuild-and-compare.

A rebuild fills ``<schema>_<context>_next`` from offset 0 while the live tables go on serving, then swaps the schemas by
renaming them in one transaction; the live runner notices that its positions have moved and goes on from the new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import asyncpg

from events.log.tail import Place, ReaderPosition, Tail
from events.log.wire import Raw
from events.runtime import faults, tables
from events.runtime.folding import Fold
from events.runtime.projection import Projection, Table
from events.runtime.runner import decode_batch, inputs_of, live_schema, read_positions, write_positions
from events.runtime.settings import Settings
from events.runtime.tables import Db

HELD_ROWS = 20_000
"""Changed rows that a rebuild holds: a job's events are near each other, so that most rows are written once."""

Progress = Callable[[int, int], None]
"""Called with events read and events to read."""


class RebuildFailed(Exception):
    """The log can't be folded to its end; the text says where it stopped and why. The live tables are untouched."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    context: str
    events: int
    seconds: float


@dataclass(slots=True)
class Difference:
    """How the live tables compare to a fresh rebuild at the same positions."""

    context: str
    events: int
    rows: dict[str, int] = field(default_factory=dict)
    """Table → rows compared."""
    missing: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Table → rows (at most ten) that a rebuild has and the live table has not."""
    surplus: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Table → rows (at most ten) that the live table has and a rebuild has not."""

    @property
    def equal(self) -> bool:
        return not self.missing and not self.surplus


def projection_of(context: str) -> Projection:
    """A context's projection: ``PROJECTION`` of ``services.<context>.projections``."""
    try:
        projection: Projection = import_module(f"services.{context}.projections").PROJECTION
    except ModuleNotFoundError as error:
        raise LookupError(f"there is no service {context!r} with projections") from error
    return projection


async def rebuild(settings: Settings, projection: Projection | str, progress: Progress | None = None) -> Rebuilt:
    """Build a context's tables anew from the whole log and swap them in. Raises RebuildFailed."""
    projection = projection_of(projection) if isinstance(projection, str) else projection
    loop = asyncio.get_running_loop()
    started = loop.time()
    live = live_schema(settings, projection.context)
    fresh, old = f"{live}_next", f"{live}_old"
    db = await _connect(settings)
    try:
        await db.fetchval("select pg_advisory_lock(hashtext($1))", f"rebuild {live}")
        await tables.create_schema(db, live, projection)
        count, tail = await _fill(settings, projection, db, fresh, None, progress)
        async with _closing(tail), db.transaction():
            await db.execute(f"lock table {tables.quoted(live)}.positions in access exclusive mode")
            target = {place: at.offset for place, at in (await read_positions(db, live)).items()}
            count += await _advance(projection, db, fresh, tail, target, None)
            await db.execute(f"drop schema if exists {tables.quoted(old)} cascade")
            await db.execute(f"alter schema {tables.quoted(live)} rename to {tables.quoted(old)}")
            await db.execute(f"alter schema {tables.quoted(fresh)} rename to {tables.quoted(live)}")
            await db.execute(f"drop schema {tables.quoted(old)} cascade")
            faults.point(faults.BEFORE_SWAP)
    finally:
        await db.close()
    return Rebuilt(projection.context, count, loop.time() - started)


async def diff(settings: Settings, projection: Projection | str, progress: Progress | None = None) -> Difference:
    """Rebuild beside the live tables and compare every row at the same positions. Changes nothing."""
    projection = projection_of(projection) if isinstance(projection, str) else projection
    live = live_schema(settings, projection.context)
    fresh = f"{live}_check"
    db = await _connect(settings)
    try:
        await db.fetchval("select pg_advisory_lock(hashtext($1))", f"rebuild {live}")
        await tables.create_schema(db, live, projection)
        count, tail = await _fill(settings, projection, db, fresh, None, progress)
        async with _closing(tail), db.transaction():
            # The live runner waits at its next batch until the comparison is done.
            await db.execute(f"lock table {tables.quoted(live)}.positions in exclusive mode")
            target = {place: at.offset for place, at in (await read_positions(db, live)).items()}
            # The live tables may be behind what was filled: compare where the slower of the two stands.
            behind = any(target.get(place, 0) < at.offset for place, at in tail.positions.items())
            if behind:
                await db.execute(f"drop schema {tables.quoted(fresh)} cascade")
                count, again = await _fill(settings, projection, db, fresh, target, None)
                await again.stop()
            else:
                count += await _advance(projection, db, fresh, tail, target, None)
            found = Difference(projection.context, count)
            for table in projection.tables:
                await _compare(db, table, live, fresh, found)
        await db.execute(f"drop schema {tables.quoted(fresh)} cascade")
    finally:
        await db.close()
    return found


async def _connect(settings: Settings) -> asyncpg.Connection:
    db = await asyncpg.connect(settings.postgres_required)
    await tables.set_codecs(db)
    return db


async def _fill(
    settings: Settings,
    projection: Projection,
    db: Db,
    schema: str,
    target: Mapping[Place, int] | None,
    progress: Progress | None,
) -> tuple[int, Tail]:
    """Fold the log from its beginning into a new schema, up to `target` or what is the end now; the tail stays open."""
    await db.execute(f"drop schema if exists {tables.quoted(schema)} cascade")
    tail = Tail(settings, inputs_of(projection), start="beginning", max_records=10_000)
    await tail.start()
    try:
        target = target if target is not None else await tail.ends()
        async with db.transaction():
            await tables.create_bare(db, schema, projection)
        side = await _connect(settings)
        try:
            async with side.transaction(), db.transaction():
                count = await _advance(projection, db, schema, tail, target, progress, side)
        finally:
            await side.close()
        async with db.transaction():
            await db.execute(f"set local search_path to {tables.quoted(schema)}")
            await tables.complete(db, projection)
        return count, tail
    except BaseException:
        await tail.stop()
        raise


async def _advance(
    projection: Projection,
    db: Db,
    schema: str,
    tail: Tail,
    target: Mapping[Place, int],
    progress: Progress | None,
    side: Db | None = None,
) -> int:
    """Fold on to exactly `target` (an offset per place, exclusive); within the caller's transaction.

    With `side`, a second connection, the tables are empty yet, and history goes there while its events are folded.
    """
    total = sum(target.values())
    count = 0
    fold = Fold(projection, hold=HELD_ROWS, empty=side is not None)
    problems: dict[str, str] = {}
    await db.execute(f"set local search_path to {tables.quoted(schema)}")
    stored = await read_positions(db, schema)
    while open_ := [place for place, end in target.items() if tail.positions[place].offset < end]:
        raws = await tail.poll_raw(5.0, only=open_)
        wanted = [raw for raw in raws if raw.offset < target[(raw.topic.removeprefix("events."), raw.partition)]]
        for place, end in target.items():
            if tail.positions[place].offset > end:  # a fetch went past: stand exactly at the target again
                tail.seek(place, _standing(wanted, place, end, stored))
        positions = dict(tail.positions)
        batch, history = decode_batch(wanted, problems, positions, tail)
        if problems:
            raise RebuildFailed("; ".join(problems.values()))
        copying = asyncio.create_task(tables.copy_history(side or db, schema, history))
        if side is None:
            await copying
        try:
            await fold.apply(db, batch)
        finally:
            await asyncio.wait([copying])
        copying.result()
        await write_positions(db, stored, positions)
        faults.point(faults.MID_REBUILD)
        stored = positions
        count += len(batch)
        if progress is not None:
            progress(min(total, sum(at.offset for at in positions.values())), total)
    await fold.flush(db)
    return count


def _standing(read: list[Raw], place: Place, end: int, before: Mapping[Place, ReaderPosition]) -> ReaderPosition:
    """The position right at `end`: its epoch is that of the last valid record before it."""
    epoch = before[place].epoch if place in before else -1
    for raw in read:
        if (raw.topic.removeprefix("events."), raw.partition) == place:
            epoch = raw.offset if raw.is_marker else raw.epoch
    return ReaderPosition(end, epoch)


@asynccontextmanager
async def _closing(tail: Tail) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await tail.stop()


async def _compare(db: Db, table: Table, live: str, fresh: str, found: Difference) -> None:
    columns = ", ".join(tables.quoted(name) for name in table.columns)
    ours = f"select {columns} from {tables.quoted(live)}.{tables.quoted(table.name)}"
    theirs = f"select {columns} from {tables.quoted(fresh)}.{tables.quoted(table.name)}"
    found.rows[table.name] = await db.fetchval(f"select count(*) from ({ours}) t")
    missing = await db.fetch(f"{theirs} except {ours} limit 10")
    surplus = await db.fetch(f"{ours} except {theirs} limit 10")
    if missing:
        found.missing[table.name] = [dict(row) for row in missing]
    if surplus:
        found.surplus[table.name] = [dict(row) for row in surplus]
