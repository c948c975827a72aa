"""Rows of databases: they are brought into a Parquet file of the scratch folder, by one statement.

PostgreSQL is read by ADBC, which gives Arrow. What it has no type for (numeric, uuid, json …) comes as text and gets
its type again in DuckDB. Other databases with an ADBC driver (``adbc_driver_NAME``) are read as the driver gives them.
MySQL: `forgelog.pipelines.io.mysql`.
"""

from __future__ import annotations

import importlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.context import Resolved
from forgelog.pipelines.io.database_drivers import explained, table_name
from forgelog.pipelines.io.database_queries import with_values
from forgelog.pipelines.io.database_urls import DatabaseUrl, database_url
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError, needs_extra

_ROWS = 20_000

WIDEST_SCALE = 12
"""Decimals of a column of type ``numeric`` without a scale of its own."""


def extract(resolved: Resolved) -> str:
    """A query of DuckDB over the rows of a table or a query, which are in the scratch folder then."""
    source, context = resolved.source, resolved.context
    found = database_url(resolved.connection, context)
    number = sum(1 for _ in context.scratch.glob("database-*.parquet"))
    target = context.scratch / f"database-{number}.parquet"
    query = f"SELECT * FROM {table_name(source.table)}"
    if source.query:
        query = with_values(source.query.rstrip().rstrip(";"), context, plain=found.kind in ("sqlite", "mysql"))
    return _EXTRACTS.get(found.kind, _extract_adbc)(found, query, source, target)


# -- PostgreSQL

_TYPES_OF_VIEW = """
SELECT attname, format_type(atttypid, NULL), atttypmod, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'pg_temp.forgelog_source'::regclass AND attnum > 0 ORDER BY attnum
"""

_AS_THEY_ARE = frozenset(
    {
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "text",
        "character varying",
        "character",
        "name",
        "bytea",
        "date",
        "time without time zone",
        "timestamp without time zone",
        "timestamp with time zone",
    }
)
"""Types that the driver has."""


def _extract_postgres(found: DatabaseUrl, query: str, source: DataSource, target: Path) -> str:
    with closing(connect_postgres(found.url)) as connection, closing(connection.cursor()) as cursor:
        field = "query" if source.query else "table"
        with explained(field):
            cursor.execute(f"CREATE TEMP VIEW forgelog_source AS {query}\n")
            cursor.execute(_TYPES_OF_VIEW)
            columns: list[tuple[str, str, int, str]] = cursor.fetchall()
            chosen = ", ".join(
                sql.name(name) if kind in _AS_THEY_ARE else f"CAST({sql.name(name)} AS text) AS {sql.name(name)}"
                for name, kind, _, _ in columns
            )
            cursor.execute(f"SELECT {chosen} FROM pg_temp.forgelog_source")
            _save(cursor.fetch_record_batch(), target)
    given = {column.name for column in source.columns}
    parts = []
    for name, kind, modifier, _ in columns:
        type_ = _duckdb_type(kind, modifier) if kind not in _AS_THEY_ARE and name not in given else ""
        parts.append(f"CAST({sql.name(name)} AS {type_}) AS {sql.name(name)}" if type_ else sql.name(name))
        if type_ == _OPEN_DECIMAL:
            _check_scale(target, name)
    return f"SELECT {', '.join(parts)} FROM read_parquet({sql.text(str(target))})"


_OPEN_DECIMAL = f"DECIMAL(38,{WIDEST_SCALE})"


def _duckdb_type(kind: str, modifier: int) -> str:
    """The type of DuckDB for one of PostgreSQL that came as text; empty: it stays text."""
    if kind == "numeric":
        precision, scale = ((modifier - 4) >> 16) & 0xFFFF, (modifier - 4) & 0x7FF
        exact = modifier >= 0 and 0 < precision <= 38 and scale <= precision
        return f"DECIMAL({precision},{scale})" if exact else _OPEN_DECIMAL
    return {"uuid": "UUID", "json": "JSON", "jsonb": "JSON", "interval": "INTERVAL"}.get(kind, "")


def _check_scale(path: Path, name: str) -> None:
    import duckdb

    digits = f"length(rtrim(split_part({sql.name(name)}, '.', 2), '0'))"
    query = f"SELECT {sql.name(name)} FROM read_parquet({sql.text(str(path))}) WHERE {digits} > {WIDEST_SCALE} LIMIT 1"
    for (value,) in duckdb.connect().execute(query).fetchall():
        problem = f"{shown(name)} is numeric without a scale and has {shown(value)}, which would be rounded"
        raise StageError("columns", problem, "give the column's type, such as DOUBLE or DECIMAL(38,20), in columns")


def connect_postgres(url: str) -> Any:
    """A connection by ADBC; not in autocommit."""
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise needs_extra("adbc-driver-postgresql") from None
    with explained("connection.url"):
        return dbapi.connect(url)


def _save(reader: Any, target: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(target, reader.schema, compression="lz4") as writer:
        for batch in reader:
            writer.write_batch(batch)


# -- other databases with a driver of ADBC


def _extract_adbc(found: DatabaseUrl, query: str, source: DataSource, target: Path) -> str:
    module = f"adbc_driver_{found.kind.replace('-', '_')}"
    try:
        driver = importlib.import_module(f"{module}.dbapi")
    except ImportError:
        problem = f"this node has no driver for {shown(found.kind)}"
        known = "PostgreSQL, MySQL, SQLite and DuckDB need none"
        raise StageError("connection.url", problem, f"pip install {module.replace('_', '-')} ({known})") from None
    field = "query" if source.query else "table"
    with explained(field), driver.connect(found.url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        _save(cursor.fetch_record_batch(), target)
    return f"SELECT * FROM read_parquet({sql.text(str(target))})"


# -- DuckDB


def _extract_duckdb(found: DatabaseUrl, query: str, source: DataSource, target: Path) -> str:
    import duckdb

    field = "query" if source.query else "table"
    if not Path(found.path).exists():
        raise StageError("connection.url", f"there is no file {shown(found.path)}", "correct the path")
    with explained(field), closing(duckdb.connect(found.path, read_only=True)) as connection:
        connection.execute(f"COPY ({query}\n) TO {sql.text(str(target))} (FORMAT parquet, COMPRESSION 'lz4_raw')")
    return f"SELECT * FROM read_parquet({sql.text(str(target))})"


# -- SQLite: any column may have a value of any type, so the declared types are asked of each value


def _extract_sqlite(found: DatabaseUrl, query: str, source: DataSource, target: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    field = "query" if source.query else "table"
    if not Path(found.path).exists():
        raise StageError("connection.url", f"there is no file {shown(found.path)}", "correct the path")
    with explained(field), closing(sqlite3.connect(found.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA query_only = true")
        columns = _sqlite_columns(connection, query)
        kinds = [_arrow_kind(kind) for kind in columns.values()]
        schema = pa.schema([(name, kind[0]) for name, kind in zip(columns, kinds, strict=True)])
        with pq.ParquetWriter(target, schema, compression="lz4") as writer:
            for rows in _batches(connection.execute(query)):
                values = [
                    _typed([row[number] for row in rows], kind[1], name)
                    for number, (name, kind) in enumerate(zip(columns, kinds, strict=True))
                ]
                arrays = [pa.array(each, kind[0]) for each, kind in zip(values, kinds, strict=True)]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    given = {column.name for column in source.columns}
    parts = [
        sql.name(name)
        if kind in ("BIGINT", "DOUBLE", "VARCHAR", "BLOB", "BOOLEAN") or name in given
        else f"CAST({sql.name(name)} AS {kind}) AS {sql.name(name)}"
        for name, kind in columns.items()
    ]
    return f"SELECT {', '.join(parts)} FROM read_parquet({sql.text(str(target))})"


def _sqlite_columns(connection: sqlite3.Connection, query: str) -> dict[str, str]:
    """The columns of a query, with the types that they are declared with, in DuckDB's words."""
    connection.execute("PRAGMA query_only = false")
    connection.execute(f"CREATE TEMP VIEW forgelog_source AS {query}\n")
    connection.execute("PRAGMA query_only = true")
    columns = {}
    for _, name, declared, *_ in connection.execute("PRAGMA temp.table_info(forgelog_source)").fetchall():
        columns[name] = _declared(declared) if declared else _met(connection, name)
    return columns


def _declared(text: str) -> str:
    """By the rules of SQLite's affinities, and the types that people declare besides."""
    upper = text.upper()
    if found := re.fullmatch(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)", upper):
        return f"DECIMAL({found[1]},{found[2] or 0})"
    for words, kind in (
        (("BOOL",), "BOOLEAN"),
        (("DATETIME", "TIMESTAMP"), "TIMESTAMP"),
        (("DATE",), "DATE"),
        (("INT",), "BIGINT"),
        (("CHAR", "CLOB", "TEXT"), "VARCHAR"),
        (("BLOB",), "BLOB"),
        (("REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL"), "DOUBLE"),
    ):
        if any(word in upper for word in words):
            return kind
    return "VARCHAR"


def _met(connection: sqlite3.Connection, name: str) -> str:
    """Of an expression: what its values are."""
    query = f"SELECT DISTINCT typeof({sql.name(name)}) FROM temp.forgelog_source"
    kinds = {row[0] for row in connection.execute(query)} - {"null"}
    for fit, kind in (({"integer"}, "BIGINT"), ({"integer", "real"}, "DOUBLE"), ({"blob"}, "BLOB")):
        if kinds and kinds <= fit:
            return kind
    return "VARCHAR"


def _batches(cursor: sqlite3.Cursor) -> Iterator[Sequence[Any]]:
    while rows := cursor.fetchmany(_ROWS):
        yield rows


def _typed(values: Iterable[Any], convert: Callable[[Any], Any], name: str) -> list[Any]:
    result = []
    for value in values:
        try:
            result.append(None if value is None else convert(value))
        except (ValueError, TypeError):
            problem = f"the column {shown(name)} has {shown(value)}, which is not of its declared type"
            raise StageError("columns", problem, "cast it in a query, or give its type as VARCHAR in columns") from None
    return result


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        raise ValueError("bytes")
    return str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _exact_int(value: Any) -> int:
    if isinstance(value, int):
        return value
    raise ValueError(value)


def _bool(value: Any) -> bool:
    if value in (0, 1):
        return bool(value)
    raise ValueError(value)


def _arrow_kind(kind: str) -> tuple[Any, Callable[[Any], Any]]:
    """The type of Arrow that a column is kept in, and what makes a value of it. Dates and decimals are text here."""
    import pyarrow as pa

    kinds: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "BIGINT": (pa.int64(), _exact_int),
        "DOUBLE": (pa.float64(), float),
        "BLOB": (pa.binary(), _bytes),
        "BOOLEAN": (pa.bool_(), _bool),
    }
    return kinds.get(kind, (pa.string(), _text))


def _extract_mysql(found: DatabaseUrl, query: str, source: DataSource, target: Path) -> str:
    from forgelog.pipelines.io.mysql import extract_mysql

    return extract_mysql(found, query, source, target)


_EXTRACTS: dict[str, Callable[[DatabaseUrl, str, DataSource, Path], str]] = {
    "postgresql": _extract_postgres,
    "mysql": _extract_mysql,
    "sqlite": _extract_sqlite,
    "duckdb": _extract_duckdb,
}
