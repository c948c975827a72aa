"""Rows written aside: complete, checked, under names of the attempt, where no reader of the sink looks.

1. DuckDB writes the rows into the scratch folder: see `copying`.
2. The files go to the sink's place, aside. A database's rows go into a staging table.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from typing import TYPE_CHECKING

from blake3 import blake3

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.manifests import NO_VALUE, CommitManifest
from events.language.pipelines.sinks import DataSink, WriteMode
from forgelog.pipelines.described import described_columns, writable
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.copying import write_files
from forgelog.pipelines.io.places import place_of
from forgelog.pipelines.io.reading_problems import own_problem
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

if TYPE_CHECKING:
    import duckdb


_WHOLE = "DECIMAL(38,0)"

_LONG_NAME = re.compile(r'/([^/"]+=[^/"]+)"?: File name too long')
"""The folder of a partition that the file system refuses."""


def write_aside(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    sink: DataSink,
    attempt: str,
    context: IoContext,
    required: Collection[str] = (),
) -> CommitManifest:
    """Write a query's rows aside; what was written. Raises StageError, with the fields of the sink.

    It leaves nothing aside when it fails. `attempt` is an `AttemptName`; the same attempt may be written again.
    `required`: columns that must have a value in each row, as the dataset's contract says; the manifest says it of
    them. Those that the query has not are left to whoever compares the schemas.
    """
    import duckdb

    query, columns = _exact(query, _columns(connection, query))
    check_columns(sink, columns)
    place = place_of(sink, context)
    place.check(sink)
    local = context.scratch / f"out-{attempt}"
    shutil.rmtree(local, ignore_errors=True)
    try:
        try:
            _check_rows(connection, query, sink)
            tag = blake3(attempt.encode()).hexdigest()[:8]
            full = [each.name for each in columns if each.name in required]
            files = write_files(connection, query, sink, local, tag, full)
        except duckdb.Error as error:
            raise _writing_problem(error, context) from None
        except OSError as error:
            problem = f"can't write into the scratch folder: {os.strerror(error.errno or 0).lower()}"
            raise StageError("", problem, "give the stage more storage, or the node room") from None
        place.put_aside(sink, attempt, local, files, columns)
    finally:
        shutil.rmtree(local, ignore_errors=True)
    columns = tuple(each.model_copy(update={"nullable": False}) if each.name in required else each for each in columns)
    return CommitManifest(
        attempt=attempt,
        type=sink.type,
        mode=sink.mode,
        base=place.base,
        aside=place.aside(attempt),
        files=() if sink.type is DataSourceType.DATABASE else tuple(files),
        columns=columns,
        rows=sum(file.rows for file in files),
        bytes=sum(file.bytes for file in files),
    )


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Column, ...]:
    rows = connection.execute(f"DESCRIBE {query}").fetchall()
    return writable(described_columns((row[0], row[1]) for row in rows))


def _exact(query: str, columns: tuple[Column, ...]) -> tuple[str, tuple[Column, ...]]:
    """Sums of whole numbers are HUGEINT, which Parquet has not: DuckDB would write floating-point numbers."""
    wide = {column.name for column in columns if column.type in ("HUGEINT", "UHUGEINT")}
    if not wide:
        return query, columns
    casts = ", ".join(f"CAST({sql.name(name)} AS {_WHOLE}) AS {sql.name(name)}" for name in sorted(wide))
    exact = tuple(column.model_copy(update={"type": _WHOLE}) if column.name in wide else column for column in columns)
    return f"SELECT * REPLACE ({casts}) FROM ({query})", exact


def check_columns(sink: DataSink, columns: tuple[Column, ...]) -> None:
    """That rows of these columns can be written as a sink says. Raises StageError, with the fields of the sink."""
    have = [column.name for column in columns]
    buckets = sink.bucket_by.columns if sink.bucket_by else ()
    for field, names in (("keys", sink.keys), ("partition_by", sink.partition_by), ("bucket_by.columns", buckets)):
        for number, name in enumerate(names):
            if name not in have:
                problem = f"the rows have no column {shown(name)}; they have: {', '.join(have[:50])}"
                raise StageError(f"{field}[{number}]", problem, "correct the name (case counts)")
    if sink.partition_by and set(have) <= set(sink.partition_by):
        raise StageError("partition_by", "has all columns: nothing is left for the files", "leave one out")


def _writing_problem(error: Exception, context: IoContext) -> StageError:
    """An error while the query runs into files: the disk, or the query itself."""
    if (own := own_problem(error)) is not None:
        return own
    said = str(error)
    first = said.splitlines()[0] if said else type(error).__name__
    if (found := _LONG_NAME.search(said)) is not None:
        problem = f"a value is longer than the name of a folder may be (255 bytes): {shown(found[1][:60] + '…')}"
        return StageError("partition_by", problem, "divide by another column, or cut its values")
    if "No space left" in said or "disk quota" in said.lower():
        return StageError("", f"the scratch folder {context.scratch} is full", "give the stage more storage")
    return StageError("", first[:1_000], "correct the query, or the rows that it meets")


def _check_rows(connection: duckdb.DuckDBPyConnection, query: str, sink: DataSink) -> None:
    """What only the rows tell: how many partitions they have, and whether their keys tell them apart."""
    if sink.partition_by:
        most = sink.max_partitions
        parts = f"SELECT DISTINCT {sql.names(sink.partition_by)} FROM ({query}) LIMIT {most + 1}"
        taken = ", ".join(
            f"bool_or(CAST({sql.name(name)} AS VARCHAR) = {sql.text(NO_VALUE)})" for name in sink.partition_by
        )
        ((count, *clashes),) = connection.execute(f"SELECT count(*), {taken} FROM ({parts})").fetchall()
        for number, clash in enumerate(clashes):
            if clash:
                problem = f"a row's value is {NO_VALUE}, which is how the folder of missing values is named"
                raise StageError(f"partition_by[{number}]", problem, "replace the value, or make it null")
        if count > most:
            problem = f"has more than {most:,} values, and each becomes a folder"
            raise StageError("partition_by", problem, "divide by columns of fewer values, or raise max_partitions")
    if sink.mode is not WriteMode.UPSERT:
        return
    for number, key in enumerate(sink.keys):
        missing = f"SELECT 1 FROM ({query}) WHERE {sql.name(key)} IS NULL LIMIT 1"
        if connection.execute(missing).fetchall():
            raise StageError(f"keys[{number}]", f"a row has no {shown(key)}", "filter such rows, or take another key")
    named = sql.names(sink.keys)
    equal = f"SELECT {named} FROM ({query}) GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
    if twice := connection.execute(equal).fetchall():
        values = ", ".join(shown(value) for value in twice[0])
        raise StageError("keys", f"two new rows have {values}", "keep one of them: aggregate, or take more keys")
