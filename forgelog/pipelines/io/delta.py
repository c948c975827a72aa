"""Tables of Delta Lake: their log is read by `deltalake`, their Parquet files by DuckDB."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import Connection, DataSourceType
from forgelog.pipelines.described import described_columns
from forgelog.pipelines.io.context import IoContext, ResolvedFile
from forgelog.pipelines.io.credentials import options_of
from forgelog.pipelines.problems import StageError, needs_extra

_READ = frozenset({"timestampNtz", "appendOnly", "invariants", "typeWidening"})
"""Features of readers that change nothing for who reads the files."""


def table_files(
    url: str, type_: DataSourceType, connection: Connection, context: IoContext
) -> tuple[int, tuple[ResolvedFile, ...], tuple[Column, ...], tuple[Column, ...]]:
    """The newest version, its files, the columns that are in the names of folders, and, without files, all columns."""
    import pyarrow as pa

    table = open_table(url, type_, connection, context)
    if table is None:
        raise StageError("path", f"there is no table of Delta Lake at {url}", "give the folder that has _delta_log")
    wanted = set(table.protocol().reader_features or ()) - _READ
    if wanted:
        problem = f"the table at {url} needs {', '.join(sorted(wanted))}, which are not read"
        raise StageError("format.type", problem, "rewrite it without, such as by REORG TABLE … APPLY (PURGE)")
    actions = pa.table(table.get_add_actions(flatten=False)).to_pylist()
    names = list(table.metadata().partition_columns)
    files = tuple(
        ResolvedFile(
            f"{url}/{unquote(action['path'])}",
            action["size_bytes"],
            str(table.version()),
            {name: _text((action.get("partition") or {}).get(name)) for name in names},
            action.get("num_records"),
        )
        for action in actions
    )
    columns = _columns(table)
    partitions = tuple(column for column in columns if column.name in names)
    # what tells the columns of a table without rows
    return table.version(), files, partitions, () if files else columns


def _columns(table: Any) -> tuple[Column, ...]:
    import duckdb
    import pyarrow as pa

    rows = duckdb.connect().from_arrow(pa.schema(table.schema().to_arrow()).empty_table())
    return described_columns((name, str(kind)) for name, kind in zip(rows.columns, rows.types, strict=True))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def open_table(url: str, type_: DataSourceType, connection: Connection, context: IoContext) -> Any:
    """A table; None if there is none."""
    try:
        import deltalake
        from deltalake.exceptions import DeltaError, TableNotFoundError
    except ImportError:
        raise needs_extra("deltalake", "delta") from None
    try:
        return deltalake.DeltaTable(url, storage_options=storage_options(type_, connection, context))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StageError("path", f"can't read the table at {url}: {first[:200]}", "check it, and the secret") from None


def storage_options(type_: DataSourceType, connection: Connection, context: IoContext) -> dict[str, str]:
    """A connection's options, as `deltalake` takes them: it has the same store as obstore."""
    options = dict(options_of(connection, type_, context))
    if any(value.startswith("http://") for name, value in options.items() if "endpoint" in name):
        options.setdefault("allow_http", "true")
    prefixes = {DataSourceType.S3: "aws_", DataSourceType.AZURE_BLOB: "azure_", DataSourceType.GCS: "google_"}
    prefix = prefixes.get(type_, "")
    own = ("allow_http", "timeout", "connect_timeout", "proxy_url")
    return {name if name.startswith(prefix) or name in own else prefix + name: value for name, value in options.items()}
