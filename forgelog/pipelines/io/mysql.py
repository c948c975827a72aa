"""MySQL and MariaDB, by PyMySQL: rows are read as the server writes them and get their types in DuckDB; they are
written by inserts of many.

A session reads names in double quotes and keeps backslashes as they are (`ANSI_QUOTES`, `NO_BACKSLASH_ESCAPES`), as the
other databases do, and is in UTC. Statements that make, alter or drop a table commit what was done before them: the
sink has them before the first change of rows, or behind the last.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from blake3 import blake3

from events.language.pipelines.columns import Column
from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.database_drivers import explained, table_name
from forgelog.pipelines.io.database_urls import DatabaseUrl
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError, needs_extra

_ROWS = 20_000
_CONNECT_SECONDS = 30
_LOCK_SECONDS = 600
_PORT = 3306
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BINARY = 63
"""The character set of what is no text."""
_UNSIGNED = 32
"""Among a column's flags."""
_BEGIN = (
    "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
    "time_zone = '+00:00'"
)


def connect_mysql(found: DatabaseUrl) -> Any:
    """A connection; not in autocommit. Values come as texts and bytes. Raises StageError."""
    try:
        import pymysql
        from pymysql.converters import conversions
    except ImportError:
        raise needs_extra("pymysql") from None
    parts = urlsplit(found.url)
    options = dict(parse_qsl(parts.query))
    host, database = parts.hostname or "localhost", unquote(parts.path.strip("/"))
    if not database:
        raise StageError("connection.url", "names no database", "write mysql://user@host:3306/name")
    security = _security(options.pop("ssl_mode", ""), options.pop("ssl_ca", ""), host)
    if options:
        known = "ssl_mode and ssl_ca"
        raise StageError("connection.options", f"{shown(min(options))} is no option of MySQL", f"there are {known}")
    with explained("connection.url"):
        connection = pymysql.connect(
            host=host,
            port=parts.port or _PORT,
            user=unquote(parts.username or "") or None,
            password=unquote(parts.password or ""),
            database=database,
            charset="utf8mb4",
            autocommit=False,
            connect_timeout=_CONNECT_SECONDS,
            ssl=security,
            ssl_disabled=security is None,
            # values that are sent are written as the library knows; those that come stay as they are
            conv={kind: write for kind, write in conversions.items() if not isinstance(kind, int)},
        )
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN)
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    return connection


def _security(mode: str, ca: str, host: str) -> ssl.SSLContext | None:
    """TLS with a checked certificate, unless the server is on this machine or the mode says otherwise."""
    mode = mode or ("disabled" if host in _LOOPBACK else "verify_identity")
    if mode == "disabled":
        return None
    if mode not in ("required", "verify_identity"):
        raise StageError("connection.options.ssl_mode", f"is {shown(mode)}", "disabled, required or verify_identity")
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise StageError("connection.options.ssl_ca", f"{ca} can't be read: {error}", "correct the path") from None
    if mode == "required":  # encrypted, and whose it is is not asked
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# -- reading


def extract_mysql(found: DatabaseUrl, query: str, source: DataSource, target: Path) -> str:
    """A query of DuckDB over the rows of a query of the database, which are in the file then."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pymysql.cursors import SSCursor

    field = "query" if source.query else "table"
    with closing(connect_mysql(found)) as connection, explained(field), connection.cursor(SSCursor) as cursor:
        cursor.execute(query)
        # what the cursor's description leaves out: whether a number has a sign, and a text is one
        columns = {each.name: _type_of_field(each) for each in cursor._result.fields}
        if len(columns) < len(cursor.description):
            raise StageError(field, "two columns have the same name", "give them names by AS")
        schema = pa.schema([(name, _ARROW.get(kind, pa.string)()) for name, kind in columns.items()])
        bits = [kind == "UBIGINT BITS" for kind in columns.values()]
        with pq.ParquetWriter(target, schema, compression="lz4") as writer:
            while rows := cursor.fetchmany(_ROWS):
                arrays = [
                    pa.array([_number(value) if bit else value for value in values], each.type)
                    for values, each, bit in zip(zip(*rows, strict=True), schema, bits, strict=True)
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    given = {column.name for column in source.columns}
    parts = [sql.name(name) if name in given else _cast(name, kind) for name, kind in columns.items()]
    return f"SELECT {', '.join(parts)} FROM read_parquet({sql.text(str(target))})"


def _uint64() -> Any:
    import pyarrow as pa

    return pa.uint64()


def _binary() -> Any:
    import pyarrow as pa

    return pa.binary()


_ARROW = {"BLOB": _binary, "UBIGINT BITS": _uint64}
"""What does not come as text."""


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value)


def _cast(name: str, kind: str) -> str:
    column = sql.name(name)
    if kind in ("VARCHAR", "BLOB", "UBIGINT BITS"):
        return column
    value = f"{column} || '+00'" if kind == "TIMESTAMP WITH TIME ZONE" else column
    return f"CAST({value} AS {kind}) AS {column}"


def _type_of_field(field: Any) -> str:
    """The type of DuckDB for a column of a result."""
    from pymysql.constants import FIELD_TYPE as TYPE

    unsigned = bool(field.flags & _UNSIGNED)
    whole = {TYPE.TINY: "TINYINT", TYPE.SHORT: "SMALLINT", TYPE.INT24: "INTEGER", TYPE.LONG: "INTEGER"}
    whole[TYPE.LONGLONG] = "BIGINT"
    code = field.type_code
    if code in whole:
        return f"U{whole[code]}" if unsigned else whole[code]
    if code in (TYPE.DECIMAL, TYPE.NEWDECIMAL):
        digits = field.length - bool(field.scale) - (not unsigned)
        return f"DECIMAL({digits},{field.scale})" if 0 < digits <= 38 else "VARCHAR"
    others = {
        TYPE.YEAR: "SMALLINT",
        TYPE.FLOAT: "FLOAT",
        TYPE.DOUBLE: "DOUBLE",
        TYPE.DATE: "DATE",
        TYPE.NEWDATE: "DATE",
        TYPE.TIME: "TIME",
        TYPE.DATETIME: "TIMESTAMP",
        TYPE.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
        TYPE.JSON: "JSON",
        TYPE.BIT: "UBIGINT BITS",
    }
    return others.get(code) or ("BLOB" if field.charsetnr == _BINARY and code != TYPE.NULL else "VARCHAR")


# -- writing

_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")

_TYPES = {
    "BOOLEAN": "TINYINT(1)",
    "TINYINT": "TINYINT",
    "UTINYINT": "TINYINT UNSIGNED",
    "SMALLINT": "SMALLINT",
    "USMALLINT": "SMALLINT UNSIGNED",
    "INTEGER": "INT",
    "UINTEGER": "INT UNSIGNED",
    "BIGINT": "BIGINT",
    "UBIGINT": "BIGINT UNSIGNED",
    "HUGEINT": "DECIMAL(39,0)",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "BLOB": "LONGBLOB",
    "DATE": "DATE",
    "TIME": "TIME(6)",
    "TIMESTAMP": "DATETIME(6)",
    "TIMESTAMP_S": "DATETIME(6)",
    "TIMESTAMP_MS": "DATETIME(6)",
    "TIMESTAMP_NS": "DATETIME(6)",
    "TIMESTAMP WITH TIME ZONE": "DATETIME(6)",
    "UUID": "CHAR(36)",
    "JSON": "JSON",
}
"""Times with a zone are in UTC: MySQL's own type of instants ends in 2038."""


class MysqlSession:
    """See `forgelog.pipelines.io.database_dialects.Session`."""

    def __init__(self, found: DatabaseUrl) -> None:
        self._connection = connect_mysql(found)

    def run(self, statement: str) -> Sequence[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            rows: Sequence[tuple[Any, ...]] = cursor.fetchall() if cursor.description else ()
            return [tuple(_whole(value) for value in row) for row in rows]

    def columns(self, table: str) -> Mapping[str, str]:
        schema, _, name = table.rpartition(".")
        rows = self.run(
            "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = "
            f"{sql.text(schema) if schema else 'DATABASE()'} AND table_name = {sql.text(name)} "
            "ORDER BY ordinal_position"
        )
        return {str(name): str(kind) for name, kind in rows}

    def lock(self, name: str) -> None:
        """It holds for the server, so it has the database's name; it ends with the connection."""
        database = self.run("SELECT DATABASE()")[0][0]
        digest = blake3(f"{database} {name}".encode()).hexdigest()[:48]
        if self.run(f"SELECT GET_LOCK('forgelog {digest}', {_LOCK_SECONDS})")[0][0] != 1:
            problem = f"another publication has held it for {_LOCK_SECONDS} s"
            raise StageError("table", problem, "see what it waits for, and run the stage again", transient=True)

    def load(self, table: str, columns: Sequence[Column], files: Sequence[Path]) -> None:
        import duckdb

        types = ", ".join(f"{sql.name(column.name)} {self.type_of(column)}" for column in columns)
        self.run(f"CREATE TABLE {table_name(table)} ({types}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4")
        chosen = ", ".join(_sent(column) for column in columns)
        marks = ", ".join("%s" for _ in columns)
        insert = f"INSERT INTO {table_name(table).replace('%', '%%')} VALUES ({marks})"
        for path in files:
            with closing(duckdb.connect()) as reader, self._connection.cursor() as cursor:
                rows = reader.execute(f"SELECT {chosen} FROM read_parquet({sql.text(str(path))})")
                while some := rows.fetchmany(_ROWS):
                    cursor.executemany(insert, some)

    def type_of(self, column: Column) -> str:
        if found := _DECIMAL.fullmatch(column.type):
            return f"DECIMAL({found[1]},{min(int(found[2]), 38)})"
        return _TYPES.get(column.type, "JSON" if any(sign in column.type for sign in "[(") else "LONGTEXT")

    def describe(self, table: str, metadata: Mapping[str, str]) -> None:
        self.run(f"ALTER TABLE {table_name(table)} COMMENT = {sql.text(json.dumps(dict(metadata)))}")

    def commit(self) -> None:
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


def _whole(value: Any) -> Any:
    """What comes as text is a number where it looks like one: the sink asks for versions and counts."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _sent(column: Column) -> str:
    """A column as its values are sent."""
    name, kind = sql.name(column.name), column.type
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"CAST({name} AT TIME ZONE 'UTC' AS TIMESTAMP)"
    if kind.startswith("TIMESTAMP_"):
        return f"CAST({name} AS TIMESTAMP)"
    if (kind in _TYPES and kind not in ("UUID", "JSON")) or _DECIMAL.fullmatch(kind):
        return name
    nested = any(sign in kind for sign in "[(")
    return f"CAST({f'to_json({name})' if nested else name} AS VARCHAR)"
