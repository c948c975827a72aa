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

from datetime import datetime

from events.projections import tables
from events.projections.projection import Projection, Table
from events.projections.tables import ALIVE, Db, quoted


async def show(db: Db, schema: str, projection: Projection, at: datetime) -> None:
    """Let unqualified names mean the tables of a schema as they were at a time; until the transaction's end, which
    has to roll it back."""
    await db.execute(f"set local search_path to pg_temp, {quoted(schema)}")
    await db.execute(";".join(_view(schema, table, at) for table in projection.tables))


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
