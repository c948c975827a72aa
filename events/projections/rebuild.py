"""Rebuilding projections from the log: blue/green, and rebuild-and-compare.

A rebuild fills ``<schema>_<context>_next`` from offset 0 while the live tables go on serving, then swaps the schemas by
renaming them in one transaction; the live runner notices that its positions have moved and goes on from the new ones.
A long log is folded by several processes (`events.projections.shards`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from events.language.contexts import contexts
from events.log.identity import described
from events.log.positions import Place
from events.log.tail import Tail
from events.process import faults
from events.process.settings import Settings
from events.projections import past, shards, tables
from events.projections.origins import compare_tables, drop_former, write_origins
from events.projections.positions import live_schema, read_positions
from events.projections.projection import Projection
from events.projections.replaying import BATCH, Interrupted, RebuildFailed, advance, connected
from events.projections.tables import Db

__all__ = ["Difference", "Interrupted", "NoProjection", "RebuildFailed", "Rebuilt", "diff", "projection_of", "rebuild"]

Progress = Callable[[int, int], None]
"""Called with events read and events to read."""


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


class NoProjection(LookupError):
    """A context has no projections; the text says which."""


def projection_of(context: str) -> Projection:
    """A context's projection: ``PROJECTION`` of the module ``projections`` of its service. Raises NoProjection."""
    spec = contexts().get(context)
    if spec is None:
        raise NoProjection(f"there is no context {context!r}")
    name = f"{spec.package}.projections"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # of what the module itself imports
        raise NoProjection(f"the context {context!r} has no projections: there is no module {name}") from None
    projection: Projection | None = getattr(module, "PROJECTION", None)
    if projection is None:
        raise NoProjection(f"the context {context!r} has no projections: {name} has no PROJECTION")
    return projection


async def rebuild(
    settings: Settings,
    projection: Projection | str,
    progress: Progress | None = None,
    *,
    forget_former: bool = False,
    until: Mapping[Place, int] | None = None,
) -> Rebuilt:
    """Build a context's tables anew from the whole log and swap them in. Raises RebuildFailed.

    `forget_former`: remove the tables, too, that were set aside because their log was lost. `until`: offsets that are
    not folded, nor what follows them in their places.
    """
    until = until or {}
    projection = projection_of(projection) if isinstance(projection, str) else projection
    loop = asyncio.get_running_loop()
    started = loop.time()
    live = live_schema(settings, projection.context)
    fresh, old = f"{live}_next", f"{live}_old"
    async with connected(settings) as db:
        await db.fetchval("select pg_advisory_lock(hashtext($1))", f"rebuild {live}")
        await tables.create_schema(db, live, projection)
        await _drop(db, old)
        count, tail = await _fill(settings, projection, db, fresh, None, progress, until)
        async with _closing(tail), db.transaction():
            await db.execute(f"lock table {tables.quoted(live)}.positions in access exclusive mode")
            compared = await compare_tables(settings, db, live, tail.positions)
            if not compared.mismatches:  # else the live tables are of another log, and stand nowhere in this one
                stored = await read_positions(db, live)
                target = {place: min(at.offset, until.get(place, at.offset)) for place, at in stored.items()}
                count += await advance(projection, db, fresh, tail, target, _told_nothing)
            await write_origins(db, fresh, compared.origins)
            await db.execute(f"alter schema {tables.quoted(live)} rename to {tables.quoted(old)}")
            await db.execute(f"alter schema {tables.quoted(fresh)} rename to {tables.quoted(live)}")
            if forget_former:
                await drop_former(db, live)
            faults.point(faults.BEFORE_SWAP)
        # Apart from the swap: a query that has looked at one of the old tables would wait for the swap with its next
        # one, and the swap for the query. What a crash leaves here, the next rebuild removes.
        await _drop(db, old)
    return Rebuilt(projection.context, count, loop.time() - started)


async def diff(settings: Settings, projection: Projection | str, progress: Progress | None = None) -> Difference:
    """Rebuild beside the live tables and compare every row at the same positions. Changes nothing."""
    projection = projection_of(projection) if isinstance(projection, str) else projection
    live = live_schema(settings, projection.context)
    fresh = f"{live}_check"
    async with connected(settings) as db:
        await db.fetchval("select pg_advisory_lock(hashtext($1))", f"rebuild {live}")
        await tables.create_schema(db, live, projection)
        if not await past.is_kept(db, live, projection):
            raise RebuildFailed(
                "its tables are of an earlier version, and are built anew when its service starts: check them then"
            )
        # Not further than the live tables: one of their places may stand at a record that can't be folded.
        stands = {place: at.offset for place, at in (await read_positions(db, live)).items()}
        count, tail = await _fill(settings, projection, db, fresh, None, progress, stands)
        async with _closing(tail), db.transaction():
            # The live runner waits at its next batch until the comparison is done.
            await db.execute(f"lock table {tables.quoted(live)}.positions in exclusive mode")
            compared = await compare_tables(settings, db, live, tail.positions)
            if compared.mismatches:
                raise RebuildFailed(f"its tables are not of this log: {described(compared.mismatches)}; rebuild them")
            target = {place: at.offset for place, at in (await read_positions(db, live)).items()}
            # The live tables may be behind what was filled: compare where the slower of the two stands.
            behind = any(target.get(place, 0) < at.offset for place, at in tail.positions.items())
            if behind:
                async with connected(settings) as other:  # several fill it: they must see what the others commit
                    count, again = await _fill(settings, projection, other, fresh, target, None)
                await again.stop()
            else:
                count += await advance(projection, db, fresh, tail, target, _told_nothing)
            found = Difference(projection.context, count)
            for table in projection.tables:
                await _compare(db, table.name, [*table.columns, "since"], live, fresh, found)
                await _compare(db, table.past, [*table.columns, "since", "until"], live, fresh, found)
        await db.execute(f"drop schema {tables.quoted(fresh)} cascade")
    return found


async def _drop(db: Db, schema: str) -> None:
    await db.execute(f"drop schema if exists {tables.quoted(schema)} cascade")


async def _fill(
    settings: Settings,
    projection: Projection,
    db: Db,
    schema: str,
    target: Mapping[Place, int] | None,
    progress: Progress | None,
    until: Mapping[Place, int] | None = None,
) -> tuple[int, Tail]:
    """Fold the log from its beginning into a new schema, up to `target` or what is the end now; the tail stays open."""
    await _drop(db, schema)
    tail = Tail(settings, projection.contexts, start="beginning", max_records=BATCH, hasty=True)
    await tail.start()
    try:
        if target is None:
            target = {place: min(end, (until or {}).get(place, end)) for place, end in (await tail.ends()).items()}
        total = sum(target.values())

        def tell(reached: int) -> None:
            faults.point(faults.MID_REBUILD)
            if progress is not None:
                progress(min(total, reached), total)

        async with db.transaction():
            await tables.create_bare(db, schema, projection)
            await db.execute(f"update {tables.quoted(schema)}.made set repairs = $1", tail.repairs.until)
        async with connected(settings) as side:
            divided = shards.divide(target, os.cpu_count() or 1)
            if len(divided) > 1:
                oid = await tables.schema_oid(db, schema)
                count, stands = await shards.fill(settings, projection, schema, oid, divided, target, tell)
                for place, position in stands.items():
                    tail.seek(place, position)
            else:
                async with side.transaction(), db.transaction():
                    count = await advance(projection, db, schema, tail, target, tell, side)
            await asyncio.gather(
                tables.complete(db, schema, projection.tables), tables.complete(side, schema, [tables.HISTORY])
            )
        return count, tail
    except BaseException:
        await tail.stop()
        raise


def _told_nothing(_reached: int) -> None:
    """What is folded while the live tables wait is little."""


@asynccontextmanager
async def _closing(tail: Tail) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await tail.stop()


async def _compare(db: Db, table: str, names: Sequence[str], live: str, fresh: str, found: Difference) -> None:
    columns = ", ".join(map(tables.quoted, names))
    ours = f"select {columns} from {tables.quoted(live)}.{tables.quoted(table)}"
    theirs = f"select {columns} from {tables.quoted(fresh)}.{tables.quoted(table)}"
    found.rows[table] = await db.fetchval(f"select count(*) from ({ours}) t")
    missing = await db.fetch(f"{theirs} except all {ours} limit 10")
    surplus = await db.fetch(f"{ours} except all {theirs} limit 10")
    if missing:
        found.missing[table] = [dict(row) for row in missing]
    if surplus:
        found.surplus[table] = [dict(row) for row in surplus]
