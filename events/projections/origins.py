"""Tables and the log they were made from: which one it was, and setting tables aside whose log is gone.

A context's tables are a fold of its log. When the log at hand is another one (see `events.log.identity`), they are set
aside in ``<schema>_former`` with a note of why: their history may be all that is left of what the log has lost.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from events.log.identity import Compared, StoredPosition, compare
from events.log.positions import Place, ReaderPosition
from events.process.settings import Settings
from events.projections import tables
from events.projections.positions import read_positions
from events.projections.projection import Projection
from events.projections.tables import Db

log = logging.getLogger("forgelog.projection")


def former_schema(live: str) -> str:
    """Where tables lie whose log is gone."""
    return f"{live}_former"


async def read_stored(db: Db, schema: str) -> dict[Place, StoredPosition]:
    """The stored positions of a schema, each with the log it was taken in."""
    rows = await db.fetch(f"select context, partition, origin from {tables.quoted(schema)}.origins")
    origins = {(row["context"], row["partition"]): row["origin"] for row in rows}
    positions = await read_positions(db, schema)
    return {place: StoredPosition(position, origins.get(place, "")) for place, position in positions.items()}


async def compare_tables(settings: Settings, db: Db, schema: str, places: Collection[Place]) -> Compared:
    """Hold a schema's positions against the log."""
    return await compare(settings, places, await read_stored(db, schema))


async def write_origins(db: Db, schema: str, origins: Mapping[Place, str]) -> None:
    """Note which log the positions of a schema are of; what was noted before stays."""
    await db.executemany(
        f"insert into {tables.quoted(schema)}.origins (context, partition, origin) values ($1, $2, $3) "
        "on conflict do nothing",
        [(*place, origin) for place, origin in origins.items()],
    )


async def set_aside(
    db: Db, live: str, projection: Projection, stored: Mapping[Place, ReaderPosition], why: str
) -> bool:
    """Rename the live tables to the former ones, in place of any that are there, and make empty ones.

    False when somebody else has moved the positions meanwhile.
    """
    former = former_schema(live)
    async with db.transaction():
        await db.execute(f"lock table {tables.quoted(live)}.positions in access exclusive mode")
        if await read_positions(db, live) != stored:
            return False
        await db.execute(f"drop schema if exists {tables.quoted(former)} cascade")
        await db.execute(f"alter schema {tables.quoted(live)} rename to {tables.quoted(former)}")
        await db.execute(f"comment on schema {tables.quoted(former)} is {_literal(why)}")
        await tables.create_schema(db, live, projection)
    return True


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\\", "/") + "'"


async def former_note(db: Db, live: str) -> str:
    """Why there are former tables, for people; empty if there are none."""
    former = former_schema(live)
    why = await db.fetchval(
        "select coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace where nspname = $1", former
    )
    return "" if why is None else f"{why} The former tables are kept in the schema {former} until the next rebuild."


async def drop_former(db: Db, live: str) -> None:
    """Remove the former tables, if there are any."""
    await db.execute(f"drop schema if exists {tables.quoted(former_schema(live))} cascade")
