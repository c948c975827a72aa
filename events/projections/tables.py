"""SQL for projection tables: definitions, loading, upserting. Knows tables and rows, not what they mean.

A context's tables live in the schema ``<schema>_<context>``, beside three of the runner's own: `positions` (how far
each input partition is folded in, changed in the rows' transaction), `origins` (the log of those positions, see
`events.log.identity`) and `history` (every event of the context). Every table has another for its
past (`events.projections.past`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from events.projections.projection import Key, Projection, Row, Table

if TYPE_CHECKING:
    Db: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Db = asyncpg.Connection

FORMAT = 4
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

ALIVE = "tstzrange(since, until)"
"""Indexed in tables of the past, where it tells how many versions a time meets: two conditions would not."""

Versioned = tuple[Row, datetime]
"""A row, and since when it is so."""


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def set_codecs(db: Db) -> None:
    """jsonb as plain Python data, on a new connection. (What is not, such as a model, is refused: as its text it would
    come back as something else than was put.)"""
    await db.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda value: orjson.loads(value[1:]),
        format="binary",
    )


def _stored(table: Table) -> dict[str, str]:
    """Every column, the rendered ones at the end."""
    return {**table.columns, **dict.fromkeys(table.rendered, "bytea")}


def _table_statement(table: Table) -> str:
    hidden = {} if table is HISTORY else {"since": "timestamptz"}
    bound = {*table.key, *hidden}
    columns = ", ".join(
        f"{quoted(name)} {kind}{' not null' if name in bound else ''}"
        for name, kind in {**_stored(table), **hidden}.items()
    )
    key = ", ".join(quoted(name) for name in table.key)
    return f"create table if not exists {quoted(table.name)} ({columns}, primary key ({key}))"


def _past_statement(table: Table) -> str:
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in table.columns.items())
    until = "since timestamptz not null, until timestamptz not null"
    return f"create table if not exists {quoted(table.past)} ({columns}, {until})"


def _index_statements(table: Table) -> dict[str, str]:
    """By the index's name.

    An index of columns of the key gets the rest of the key too. Postgres takes what it knows no better for narrow, and
    the smaller index then: it would look rows up, all of their key given, along a part of the key that they may share
    with thousands (an archive of code that every job names).
    """
    statements = {}
    for number, index in enumerate(table.indexes):
        name, columns = f"{table.name}_index_{number}", index.split(", ")
        if set(columns) < set(table.key):
            name, columns = f"{name}_key", [*columns, *(each for each in table.key if each not in columns)]
        rest = index if index.startswith("using ") else f"({', '.join(columns)})"
        statements[name] = f"on {quoted(table.name)} {rest}"
    if table is not HISTORY:
        name, key = quoted(table.past), ", ".join(quoted(column) for column in table.key)
        statements[f"{table.past}_key"] = f"on {name} ({key}, since)"
        statements[f"{table.past}_alive"] = f"on {name} using gist ({ALIVE})"
    return {index: f"create index {quoted(index)} {rest}" for index, rest in statements.items()}


async def create_bare(db: Db, schema: str, projection: Projection) -> None:
    """As `create_schema`, but to be filled from empty: what is only for reading comes with `complete`, much faster."""
    await create_schema(db, schema, projection, bare=True)
    await db.execute(f"set local search_path to {quoted(schema)}")
    await db.execute("alter table history drop constraint history_pkey")


async def complete(db: Db, schema: str, filled: Sequence[Table]) -> None:
    """Give tables of a schema, once filled, what `create_bare` left out."""
    async with db.transaction():
        await db.execute(f"set local search_path to {quoted(schema)}")
        for table in filled:
            if table is HISTORY:
                await db.execute(f"alter table history add primary key ({', '.join(HISTORY.key)})")
            for statement in _index_statements(table).values():
                await db.execute(statement)
            await db.execute(f"analyze {quoted(table.name)}")
            if table is not HISTORY:
                await db.execute(f"analyze {quoted(table.past)}")


async def schema_oid(db: Db, schema: str) -> int:
    """What tells a schema from another that had or will have its name; 0 if there is none."""
    oid: int = await db.fetchval(
        "select coalesce((select oid::bigint from pg_namespace where nspname = $1), 0)", schema
    )
    return oid


async def create_schema(db: Db, schema: str, projection: Projection, *, bare: bool = False) -> None:
    """Make a schema with the projection's tables and the runner's own, if it isn't there. `bare`: without indexes."""
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
        for column in ("repairs bigint not null default 0", "format int not null default 1"):
            await _add_column(db, "made", column)
        if not await db.fetchval("select count(*) from made"):
            await db.execute("insert into made (version, format) values ($1, $2)", projection.version, FORMAT)
        made = await db.fetchrow("select version, format from made")
        assert made is not None
        if (made["version"], made["format"]) != (projection.version, FORMAT):
            # They serve until new ones are made: the queries of now must find the columns of `history`, and need no
            # index more. A table that they lack is not made empty, since queries would say that there is nothing: a
            # query of it is told to ask again (`events.queries.guard`).
            for column in ("aggregate", "origin"):
                await _add_column(db, "history", f"{column} text not null default ''")
            return
        there = set() if bare else await _indexes(db, schema)
        for table in (*projection.tables, HISTORY):
            await db.execute(_table_statement(table))
            if table is not HISTORY:
                await db.execute(_past_statement(table))
            for index, statement in () if bare else _index_statements(table).items():
                if index not in there:
                    await db.execute(statement)
                if (former := index.removesuffix("_key")) != index and former in there:
                    await db.execute(f"drop index {quoted(former)}")  # of an earlier version: without the whole key


# What is asked for before it is made takes no lock where it is there. With `if not exists` Postgres locks the table
# first, against those who write to it, who may wait for another table that is locked here.


async def _indexes(db: Db, schema: str) -> set[str]:
    """Names of a schema's indexes. (The view `pg_indexes` looks at those of other schemas too, which may just go.)"""
    found = await db.fetch(
        "select relname from pg_class where relkind = 'i' and relnamespace = $1::text::regnamespace", quoted(schema)
    )
    return {row["relname"] for row in found}


async def _add_column(db: Db, table: str, column: str) -> None:
    """To a table of an earlier version, which may have no such column."""
    query = "select count(*) from pg_attribute where attrelid = $1::text::regclass and attname = $2"
    if not await db.fetchval(query, table, column.split(" ")[0]):
        await db.execute(f"alter table {table} add column {column}")


def _type(kind: str) -> str:
    return kind.split(" ")[0]


async def load_rows(db: Db, table: Table, keys: Sequence[Key]) -> dict[Key, Versioned]:
    """The rows with these keys, in one query."""
    if not keys:
        return {}
    names = [quoted(name) for name in table.key]
    arrays = [[key[i] for key in keys] for i in range(len(table.key))]
    types = [_type(table.columns[name]) for name in table.key]
    unnest = ", ".join(f"${i + 1}::{kind}[]" for i, kind in enumerate(types))
    columns = ", ".join(f"t.{quoted(name)}" for name in (*table.columns, "since"))
    match = " and ".join(f"t.{name} = k.{name}" for name in names)
    rows = await db.fetch(
        f"select {columns} from {quoted(table.name)} t join unnest({unnest}) as k({', '.join(names)}) on {match}",
        *arrays,
    )
    found: dict[Key, Versioned] = {}
    for record in rows:
        row = dict(record)
        since = row.pop("since")
        found[table.key_of(row)] = (row, since)
    return found


def _upsert_sql(table: Table) -> str:
    stored = {**_stored(table), "since": "timestamptz"}
    names = [quoted(name) for name in stored]
    rest = [quoted(name) for name in stored if name not in table.key]
    unnest = []
    select = []
    for i, (name, kind) in enumerate(stored.items()):
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
    key = ", ".join(quoted(name) for name in table.key)
    return (
        f"insert into {quoted(table.name)} ({', '.join(names)}) select {', '.join(select)} "
        f"from unnest({', '.join(unnest)}) as u({', '.join(names)}) on conflict ({key}) do update set {update}"
    )


def _as_json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


async def upsert_rows(db: Db, table: Table, rows: Sequence[Versioned]) -> None:
    """Insert or replace rows, in one statement."""
    if rows:
        columns = [
            [_as_json(row[name]) for row, _ in rows]
            if kind == "jsonb" or kind.endswith("[]")
            else [row[name] for row, _ in rows]
            for name, kind in table.columns.items()
        ]
        rendered = [[render(row) for row, _ in rows] for render in table.rendered.values()]
        await db.execute(_upsert_sql(table), *columns, *rendered, [since for _, since in rows])


async def insert_rows(db: Db, table: Table, rows: Sequence[Versioned]) -> None:
    """Insert rows that are not there yet, by COPY."""
    if rows:
        values_of, renders = table.values_of, tuple(table.rendered.values())
        records = [(*values_of(row), *[render(row) for render in renders], at) for row, at in rows]
        await db.copy_records_to_table(table.name, records=records, columns=[*_stored(table), "since"])


async def insert_past(db: Db, table: Table, versions: Sequence[tuple[Row, datetime, datetime]]) -> None:
    """Append what rows were, each with since and until when, by COPY."""
    if versions:
        values_of = table.values_of
        records = [(*values_of(row), since, until) for row, since, until in versions]
        await db.copy_records_to_table(table.past, records=records, columns=[*table.columns, "since", "until"])


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
