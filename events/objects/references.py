"""Queries which objects the events name, from the tables of all contexts (`events.projections.references`).

A context without a projection, or whose projection keeps no such rows, names no objects. A context of the log or the
database that this process does not know may name any object, so every query is then refused.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import asyncpg
from aiokafka import TopicPartition

from events.language.contexts import VARIABLE, contexts
from events.language.objects import ObjectRef
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.positions import Place, ReaderPosition
from events.log.topics import EVENTS, events
from events.process.settings import Settings
from events.projections.positions import live_schema, read_positions
from events.projections.rebuild import NoProjection, projection_of
from events.projections.references import PURGED, REFERENCES
from events.projections.replaying import connected as database
from events.projections.tables import Db, quoted

_PAUSE = 0.2
_CONTEXT = re.compile(r"[a-z][a-z0-9]*")
_TABLES = """
    select n.nspname as schema, bool_or(c.relname = 'objects') as named
    from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    where starts_with(n.nspname, $1) and not a.attisdropped
      and (c.relname, a.attname) in (('made', 'version'), ('objects', 'bundle'))
    group by n.nspname order by n.nspname
"""
"""Schemas of projections that begin so, and whether they have rows of objects."""


class Named(NamedTuple):
    """An object that an event names."""

    ref: ObjectRef
    bundle: bool


class ReferencesUnknown(Exception):
    """It is unknown which objects the events name. The text says why, and what to do."""


class References:
    """Queries the tables of all contexts. Each query has its own connection."""

    def __init__(self, settings: Settings, *, patience: float = 60.0) -> None:
        """`patience`: seconds to wait for tables that are behind."""
        self._settings = settings
        self._patience = patience
        self._schemas = {context: live_schema(settings, context) for context in contexts() if _has_references(context)}

    async def caught_up(self) -> None:
        """Wait until the tables have what the log has now. Raises ReferencesUnknown, and Kafka's errors."""
        ends = await self._ends()
        async with database(self._settings) as db:
            await self._check_contexts(db)
            for context, schema in self._schemas.items():
                await self._check(db, context, schema)
                try:
                    async with asyncio.timeout(self._patience):
                        while not _reached(await read_positions(db, schema), ends, projection_of(context).contexts):
                            await asyncio.sleep(_PAUSE)
                except TimeoutError:
                    raise ReferencesUnknown(
                        f"the tables of {context} are behind the log; look at `forgelog status`, and try again when "
                        "they have caught up"
                    ) from None

    async def all(self) -> dict[str, Named]:
        """Every object that an event names, by its digest. Raises ReferencesUnknown."""
        return await self._ask("true", [])

    async def among(self, digests: Collection[str]) -> dict[str, Named]:
        """The objects in `digests` that an event names. Raises ReferencesUnknown."""
        return await self._ask("digest = any($1::text[])", [list(digests)])

    async def bundles(self) -> dict[str, Named]:
        """The manifests that an event names. Raises ReferencesUnknown."""
        return await self._ask("bundle", [])

    async def _ask(self, where: str, given: list[object]) -> dict[str, Named]:
        found: dict[str, Named] = {}
        async with database(self._settings) as db:
            for context, schema in self._schemas.items():
                await self._check(db, context, schema)
                query = (
                    f"select digest, max(size) as size, bool_or(bundle) as bundle from {quoted(schema)}.objects o "
                    f"where {where} {_kept(context, schema)} group by digest"
                )
                for row in await db.fetch(query, *given):
                    ref = ObjectRef(digest=row["digest"], size=row["size"])
                    bundle = row["bundle"] or (ref.digest in found and found[ref.digest].bundle)
                    found[ref.digest] = Named(ref, bundle)
        return found

    async def _check_contexts(self, db: Db) -> None:
        """Raises ReferencesUnknown if the database has rows of objects that this class would not query."""
        begins = live_schema(self._settings, "")
        rows = await db.fetch(_TABLES, begins)
        _check_known("the database", begins, (row["schema"] for row in rows))
        for row in rows:
            context = row["schema"].removeprefix(begins)
            if row["named"] and context in contexts() and context not in self._schemas:
                raise ReferencesUnknown(
                    f"the tables of the context {context!r} say which objects its events name, and the projection of "
                    "it here keeps none of these; do this with the code that its service has"
                )

    async def _check(self, db: Db, context: str, schema: str) -> None:
        """Raises ReferencesUnknown if the tables are missing or of another version."""
        try:
            version = await db.fetchval(f"select version from {quoted(schema)}.made")
        except asyncpg.UndefinedTableError:
            version = None
        if version != projection_of(context).version:
            raise ReferencesUnknown(
                f"the tables of {context} are {'of another version' if version else 'not there'}; they are built when "
                f"the service starts: try again then, or `forgelog rebuild {context}`"
            )

    async def _ends(self) -> Mapping[Place, int]:
        async with connected(new_consumer(self._settings, **HASTY)) as consumer:
            _check_known("the log", self._settings.prefix + EVENTS, await consumer.topics())
            wanted = {name for context in self._schemas for name in projection_of(context).contexts}
            places = {
                TopicPartition(topic, number): (name, number)
                for name in wanted
                for topic in [self._settings.prefix + events(name)]
                for number in await consumer.partitions_of(topic)
            }
            ends = await consumer.end_offsets(list(places))
            return {place: ends[at] for at, place in places.items()}


def _check_known(what: str, begins: str, names: Iterable[str]) -> None:
    """Raises ReferencesUnknown if one of the names is `begins` and a context that is not known here."""
    found = {name.removeprefix(begins) for name in names if name.startswith(begins)}
    if unknown := sorted(each for each in found - contexts().keys() if _CONTEXT.fullmatch(each)):
        raise ReferencesUnknown(
            f"{what} has the context {unknown[0]!r}, whose events may name objects, and it is not known here; set "
            f"{VARIABLE} as the services have it"
        )


def _kept(context: str, schema: str) -> str:
    """Of rows of objects: that their subjects are not purged, as a condition behind others."""
    if PURGED not in projection_of(context).tables:
        return ""
    return f"and not exists (select from {quoted(schema)}.purged p where p.subject = o.subject)"


def _has_references(context: str) -> bool:
    try:
        return REFERENCES in projection_of(context).tables
    except NoProjection:
        return False


def _reached(positions: Mapping[Place, ReaderPosition], ends: Mapping[Place, int], inputs: Collection[str]) -> bool:
    wanted = {place: end for place, end in ends.items() if place[0] in inputs and end}
    return all(place in positions and positions[place].offset >= end for place, end in wanted.items())
