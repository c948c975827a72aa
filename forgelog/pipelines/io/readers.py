"""How DuckDB reads files of each format: the query over them, and what is brought into another form before."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from events.language.pipelines.formats import Compression, CsvOptions, DataFormat, FileFormat, JsonLayout, TextEncoding
from events.language.pipelines.sources import SchemaDrift
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.bringing import brought, transcoded
from forgelog.pipelines.io.context import Resolved
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.reading_problems import told_url
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

if TYPE_CHECKING:
    import duckdb


class Reader(Protocol):
    """Of one format."""

    def in_place(self, format_: DataFormat) -> bool:
        """Whether DuckDB reads such files where they are."""

    def is_text(self, format_: DataFormat) -> bool:
        """Whether each query reads text, and nothing but that tells how many rows there are."""

    def brought(self, resolved: Resolved, format_: DataFormat, folder: Folder | None) -> list[str]:
        """The files in the scratch folder, in a form that DuckDB reads."""

    def query(
        self, connection: duckdb.DuckDBPyConnection, paths: Sequence[str], format_: DataFormat, resolved: Resolved
    ) -> str:
        """All rows of the files."""


def reader_of(kind: FileFormat) -> Reader:
    return _READERS[kind]


class _Parquet:
    def in_place(self, format_: DataFormat) -> bool:
        return True

    def is_text(self, format_: DataFormat) -> bool:
        return False

    def brought(self, resolved: Resolved, format_: DataFormat, folder: Folder | None) -> list[str]:
        return brought(resolved, folder)

    def query(
        self, connection: duckdb.DuckDBPyConnection, paths: Sequence[str], format_: DataFormat, resolved: Resolved
    ) -> str:
        if empty := next((file.url for file in resolved.files if file.size == 0), ""):
            raise StageError("path", f"{shown(empty)} has no bytes, and a Parquet file has a footer", "write it again")
        return _same_columns(connection, paths, resolved, lambda some: _parquet_query(some, resolved))


def _parquet_query(paths: Sequence[str], resolved: Resolved) -> str:
    return f"SELECT * FROM read_parquet({sql.texts(paths)}, union_by_name = true{_hive(resolved)})"


class _Converted(_Parquet):
    """Avro and Arrow: DuckDB has no reader of them without its extensions. They become Parquet."""

    def __init__(self, convert: str) -> None:
        self._convert = convert

    def in_place(self, format_: DataFormat) -> bool:
        return False

    def brought(self, resolved: Resolved, format_: DataFormat, folder: Folder | None) -> list[str]:
        from forgelog.pipelines.io import conversions

        return brought(resolved, folder, getattr(conversions, self._convert), ".parquet")

    def query(
        self, connection: duckdb.DuckDBPyConnection, paths: Sequence[str], format_: DataFormat, resolved: Resolved
    ) -> str:
        return _same_columns(connection, paths, resolved, lambda some: _parquet_query(some, resolved))


class _Csv:
    def in_place(self, format_: DataFormat) -> bool:
        return (format_.csv or CsvOptions()).encoding is TextEncoding.UTF_8

    def is_text(self, format_: DataFormat) -> bool:
        return not (format_.csv or CsvOptions()).max_bad_rows  # see `_tolerant`

    def brought(self, resolved: Resolved, format_: DataFormat, folder: Folder | None) -> list[str]:
        options = format_.csv or CsvOptions()
        if options.encoding is TextEncoding.UTF_8:
            return brought(resolved, folder)
        return brought(resolved, folder, transcoded(options.encoding), "")

    def query(
        self, connection: duckdb.DuckDBPyConnection, paths: Sequence[str], format_: DataFormat, resolved: Resolved
    ) -> str:
        options = format_.csv or CsvOptions()
        paths = _with_bytes(paths, resolved)
        fixed = _csv_options(options, format_, resolved)
        wanted = {column.name.lower(): column for column in (resolved.columns or resolved.source.columns)}
        partitions = {column.name.lower() for column in resolved.partitions}
        if wanted and not options.header:
            own = [column for name, column in wanted.items() if name not in partitions]
            fixed["names"] = sql.texts(column.name for column in own)
            fixed["types"] = sql.texts(column.type for column in own)
        elif wanted:
            as_text = {"all_varchar": "true", "ignore_errors": str(options.max_bad_rows > 0).lower()}
            query = _csv_query(paths, fixed | as_text)
            there = [row[0] for row in connection.execute(f"DESCRIBE {query}").fetchall()]
            types = {name: wanted[name.lower()].type for name in there if name.lower() in wanted.keys() - partitions}
            if types:
                fixed["types"] = sql.struct(types)
        if options.max_bad_rows:
            return _tolerant(connection, paths, fixed, options.max_bad_rows, resolved)
        return _same_columns(connection, paths, resolved, lambda some: _csv_query(some, fixed))


def _csv_options(options: CsvOptions, format_: DataFormat, resolved: Resolved) -> dict[str, str]:
    infer = resolved.source.infer
    fixed = {
        "delim": sql.text(options.delimiter),
        "quote": sql.text(options.quote),
        "escape": sql.text(options.escape if options.quote else ""),
        "header": str(options.header).lower(),
        "nullstr": sql.text(options.null_text),
        "skip": str(options.skip_lines),
        "comment": sql.text(options.comment),
        "decimal_separator": sql.text(options.decimal),
        "sample_size": str(infer.sample_rows),
        "all_varchar": str(infer.text_only).lower(),
        "union_by_name": "true",
        "normalize_names": "false",
    }
    if options.date_format:
        fixed["dateformat"] = sql.text(options.date_format)
    if options.timestamp_format:
        fixed["timestampformat"] = sql.text(options.timestamp_format)
    if format_.compression is not Compression.AUTO:
        fixed["compression"] = sql.text(format_.compression)
    return fixed | _hive_options(resolved)


def _csv_query(paths: Sequence[str], options: dict[str, str]) -> str:
    return f"SELECT * FROM read_csv({sql.texts(paths)}{sql.options(options)})"


def _tolerant(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str], options: dict[str, str], most: int, resolved: Resolved
) -> str:
    """The rows as tables, read now: how many lines are bad is known only when all are read."""
    number = connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall()[0][0]
    tables, bad = [], 0
    for place, path in enumerate(paths):
        table, rejects, scans = (f"forgelog_{kind}_{number}_{place}" for kind in ("rows", "rejects", "scans"))
        tolerant = options | {
            "union_by_name": "false",  # which does not go with rejects
            "store_rejects": "true",
            "rejects_table": sql.text(rejects),
            "rejects_scan": sql.text(scans),
            "rejects_limit": str(most + 1),
        }
        connection.execute(f"CREATE OR REPLACE TABLE {table} AS {_csv_query([path], tolerant)}")
        query = f"SELECT line, any_value(error_message) FROM {rejects} GROUP BY line ORDER BY line"
        lines = connection.execute(query).fetchall()
        bad += len(lines)
        if bad > most:
            line, message = lines[0]
            file = shown(told_url(path, resolved))
            problem = f"more than {most} lines can't be read; one is line {line} of {file}: {message}"
            raise StageError("format.csv.max_bad_rows", problem, "correct them, or let more be left out")
        tables.append(f"SELECT * FROM {table}")
    return " UNION ALL BY NAME ".join(tables)


_UNSURE = re.compile(r'Error when sniffing file "([^"]+)"')
"""DuckDB has found no way to read a file of CSV, and names no line."""


def unreadable_line(
    connection: duckdb.DuckDBPyConnection, error: Exception, options: CsvOptions, resolved: Resolved
) -> StageError | None:
    """The first line that keeps a file of CSV from being read by its options; None if the error is another one."""
    import duckdb

    if (found := _UNSURE.search(str(error))) is None:
        return None
    path = found[1]
    fixed = _csv_options(options, DataFormat(type=FileFormat.CSV), resolved) | {
        "all_varchar": "true",
        "union_by_name": "false",
        "store_rejects": "true",
        "rejects_table": "'forgelog_unsure'",
        "rejects_scan": "'forgelog_unsure_scan'",
        "rejects_limit": "1",
    }
    try:
        connection.execute(f"SELECT count(*) FROM ({_csv_query([path], fixed)})").fetchall()
        query = "SELECT line, error_message, left(csv_line, 200) FROM forgelog_unsure ORDER BY line LIMIT 1"
        rejected = connection.execute(query).fetchall()
    except duckdb.Error:
        return None  # not its lines: what DuckDB said first stands
    if not rejected:
        return None
    line, message, content = rejected[0]
    problem = f"line {line} of {shown(told_url(path, resolved))}: {message}; the line is {shown(content)}"
    return StageError("format.csv", problem, "correct the line, change the options, or set max_bad_rows")


class _Json:
    def in_place(self, format_: DataFormat) -> bool:
        return True

    def is_text(self, format_: DataFormat) -> bool:
        return True

    def brought(self, resolved: Resolved, format_: DataFormat, folder: Folder | None) -> list[str]:
        return brought(resolved, folder)

    def query(
        self, connection: duckdb.DuckDBPyConnection, paths: Sequence[str], format_: DataFormat, resolved: Resolved
    ) -> str:
        paths = _with_bytes(paths, resolved)
        fixed = {
            "format": sql.text(_LAYOUTS[format_.json_layout]),
            "records": "'true'",
            "sample_size": str(resolved.source.infer.sample_rows),
            "union_by_name": "true",
        } | _hive_options(resolved)
        if format_.compression is not Compression.AUTO:
            fixed["compression"] = sql.text(format_.compression)
        partitions = {column.name.lower() for column in resolved.partitions}
        own = [
            column for column in (resolved.columns or resolved.source.columns) if column.name.lower() not in partitions
        ]
        if own:
            fixed["columns"] = sql.struct({column.name: column.type for column in own})

        def query(some: Sequence[str]) -> str:
            return f"SELECT * FROM read_json({sql.texts(some)}{sql.options(fixed)})"

        return _same_columns(connection, paths, resolved, query)


_LAYOUTS = {
    JsonLayout.AUTO: "auto",
    JsonLayout.LINES: "newline_delimited",
    JsonLayout.LIST: "array",
}

_READERS: dict[FileFormat, Reader] = {
    FileFormat.PARQUET: _Parquet(),
    FileFormat.CSV: _Csv(),
    FileFormat.JSON: _Json(),
    FileFormat.AVRO: _Converted("avro_to_parquet"),
    FileFormat.ARROW: _Converted("arrow_to_parquet"),
}


def _with_bytes(paths: Sequence[str], resolved: Resolved) -> Sequence[str]:
    """The files that have bytes: one without has no row, and no header either."""
    kept = [path for path, file in zip(paths, resolved.files, strict=True) if file.size]
    if not kept:
        problem = f"{shown(resolved.files[0].url)} has no bytes"
        raise StageError("path", problem, "write it again; an empty table has a header at least")
    return kept


def _hive_options(resolved: Resolved) -> dict[str, str]:
    if not resolved.partitions:
        return {"hive_partitioning": "false"}
    types = {column.name: column.type for column in resolved.partitions}
    return {"hive_partitioning": "true", "hive_types": _types(types)}


def _types(types: dict[str, str]) -> str:
    # names are identifiers here, and types are keywords
    return "{" + ", ".join(f"{sql.text(name)}: {type_}" for name, type_ in types.items()) + "}"


def _hive(resolved: Resolved) -> str:
    return sql.options(_hive_options(resolved))


def _same_columns(
    connection: duckdb.DuckDBPyConnection,
    paths: Sequence[str],
    resolved: Resolved,
    query: Callable[[Sequence[str]], str],
) -> str:
    """The query over all files; before that, where drift is refused, a look at the columns of each."""
    if resolved.source.infer.drift is SchemaDrift.REFUSE:
        first: list[tuple[str, str]] = []
        for path in paths:
            columns = [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {query([path])}").fetchall()]
            first = first or columns
            if columns != first:
                name, kind = next(iter([each for each in columns if each not in first] or columns))
                missing = next((each[0] for each in first if each[0] not in {has for has, _ in columns}), "")
                what = f"lacks the column {shown(missing)}" if missing else f"has {shown(name)} of type {kind}"
                one, other = (shown(told_url(each, resolved)) for each in (path, paths[0]))
                problem = f"{one} {what}, other than {other}"
                raise StageError("infer.drift", problem, "write it anew, or let types be widened")
    return query(paths)
