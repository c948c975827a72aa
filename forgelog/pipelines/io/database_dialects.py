"""The databases that rows are written to: how each is opened, loaded and locked, and what its types are called.

PostgreSQL is loaded by COPY, in batches of Arrow. SQLite and DuckDB are files of the node. MySQL:
`forgelog.pipelines.io.mysql`.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from events.language.pipelines.columns import Column
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.database_drivers import explained, table_name
from forgelog.pipelines.io.database_urls import DatabaseUrl
from forgelog.pipelines.io.databases import connect_postgres
from forgelog.pipelines.io.mysql import MysqlSession
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_ROWS = 20_000


class Session(Protocol):
    """One connection, in a transaction from its first statement on."""

    def run(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Execute a statement; its rows, if it has any."""

    def columns(self, table: str) -> Mapping[str, str]:
        """A table's columns with their types, in this database's words; empty if there is no such table."""

    def lock(self, name: str) -> None:
        """Wait until no other transaction holds this name; hold it to the end of this one."""

    def load(self, table: str, columns: Sequence[Column], files: Sequence[Path]) -> None:
        """Create a table of the staged types and put the rows of Parquet files into it."""

    def type_of(self, column: Column) -> str:
        """The type for a column of a new table."""

    def describe(self, table: str, metadata: Mapping[str, str]) -> None:
        """Write metadata to the table. Raises StageError if the database has no place for it."""

    def commit(self) -> None: ...

    def close(self) -> None: ...


def session_of(found: DatabaseUrl) -> Session:
    """Open a database that rows are written to. Raises StageError."""
    kinds: dict[str, Callable[[DatabaseUrl], Session]] = {
        "postgresql": _Postgres,
        "mysql": MysqlSession,
        "sqlite": _Sqlite,
        "duckdb": _Duck,
    }
    if found.kind not in kinds:
        problem = f"rows can't be written to {shown(found.kind)}"
        raise StageError("connection.url", problem, f"choose one of {', '.join(kinds)}, or write files")
    return kinds[found.kind](found)


_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")

_POSTGRES_TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "UTINYINT": "smallint",
    "SMALLINT": "smallint",
    "USMALLINT": "integer",
    "INTEGER": "integer",
    "UINTEGER": "bigint",
    "BIGINT": "bigint",
    "UBIGINT": "numeric(20,0)",
    "HUGEINT": "numeric(39,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "VARCHAR": "text",
    "BLOB": "bytea",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "UUID": "uuid",
    "JSON": "jsonb",
    "INTERVAL": "interval",
}

_STAGED = {
    "TINYINT": "SMALLINT",
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
}
"""As what a type is sent to PostgreSQL; its COPY takes no other width."""

_SENT = frozenset(
    {"BOOLEAN", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP"}
    | {"TIMESTAMP WITH TIME ZONE"}
)


class _Postgres:
    def __init__(self, found: DatabaseUrl) -> None:
        self._connection = connect_postgres(found.url)

    def run(self, statement: str) -> Sequence[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            rows: Sequence[tuple[Any, ...]] = cursor.fetchall() if cursor.description else ()
            return rows

    def columns(self, table: str) -> Mapping[str, str]:
        name = sql.text(table_name(table))
        rows = self.run(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = to_regclass({name}) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        return dict(map(tuple[str, str], rows))

    def lock(self, name: str) -> None:
        self.run(f"SELECT pg_advisory_xact_lock(hashtextextended({sql.text(name)}, 0))::text")

    def load(self, table: str, columns: Sequence[Column], files: Sequence[Path]) -> None:
        import duckdb

        staged = {column.name: _staged_type(column.type) for column in columns}
        types = ", ".join(f"{sql.name(name)} {_postgres_type(kind)}" for name, kind in staged.items())
        self.run(f"CREATE TABLE {table_name(table)} ({types})")
        chosen = ", ".join(_sent(column.name, column.type, staged[column.name]) for column in columns)
        schema, _, name = table.rpartition(".")
        for path in files:
            connection = duckdb.connect()
            rows = connection.sql(f"SELECT {chosen} FROM read_parquet({sql.text(str(path))})")
            with self._connection.cursor() as cursor:
                cursor.adbc_ingest(name, rows.to_arrow_reader(_ROWS), mode="append", db_schema_name=schema or None)
            connection.close()

    def type_of(self, column: Column) -> str:
        return _postgres_type(column.type)

    def describe(self, table: str, metadata: Mapping[str, str]) -> None:
        self.run(f"COMMENT ON TABLE {table_name(table)} IS {sql.text(json.dumps(dict(metadata)))}")

    def commit(self) -> None:
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


def _postgres_type(kind: str) -> str:
    if found := _DECIMAL.fullmatch(kind):
        return f"numeric({found[1]},{found[2]})"
    # lists, structs and maps
    return _POSTGRES_TYPES.get(kind, "jsonb" if any(sign in kind for sign in "[(") else "text")


def _staged_type(kind: str) -> str:
    kind = _STAGED.get(kind, kind)
    return kind if kind in _SENT or _DECIMAL.fullmatch(kind) else "VARCHAR"


def _sent(name: str, kind: str, staged: str) -> str:
    column = sql.name(name)
    if staged == kind:
        return column
    nested = any(sign in kind for sign in "[(") and not _DECIMAL.fullmatch(kind)
    value = f"to_json({column})" if nested else column
    return f"CAST({value} AS {staged}) AS {column}"


class _Sqlite:
    def __init__(self, found: DatabaseUrl) -> None:
        if not Path(found.path).parent.is_dir():
            raise StageError("connection.url", f"there is no folder {Path(found.path).parent}", "make it")
        with explained("connection.url"):
            self._connection = sqlite3.connect(found.path, isolation_level=None, timeout=60)
            self._connection.execute("PRAGMA synchronous = FULL")
            # one writer at a time: what it reads first is still so when it writes
            self._connection.execute("BEGIN IMMEDIATE")

    def run(self, statement: str) -> Sequence[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()

    def columns(self, table: str) -> Mapping[str, str]:
        rows = self.run(f"SELECT name, type FROM pragma_table_info({sql.text(table)})")
        return {name: kind or "BLOB" for name, kind in rows}

    def lock(self, name: str) -> None:
        """The transaction holds the file."""

    def load(self, table: str, columns: Sequence[Column], files: Sequence[Path]) -> None:
        import duckdb

        types = ", ".join(f"{sql.name(column.name)} {self.type_of(column)}" for column in columns)
        self.run(f"CREATE TABLE {table_name(table)} ({types})")
        chosen = ", ".join(_for_sqlite(column) for column in columns)
        marks = ", ".join("?" for _ in columns)
        for path in files:
            rows = duckdb.connect().execute(f"SELECT {chosen} FROM read_parquet({sql.text(str(path))})")
            while some := rows.fetchmany(_ROWS):
                self._connection.executemany(f"INSERT INTO {table_name(table)} VALUES ({marks})", some)

    def type_of(self, column: Column) -> str:
        kind = column.type
        if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"):
            return "BIGINT"
        plain = ("BOOLEAN", "DOUBLE", "FLOAT", "BLOB", "DATE", "TIMESTAMP")
        return kind if kind in plain or _DECIMAL.fullmatch(kind) else "TEXT"

    def describe(self, table: str, metadata: Mapping[str, str]) -> None:
        raise StageError("metadata", "SQLite has no place for it", "leave it out")

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def _for_sqlite(column: Column) -> str:
    name, kind = sql.name(column.name), column.type
    if kind in ("BOOLEAN", "FLOAT", "DOUBLE", "VARCHAR", "BLOB") or kind.rstrip("T").endswith("IN"):
        return name
    if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"):
        return name
    nested = any(sign in kind for sign in "[(") and not _DECIMAL.fullmatch(kind)
    return f"CAST({f'to_json({name})' if nested else name} AS VARCHAR) AS {name}"


class _Duck:
    def __init__(self, found: DatabaseUrl) -> None:
        import duckdb

        if not Path(found.path).parent.is_dir():
            raise StageError("connection.url", f"there is no folder {Path(found.path).parent}", "make it")
        with explained("connection.url"):
            # one process at a time has the file
            self._connection = duckdb.connect(found.path)
            self._connection.execute("BEGIN")

    def run(self, statement: str) -> Sequence[tuple[Any, ...]]:
        rows: Sequence[tuple[Any, ...]] = self._connection.execute(statement).fetchall()
        return rows

    def columns(self, table: str) -> Mapping[str, str]:
        schema, _, name = table.rpartition(".")
        where = f"table_name = {sql.text(name)} AND schema_name = {sql.text(schema or 'main')} AND NOT internal"
        query = f"SELECT column_name, data_type FROM duckdb_columns() WHERE {where} ORDER BY column_index"
        return dict(map(tuple[str, str], self.run(query)))

    def lock(self, name: str) -> None:
        """The process holds the file."""

    def load(self, table: str, columns: Sequence[Column], files: Sequence[Path]) -> None:
        types = ", ".join(f"{sql.name(column.name)} {column.type}" for column in columns)
        self.run(f"CREATE TABLE {table_name(table)} ({types})")
        for path in files:
            self.run(f"INSERT INTO {table_name(table)} SELECT * FROM read_parquet({sql.text(str(path))})")

    def type_of(self, column: Column) -> str:
        return column.type

    def describe(self, table: str, metadata: Mapping[str, str]) -> None:
        self.run(f"COMMENT ON TABLE {table_name(table)} IS {sql.text(json.dumps(dict(metadata)))}")

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
