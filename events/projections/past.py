"""The past of tables: what every row was, and since and until when, so that a table can be read as of any time.

Every table ``t`` has a hidden column ``since``: the time of the event that made the row as it is. Beside it is
``t_past``, with the columns of ``t``, ``since`` and ``until``: when an event changes or deletes a row that is older
than the event, the row as it was goes there, in the same transaction. (SQL:2011 calls such tables system-versioned.)
Changes at one time are one version. So the rows as of T are those of ``t`` with ``since <= T`` and those of ``t_past``
with ``since <= T < until``: nothing is folded to read them.

That is exact because a row depends on events of one place, whose writer gives times that never go back (see
`events.projections.projection.Projection`). Should a record have an earlier time all the same, the version that it
makes begins no earlier than the one before; only a row that it makes anew, after an event of a later time deleted it,
begins at the record's own time, so that between the two times there are two versions of it.

Nothing of the past is ever removed, as nothing of the log is.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Generator
from datetime import datetime
from typing import Any, cast

import asyncpg

from events.projections import tables
from events.projections.projection import Projection, Table
from events.projections.tables import ALIVE, Db, quoted

_WORD = re.compile(r"\w+")


async def show(db: Db, schema: str, projection: Projection, at: datetime) -> Db:
    """The connection, on which unqualified names mean the tables of a schema as they were at a time; until the
    transaction's end, which has to roll it back."""
    await db.execute(f"set local search_path to pg_temp, {quoted(schema)}")
    return cast(Db, Past(db, schema, projection, at))


class Past:
    """A connection that makes the view of a table when a statement first names it: a context has dozens of tables, and
    to make all views takes longer than most queries.

    A name in a statement is a word of its text. That another word (a column) is spelled alike makes a view more.
    """

    def __init__(self, db: Db, schema: str, projection: Projection, at: datetime) -> None:
        self._db, self._schema, self._at = db, schema, at
        self._hidden = {table.name: table for table in projection.tables}

    async def _show(self, statement: str) -> Db:
        named = self._hidden.keys() & set(_WORD.findall(statement.lower()))
        if named:
            views = [_view(self._schema, self._hidden.pop(name), self._at) for name in sorted(named)]
            await self._db.execute(";".join(views))
        return self._db

    async def fetch(self, query: str, *args: Any, **named: Any) -> list[asyncpg.Record]:
        return await (await self._show(query)).fetch(query, *args, **named)

    async def fetchrow(self, query: str, *args: Any, **named: Any) -> asyncpg.Record | None:
        found: asyncpg.Record | None = await (await self._show(query)).fetchrow(query, *args, **named)
        return found

    async def fetchval(self, query: str, *args: Any, **named: Any) -> Any:
        return await (await self._show(query)).fetchval(query, *args, **named)

    async def execute(self, query: str, *args: Any, **named: Any) -> str:
        return await (await self._show(query)).execute(query, *args, **named)

    async def prepare(self, query: str, **named: Any) -> Any:
        return await (await self._show(query)).prepare(query, **named)

    def cursor(self, query: str, *args: Any, **named: Any) -> _Cursor:
        return _Cursor(self, query, args, named)

    async def copy_records_to_table(self, table_name: str, **named: Any) -> str:
        """Into a temporary table of the query's own."""
        return await self._db.copy_records_to_table(table_name, **named)

    def transaction(self, **named: Any) -> Any:
        """One within that of the past."""
        return self._db.transaction(**named)


class _Cursor:
    """Of the past: to be waited for, or gone through."""

    def __init__(self, past: Past, query: str, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._past, self._query, self._args, self._named = past, query, args, named

    def __await__(self) -> Generator[Any, None, Any]:
        return self._opened().__await__()

    async def _opened(self) -> Any:
        return await (await self._past._show(self._query)).cursor(self._query, *self._args, **self._named)

    async def __aiter__(self) -> AsyncIterator[asyncpg.Record]:
        async for row in (await self._past._show(self._query)).cursor(self._query, *self._args, **self._named):
            yield row


def _view(schema: str, table: Table, at: datetime) -> str:
    moment = f"'{at.isoformat()}'::timestamptz"
    names = ", ".join(map(quoted, [*table.columns, *table.rendered, "since"]))
    columns = ", ".join([*map(quoted, table.columns), *(f"null::bytea as {quoted(name)}" for name in table.rendered)])
    born = f" and {quoted(table.born)} <= {moment}" if table.born else ""
    # The conditions stand outside of the union, and fold to one for each side: else the planner can't look rows up in
    # it, by the key of another table's row.
    return (
        f"create temporary view {quoted(table.name)} as select {names} from ("
        f"select {columns}, since, null::timestamptz as until, false as over "
        f"from {quoted(schema)}.{quoted(table.name)} "
        f"union all select {columns}, since, until, true from {quoted(schema)}.{quoted(table.past)}) versions "
        f"where ((over and {ALIVE} @> {moment}) or (not over and since <= {moment})){born}"
    )


async def is_kept(db: Db, schema: str, projection: Projection) -> bool:
    """Whether a schema's tables have a past: those that an earlier version made may have none until they are built
    anew."""
    made = await db.fetchrow(f"select version, format from {quoted(schema)}.made")
    return made is not None and (made["version"], made["format"]) == (projection.version, tables.FORMAT)
