"""Asks DuckDB for the columns of queries over relations whose columns are known, without data.

One empty database of this process is used for all, within transactions that are rolled back. It can read no file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.transformations import UserFunction
from forgelog.pipelines.described import described_columns
from forgelog.pipelines.engine.errors import explained
from forgelog.pipelines.engine.functions import create_function, nulls
from forgelog.pipelines.engine.sql import different, quoted, type_name
from forgelog.pipelines.problems import needs_extra

_lock = threading.Lock()


class Binder:
    """The relations of a stage as empty tables."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def add(self, name: str, columns: Iterable[Column], field: str) -> None:
        """A relation that is there."""
        listed = ", ".join(f"{quoted(column.name)} {type_name(column.type, field)}" for column in columns)
        self._run(f"CREATE TABLE {quoted(name)} ({listed})", field)

    def bind(self, name: str, query: str, field: str) -> tuple[Column, ...]:
        """The columns of a query, which is a relation from here on.

        Raises:
            StageError: of `field`, if a column, a function or a type is none, or names of columns are not unique.
        """
        described = self._run(f"DESCRIBE {query}", field)
        columns = described_columns(((row[0], row[1]) for row in described), field=field)
        different((column.name for column in columns), field)
        self._run(f"CREATE TABLE {quoted(name)} AS FROM ({query}\n) LIMIT 0", field)
        return columns

    def _run(self, text: str, field: str) -> list[Any]:
        import duckdb

        try:
            found: list[Any] = self._connection.execute(text).fetchall()
        except duckdb.Error as error:
            raise explained(error, field) from None
        return found


@contextmanager
def binder(functions: Iterable[tuple[UserFunction, str]] = ()) -> Iterator[Binder]:
    """A binder without relations. `functions`: those that queries may call, each with its field."""
    with _lock:
        connection = _database()
        made = []
        try:
            for function, field in functions:
                create_function(connection, function, nulls(len(function.arguments)), field)
                made.append(function.name)
            connection.execute("BEGIN TRANSACTION")
            try:
                yield Binder(connection)
            finally:
                connection.execute("ROLLBACK")
        finally:
            for name in made:
                connection.remove_function(name)


@cache
def _database() -> Any:
    try:
        import duckdb
    except ImportError:
        raise needs_extra("duckdb") from None
    connection = duckdb.connect(":memory:", config={"threads": 1, "autoload_known_extensions": False})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
