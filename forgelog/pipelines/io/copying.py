"""Rows as files of the scratch folder: DuckDB writes them, divided by partitions and buckets, and they get names.

Formats that DuckDB has no writer of are made of Parquet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from events.language.pipelines.connections import FILE_PLACES
from events.language.pipelines.formats import Compression, CsvOptions, DataFormat, FileFormat, JsonLayout, TextEncoding
from events.language.pipelines.manifests import NO_VALUE, CommitFile
from events.language.pipelines.sinks import DataSink
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.paths import partition_name
from forgelog.pipelines.problems import StageError

if TYPE_CHECKING:
    import duckdb

_PIECE = 1 << 20

_BUCKET = "forgelog bucket"
"""The column that a row's bucket is in while it is written."""


class _Written(NamedTuple):
    path: Path
    rows: int
    partition: Mapping[str, str | None]
    bucket: int
    missing: tuple[int, ...]
    """Rows without a value, for each of the columns that must have one."""


def write_files(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    sink: DataSink,
    local: Path,
    tag: str,
    required: Sequence[str] = (),
) -> list[CommitFile]:
    """Write a query's rows into the new folder `local`; the files, by their names from there on.

    `tag` is in their names; `required` are columns that must have a value in each row. Raises StageError, duckdb.Error
    and OSError.
    """
    written = list(_write(connection, query, sink, local, required))
    for number, name in enumerate(required):
        if missing := sum(each.missing[number] for each in written):
            rows = sum(each.rows for each in written)
            problem = f"{missing:,} of {rows:,} rows have no value, and the dataset's contract says nullable: false"
            remedy = "fill in or filter such rows; or let the contract's column be nullable"
            raise StageError(f"contract.columns.{name}", problem, remedy)
    return _named(connection, written, sink, local, tag)


def _write(
    connection: duckdb.DuckDBPyConnection, query: str, sink: DataSink, local: Path, required: Sequence[str]
) -> Iterator[_Written]:
    """DuckDB's files, with their rows, partition and bucket."""
    format_ = sink.file_format
    divided = list(sink.partition_by)
    if sink.bucket_by is not None:
        bucket = bucket_sql(sink.bucket_by.columns, sink.bucket_by.count)
        query = f"SELECT *, {bucket} AS {sql.name(_BUCKET)} FROM ({query})"
        divided.append(_BUCKET)
    local.mkdir(parents=True, mode=0o700)
    if format_.type is FileFormat.CSV:
        _csv_options(format_)  # refuses before anything is written
    options = _parquet_options(format_, sink)
    if divided:
        # as text: else DuckDB names the folder of a time by its own way of writing it
        options["PARTITION_BY"] = f"({sql.names(divided)})"
    else:
        options["FILE_SIZE_BYTES"] = str(sink.compaction.target_bytes)
    given = ", ".join(f"{name} {value}" for name, value in options.items())
    target = sql.text(str(local / "rows"))
    for row in connection.execute(f"COPY ({query}) TO {target} ({given})").fetchall():
        path, rows, keys = Path(row[0]), row[1], dict(row[5] or {})
        bucket = keys.pop(_BUCKET, "-1")
        partition = {name: None if keys.get(name) in (None, NO_VALUE) else keys[name] for name in sink.partition_by}
        missing = tuple(
            (rows if partition[name] is None else 0) if name in partition else _missing(connection, path, row[4], name)
            for name in required
        )
        yield _Written(path, rows, partition, int(bucket), missing)


def _missing(
    connection: duckdb.DuckDBPyConnection, path: Path, statistics: Mapping[str, Mapping[str, str]], name: str
) -> int:
    """Rows of a file of Parquet that have no value in a column: as the writer has counted, else by reading it."""
    counted = statistics.get(sql.name(name), {}).get("null_count")
    if counted is not None:
        return int(counted)
    file = f"read_parquet({sql.text(str(path))}, hive_partitioning = false)"
    ((missing,),) = connection.execute(f"SELECT count(*) - count({sql.name(name)}) FROM {file}").fetchall()
    return int(missing)


def bucket_sql(columns: tuple[str, ...], count: int) -> str:
    """The bucket of a row: the first 32 bits of the MD5 of the columns' text, modulo `count`. Equal on all engines."""
    text = " || chr(31) || ".join(f"coalesce(CAST({sql.name(column)} AS VARCHAR), '')" for column in columns)
    return f"CAST(('0x' || substr(md5({text}), 1, 8)) AS UINTEGER) % {count}"


def _parquet_options(format_: DataFormat, sink: DataSink) -> dict[str, str]:
    options = {"FORMAT": "parquet", "RETURN_STATS": "true", "ROW_GROUP_SIZE": str(format_.row_group_rows)}
    if not _is_final(sink):
        return options | {"COMPRESSION": "'lz4_raw'"}
    codec = {Compression.AUTO: "zstd", Compression.NONE: "uncompressed", Compression.LZ4: "lz4_raw"}
    options["COMPRESSION"] = sql.text(codec.get(format_.compression, format_.compression.value))
    if sink.metadata:
        pairs = ", ".join(f"{sql.name(key)}: {sql.text(value)}" for key, value in sink.metadata.items())
        options["KV_METADATA"] = "{" + pairs + "}"
    return options


def _is_final(sink: DataSink) -> bool:
    return sink.type in FILE_PLACES and sink.file_format.type is FileFormat.PARQUET


def _csv_options(format_: DataFormat) -> dict[str, str]:
    csv = format_.csv or CsvOptions()
    if csv.encoding is not TextEncoding.UTF_8:
        raise StageError("format.csv.encoding", f"{csv.encoding} is not written", "leave it out: files are UTF-8")
    if csv.decimal != "." or csv.comment or csv.skip_lines:
        raise StageError("format.csv", "decimal, comment and skip_lines are for reading", "leave them out of a sink")
    options = {"FORMAT": "csv", "HEADER": str(csv.header).lower(), "DELIMITER": sql.text(csv.delimiter)}
    options |= {"QUOTE": sql.text(csv.quote), "NULLSTR": sql.text(csv.null_text)}
    options |= {"ESCAPE": sql.text(csv.escape if csv.quote else "")}
    options |= {"DATEFORMAT": sql.text(csv.date_format)} if csv.date_format else {}
    return options | ({"TIMESTAMPFORMAT": sql.text(csv.timestamp_format)} if csv.timestamp_format else {})


def _text_options(format_: DataFormat) -> dict[str, str]:
    if format_.type is FileFormat.CSV:
        options = _csv_options(format_)
    else:
        options = {"FORMAT": "json", "ARRAY": str(format_.json_layout is JsonLayout.LIST).lower()}
    if format_.compression is not Compression.AUTO:
        options["COMPRESSION"] = sql.text(format_.compression)
    return options


_ENDINGS = {
    FileFormat.PARQUET: ".parquet",
    FileFormat.CSV: ".csv",
    FileFormat.JSON: ".json",
    FileFormat.AVRO: ".avro",
    FileFormat.ARROW: ".arrow",
    FileFormat.DELTA: ".parquet",
}
_PACKED = {Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}


def ending_of(sink: DataSink) -> str:
    """How the names of a sink's files end."""
    format_ = sink.file_format
    if sink.type not in FILE_PLACES:
        return ".parquet"
    ending = _ENDINGS[format_.type]
    if format_.type in (FileFormat.CSV, FileFormat.JSON):
        ending += _PACKED.get(format_.compression, "")
    return ending


def _named(
    connection: duckdb.DuckDBPyConnection, written: list[_Written], sink: DataSink, local: Path, tag: str
) -> list[CommitFile]:
    """Gives the files their names below `local`, and counts their bytes."""
    files = []
    for number, each in enumerate(sorted(written, key=lambda one: str(one.path))):
        folders = "".join(partition_name(column, value) + "/" for column, value in each.partition.items())
        bucket = f"b{each.bucket:04}-" if each.bucket >= 0 else ""
        name = f"{folders}part-{bucket}{number:05}-{tag}{ending_of(sink)}"
        target = local / name  # `partition_name` leaves nothing that DuckDB takes for a pattern
        target.parent.mkdir(parents=True, exist_ok=True)
        _convert(connection, each.path, target, sink)
        partition = {column: NO_VALUE if value is None else value for column, value in each.partition.items()}
        size, checksum = target.stat().st_size, file_digest(target)
        files.append(
            CommitFile(
                path=name, bytes=size, rows=each.rows, partition=partition, bucket=each.bucket, checksum=checksum
            )
        )
    return files


def _convert(connection: duckdb.DuckDBPyConnection, source: Path, target: Path, sink: DataSink) -> None:
    """Parquet as the sink's format. (DuckDB counts the rows of each file only when it writes Parquet.)"""
    kind = sink.file_format.type
    if sink.type not in FILE_PLACES or kind in (FileFormat.PARQUET, FileFormat.DELTA):
        os.rename(source, target)
        return
    if kind in (FileFormat.CSV, FileFormat.JSON):
        given = ", ".join(f"{name} {value}" for name, value in _text_options(sink.file_format).items())
        query = f"SELECT * FROM read_parquet({sql.text(str(source))}, hive_partitioning = false)"
        connection.execute(f"COPY ({query}) TO {sql.text(str(target))} ({given})")
    else:
        from forgelog.pipelines.io import conversions

        convert = conversions.parquet_to_avro if kind is FileFormat.AVRO else conversions.parquet_to_arrow
        convert(source, target, sink.file_format.compression, sink.metadata)
    source.unlink()


def file_digest(path: Path) -> str:
    """BLAKE3 of a file, 64 hexadecimal digits."""
    # Read, not mapped: the pages of a mapped file count as memory of the stage, which may hold only so much.
    digest = blake3()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
