"""Sources as views of DuckDB.

1. Bring what DuckDB can't read itself onto the node: files of other formats, rows of databases and topics.
2. Give it the files, under names that it can't take for patterns.
3. Make the view: columns and types as the source says, or as they are found.
4. Read its columns and the files' footers: a cut file is found here, and not when half of the rows are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.formats import CsvOptions, DataFormat, FileFormat, format_of
from forgelog.pipelines.described import described_columns
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.context import Resolved, ResolvedFile
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.opening import open_folder, split
from forgelog.pipelines.io.readers import reader_of, unreadable_line
from forgelog.pipelines.io.reading_problems import reading_problem
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

if TYPE_CHECKING:
    import duckdb

_MAGIC = re.compile(r"[*?\[\]]")


def allowed_paths(resolved: Resolved) -> tuple[str, ...]:
    """What a locked connection must be allowed to read, besides the scratch folder of the stage run."""
    return tuple(_names(resolved)) if _read_in_place(resolved) else ()


class Attached(NamedTuple):
    """The view of a source."""

    columns: tuple[Column, ...]
    text: tuple[str, ...] = ()
    """Files of text, by the names under which DuckDB reads them with each query over the view."""


def attach(connection: duckdb.DuckDBPyConnection, name: str, resolved: Resolved) -> Attached:
    """Make the view `name` of a source's rows. Raises StageError, with the fields of the source."""
    import duckdb

    try:
        text = _attach(connection, name, resolved)
        return Attached(described(connection, name), tuple(text))
    except duckdb.Error as error:
        csv = (resolved.source.format and resolved.source.format.csv) or CsvOptions()
        raise unreadable_line(connection, error, csv, resolved) or reading_problem(error, resolved) from None


def rows_of(connection: duckdb.DuckDBPyConnection, name: str, resolved: Resolved) -> int:
    """How many rows a view has that `attach` has made: as the files' names come with them, else by the files' footers.
    Of files of text that means to read them. Raises StageError, as `attach`."""
    import duckdb

    if resolved.rows is not None:
        return resolved.rows
    try:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {sql.name(name)}").fetchall()
    except duckdb.Error as error:
        raise reading_problem(error, resolved) from None
    return int(rows)


def _attach(connection: duckdb.DuckDBPyConnection, name: str, resolved: Resolved) -> Sequence[str]:
    """Answers the files of text: see `Attached`."""
    source = resolved.source
    if source.type is DataSourceType.DATABASE:
        from forgelog.pipelines.io.databases import extract

        _view(connection, name, resolved, extract(resolved))
    elif source.type is DataSourceType.KAFKA:
        from forgelog.pipelines.io.topics import read_records

        _view(connection, name, resolved, read_records(connection, resolved))
    elif not resolved.files:
        types = ", ".join(
            f"CAST(NULL AS {column.type}) AS {sql.name(column.name)}" for column in (resolved.columns or source.columns)
        )
        connection.execute(f"CREATE OR REPLACE VIEW {sql.name(name)} AS SELECT {types} LIMIT 0")
    else:
        return _attach_files(connection, name, resolved)
    return ()


def _attach_files(connection: duckdb.DuckDBPyConnection, name: str, resolved: Resolved) -> Sequence[str]:
    format_ = _format(resolved)
    reader = reader_of(format_.type)
    if _read_in_place(resolved):
        paths = list(_names(resolved))
        _register(connection, resolved)
    else:
        paths = reader.brought(resolved, format_, _folder(resolved))
    _check_partitions(connection, resolved)
    query = reader.query(connection, paths, format_, resolved)
    _view(connection, name, resolved, query)
    return paths if reader.is_text(format_) else ()


def _view(connection: duckdb.DuckDBPyConnection, name: str, resolved: Resolved, query: str) -> None:
    """The view: the columns that the source, or the version, says; else all that the query has."""
    wanted = resolved.columns or resolved.source.columns
    if wanted:
        found = {column.name.lower(): column.name for column in _query_columns(connection, query)}
        for number, column in enumerate(wanted):
            if column.name.lower() not in found:
                have = ", ".join(list(found.values())[:50])
                problem = f"there is no column {shown(column.name)}; there are: {have}"
                raise StageError(f"columns[{number}].name", problem, "correct the name, or leave the column out")
        parts = [
            f"CAST({sql.name(found[column.name.lower()])} AS {column.type}) AS {sql.name(column.name)}"
            for column in wanted
        ]
        extra = [
            sql.name(column.name) for column in resolved.partitions if column.name not in {each.name for each in wanted}
        ]
        query = f"SELECT {', '.join(parts + extra)} FROM ({query})"
    connection.execute(f"CREATE OR REPLACE VIEW {sql.name(name)} AS {query}")


def described(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[Column, ...]:
    """The columns of a view or a table."""
    return _query_columns(connection, f"SELECT * FROM {sql.name(relation)}")


def _query_columns(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Column, ...]:
    rows = connection.execute(f"DESCRIBE {query}").fetchall()
    return described_columns((row[0], row[1]) for row in rows)


def _format(resolved: Resolved) -> DataFormat:
    source = resolved.source
    if source.format is not None and source.format.type is not FileFormat.DELTA:
        return source.format
    if source.format is not None:
        return DataFormat(type=FileFormat.PARQUET)
    if source.type is DataSourceType.DATASET or resolved.columns:
        return format_of(resolved.files[0].url) or DataFormat(type=FileFormat.PARQUET)
    kinds: dict[FileFormat, tuple[str, DataFormat]] = {}
    for file in resolved.files:
        found = format_of(file.url)
        if found is None:
            raise StageError("format", f"the name of {shown(file.url)} tells no format", "give the format")
        kinds.setdefault(found.type, (file.url, found))
    if len(kinds) > 1:
        (first, kind), (second, other) = list(kinds.values())[:2]
        problem = f"{shown(first)} is {kind.type} and {shown(second)} is {other.type}"
        raise StageError("path", problem, "give a path that means files of one format, such as *.csv")
    return next(iter(kinds.values()))[1]


def _read_in_place(resolved: Resolved) -> bool:
    if not resolved.files or resolved.type is DataSourceType.HTTP:
        return False
    format_ = _format(resolved)
    return reader_of(format_.type).in_place(format_)


def _protocol(resolved: Resolved) -> str:
    return f"in{resolved.key}"


def _names(resolved: Resolved) -> Sequence[str]:
    """The names under which DuckDB reads the files."""
    from forgelog.pipelines.io.remote import virtual_name

    plain = resolved.type is DataSourceType.FILE_SYSTEM
    if plain and all(_says(file) and not _MAGIC.search(file.url) for file in resolved.files):
        return [file.url for file in resolved.files]
    protocol = _protocol(resolved)
    return [virtual_name(protocol, number, file.url, file.partition) for number, file in enumerate(resolved.files)]


def _says(file: ResolvedFile) -> bool:
    """Whether the folders of a file's path say its partition's values."""
    from forgelog.pipelines.io.paths import partition_of

    try:
        return dict(partition_of(file.url, file.partition)) == dict(file.partition)
    except ValueError:
        return False


def _register(connection: duckdb.DuckDBPyConnection, resolved: Resolved) -> None:
    from forgelog.pipelines.io.remote import FileTable, RemoteFile

    names = _names(resolved)
    if "://" not in names[0]:
        return
    protocol = _protocol(resolved)
    if connection.filesystem_is_registered(protocol):
        return
    folder = _folder(resolved)
    assert folder is not None, "files of the web are not read in place"
    root = folder.url.rstrip("/") + "/"
    files = {
        name: RemoteFile(folder, file.url.removeprefix(root), file.size, file.etag, file.url)
        for name, file in zip(names, resolved.files, strict=True)
    }
    connection.register_filesystem(FileTable(protocol, files))
    # Else each query asks for the footers again. A name is of one content.
    connection.execute("SET parquet_metadata_cache = true")


def _folder(resolved: Resolved) -> Folder | None:
    """The root that the files' names are from; None for files of the web."""
    if resolved.type is DataSourceType.HTTP:
        return None
    root, _ = split(resolved.files[0].url, resolved.type)
    return open_folder(root, resolved.type, resolved.connection, resolved.context, "path")


def _check_partitions(connection: duckdb.DuckDBPyConnection, resolved: Resolved) -> None:
    """Values of partitions that are none of their column's type would be found when half of the rows are read."""
    for number, column in enumerate(resolved.partitions):
        values = {file.partition.get(column.name): file.url for file in resolved.files}
        known = [value for value in values if value is not None]
        query = f"SELECT v FROM (SELECT unnest($1::VARCHAR[]) AS v) WHERE TRY_CAST(v AS {column.type}) IS NULL LIMIT 1"
        for (wrong,) in connection.execute(query, [known]).fetchall():
            problem = f"{shown(values[wrong])} is of {column.name}={shown(wrong)}, which is no {column.type}"
            remedy = "correct the type, rename the folder, or give a path without it"
            raise StageError(f"partitions[{number}].type", problem, remedy)
