"""SQL for projection tables: definitions, loading, upserting. Knows tables and rows, not what they mean.

A context's tables live in the schema ``<schema>_<context>``, beside three of the runner's own: `positions` (how far
each input partition is folded in, changed in the rows' transaction), `origins` (of which log that was, see
`events.log.identity`) and `history` (every event, for `history` and `as_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from events.projections.projection import Key, Projection, Row, Table

if TYPE_CHECKING:
    Db: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Db = asyncpg.Connection

FORMAT = 3
"""Of the runner's own tables. Raise it when they change; tables of another format are built anew."""

HISTORY = Table(
    name="history",
    key=("context", "partition", "off"),
    columns={
        "partition": "int",
        "off": "bigint",
        "context": "text",
        "aggregate": "text",
        "subject": "text",
        "key": "text",
        "id": "text",
        "type": "text",
        "time": "timestamptz",
        "project": "text",
        "actor": "text",
        "correlation": "text",
        "causation": "text",
        "cause": "text",
        "origin": "text",
        "epoch": "bigint",
        "data": "text",
    },
    indexes=("subject, aggregate, context, partition, off", "correlation", "time", "actor, time", "type, time"),
)

_HISTORY_COLUMNS = list(HISTORY.columns)


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def set_codecs(db: Db) -> None:
    """jsonb as plain Python data, on a new connection."""
    await db.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value, default=str),
        decoder=lambda value: orjson.loads(value[1:]),
        format="binary",
    )


def _stored(table: Table) -> dict[str, str]:
    """Every column, the rendered ones at the end."""
    return {**table.columns, **dict.fromkeys(table.rendered, "bytea")}


def create_statements(table: Table, temporary: bool = False) -> list[str]:
    """DDL of a table and its indexes."""
    columns = ", ".join(
        f"{quoted(name)} {kind}{' not null' if name in table.key else ''}" for name, kind in _stored(table).items()
    )
    key = ", ".join(quoted(name) for name in table.key)
    if temporary:
        return [f"create temporary table {quoted(table.name)} ({columns}, primary key ({key})) on commit drop"]
    return [
        f"create table if not exists {quoted(table.name)} ({columns}, primary key ({key}))",
        *_index_statements(table),
    ]


def _index_statements(table: Table) -> list[str]:
    return [
        f"create index if not exists {quoted(f'{table.name}_index_{number}')} on {quoted(table.name)} ({index})"
        for number, index in enumerate(table.indexes)
    ]


async def create_bare(db: Db, schema: str, projection: Projection) -> None:
    """As `create_schema`, but to be filled from empty: what is only for reading comes with `complete`, much faster."""
    await create_schema(db, schema, projection)
    await db.execute(f"set local search_path to {quoted(schema)}")
    await db.execute("alter table history drop constraint history_pkey")
    for table in (*projection.tables, HISTORY):
        for number, _ in enumerate(table.indexes):
            await db.execute(f"drop index {quoted(f'{table.name}_index_{number}')}")


async def complete(db: Db, schema: str, filled: Sequence[Table]) -> None:
    """Give tables of a schema, once filled, what `create_bare` left out."""
    async with db.transaction():
        await db.execute(f"set local search_path to {quoted(schema)}")
        for table in filled:
            if table is HISTORY:
                await db.execute(f"alter table history add primary key ({', '.join(HISTORY.key)})")
            for statement in _index_statements(table):
                await db.execute(statement)
            await db.execute(f"analyze {quoted(table.name)}")


async def schema_oid(db: Db, schema: str) -> int:
    """What tells a schema from another that had or will have its name; 0 if there is none."""
    oid: int = await db.fetchval(
        "select coalesce((select oid::bigint from pg_namespace where nspname = $1), 0)", schema
    )
    return oid


async def create_schema(db: Db, schema: str, projection: Projection) -> None:
    """Make a schema with the projection's tables and the runner's own, if it isn't there."""
    async with db.transaction():
        await db.execute("select pg_advisory_xact_lock(hashtext($1))", schema)
        await db.execute(f"create schema if not exists {quoted(schema)}")
        await db.execute(f"set local search_path to {quoted(schema)}")
        await db.execute(
            "create table if not exists positions (context text, partition int, off bigint not null, "
            "epoch bigint not null, primary key (context, partition))"
        )
        await db.execute(
            "create table if not exists origins (context text, partition int, origin text not null, "
            "primary key (context, partition))"
        )
        await db.execute("create table if not exists made (version int not null, at timestamptz default now())")
        # Tables of an earlier version have no such column.
        await db.execute("alter table made add column if not exists repairs bigint not null default 0")
        await db.execute("alter table made add column if not exists format int not null default 1")
        if not await db.fetchval("select count(*) from made"):
            await db.execute("insert into made (version, format) values ($1, $2)", projection.version, FORMAT)
        if await db.fetchval("select format from made") != FORMAT:
            # They serve until new ones are made: the queries of now must find their columns, and need no index more.
            await db.execute("alter table history add column if not exists aggregate text not null default ''")
            return
        for table in (*projection.tables, HISTORY):
            for statement in create_statements(table):
                await db.execute(statement)


def _type(kind: str) -> str:
    return kind.split(" ")[0]


async def load_rows(db: Db, table: Table, keys: Sequence[Key]) -> dict[Key, Row]:
    """The rows with these keys, in one query."""
    if not keys:
        return {}
    names = [quoted(name) for name in table.key]
    arrays = [[key[i] for key in keys] for i in range(len(table.key))]
    types = [_type(table.columns[name]) for name in table.key]
    unnest = ", ".join(f"${i + 1}::{kind}[]" for i, kind in enumerate(types))
    columns = ", ".join(f"t.{quoted(name)}" for name in table.columns)
    match = " and ".join(f"t.{name} = k.{name}" for name in names)
    rows = await db.fetch(
        f"select {columns} from {quoted(table.name)} t join unnest({unnest}) as k({', '.join(names)}) on {match}",
        *arrays,
    )
    return {tuple(row[name] for name in table.key): dict(row) for row in rows}


def _upsert_sql(table: Table) -> str:
    names = [quoted(name) for name in _stored(table)]
    rest = [quoted(name) for name in _stored(table) if name not in table.key]
    unnest = []
    select = []
    for i, (name, kind) in enumerate(_stored(table).items()):
        kind = _type(kind)
        if kind.endswith("[]") or kind == "jsonb":  # as text: unnest would flatten arrays, and lists look like arrays
            unnest.append(f"${i + 1}::text[]")
            if kind == "jsonb":
                select.append(f"{quoted(name)}::jsonb")
            else:
                elements = f"select e from jsonb_array_elements_text({quoted(name)}::jsonb) e"
                select.append(f"case when {quoted(name)} is null then null else array({elements})::{kind} end")
        else:
            unnest.append(f"${i + 1}::{kind}[]")
            select.append(quoted(name))
    update = ", ".join(f"{name} = excluded.{name}" for name in rest)
    action = f"do update set {update}" if rest else "do nothing"
    key = ", ".join(quoted(name) for name in table.key)
    return (
        f"insert into {quoted(table.name)} ({', '.join(names)}) select {', '.join(select)} "
        f"from unnest({', '.join(unnest)}) as u({', '.join(names)}) on conflict ({key}) {action}"
    )


def _as_json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, default=str).decode()


async def upsert_rows(db: Db, table: Table, rows: Sequence[Row]) -> None:
    """Insert or replace rows, in one statement."""
    if rows:
        columns = [
            [_as_json(row[name]) for row in rows]
            if kind == "jsonb" or kind.endswith("[]")
            else [row[name] for row in rows]
            for name, kind in table.columns.items()
        ]
        rendered = [[render(row) for row in rows] for render in table.rendered.values()]
        await db.execute(_upsert_sql(table), *columns, *rendered)


async def insert_rows(db: Db, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that are not there yet, by COPY."""
    names, renders = tuple(table.columns), tuple(table.rendered.values())
    records = [(*(row[name] for name in names), *(render(row) for render in renders)) for row in rows]
    await db.copy_records_to_table(table.name, records=records, columns=list(_stored(table)))


async def delete_rows(db: Db, table: Table, keys: Sequence[Key]) -> None:
    """Delete rows by key, in one statement."""
    if not keys:
        return
    names = [quoted(name) for name in table.key]
    types = [_type(table.columns[name]) for name in table.key]
    unnest = ", ".join(f"${i + 1}::{kind}[]" for i, kind in enumerate(types))
    match = " and ".join(f"t.{name} = k.{name}" for name in names)
    arrays = [[key[i] for key in keys] for i in range(len(table.key))]
    await db.execute(
        f"delete from {quoted(table.name)} t using unnest({unnest}) as k({', '.join(names)}) where {match}", *arrays
    )


async def copy_history(db: Db, schema: str, records: Iterable[tuple[Any, ...]]) -> None:
    """Append to the history table by COPY; the tuples are in the order of its columns."""
    await db.copy_records_to_table("history", schema_name=schema, records=records, columns=_HISTORY_COLUMNS)
