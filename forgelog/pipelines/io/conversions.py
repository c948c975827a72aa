"""Files of Avro and Arrow as Parquet, and Parquet as these: what DuckDB has no reader and no writer of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from events.language.pipelines.formats import Compression
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError, needs_extra

_ROWS = 20_000
"""Rows that are held in memory at a time."""


def arrow_to_parquet(source: Path, target: Path, url: str) -> None:
    """A file or a stream of Arrow as Parquet."""
    try:
        with pa.memory_map(str(source)) as file:
            try:
                reader: Any = pa.ipc.open_file(file)
                batches: Iterable[pa.RecordBatch] = (
                    reader.get_batch(number) for number in range(reader.num_record_batches)
                )
            except pa.ArrowInvalid:
                file.seek(0)
                reader = pa.ipc.open_stream(file)
                batches = reader
            with pq.ParquetWriter(target, reader.schema, compression="lz4") as writer:
                for batch in batches:
                    writer.write_batch(batch)
    except (pa.ArrowException, OSError, EOFError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StageError("path", f"{shown(url)} is no whole file of Arrow: {first[:200]}", "write it again") from None


def avro_to_parquet(source: Path, target: Path, url: str) -> None:
    """A container file of Avro as Parquet."""
    fastavro = _fastavro()
    try:
        with source.open("rb") as file:
            reader = fastavro.reader(file)
            written = reader.writer_schema
            if not isinstance(written, dict) or written.get("type") != "record":
                raise StageError("path", f"{shown(url)} has values that are no records", "write records")
            schema = pa.schema(_fields(written, {}))
            with pq.ParquetWriter(target, schema, compression="lz4") as writer:
                for rows in _chunks(reader):
                    writer.write_table(pa.Table.from_pylist(rows, schema))
    except StageError:
        raise
    except Exception as error:  # noqa: BLE001 - fastavro raises whatever its parsing meets in damaged bytes
        problem = f"{shown(url)} is no whole file of Avro: {type(error).__name__}: {str(error)[:200]}"
        raise StageError("path", problem, "write it again") from None


def _chunks(rows: Iterable[Any]) -> Iterable[list[Any]]:
    some: list[Any] = []
    for row in rows:
        some.append(row)
        if len(some) == _ROWS:
            yield some
            some = []
    if some:
        yield some


def _fields(record: Mapping[str, Any], known: dict[str, Any]) -> list[pa.Field]:
    return [pa.field(field["name"], _arrow_type(field["type"], known)) for field in record["fields"]]


_PLAIN: dict[str, Callable[[], pa.DataType]] = {
    "null": pa.null,
    "boolean": pa.bool_,
    "int": pa.int32,
    "long": pa.int64,
    "float": pa.float32,
    "double": pa.float64,
    "bytes": pa.binary,
    "string": pa.string,
}

_LOGICAL: dict[str, Callable[[], pa.DataType]] = {
    "date": pa.date32,
    "time-millis": lambda: pa.time32("ms"),
    "time-micros": lambda: pa.time64("us"),
    "timestamp-millis": lambda: pa.timestamp("ms", "UTC"),
    "timestamp-micros": lambda: pa.timestamp("us", "UTC"),
    "local-timestamp-millis": lambda: pa.timestamp("ms"),
    "local-timestamp-micros": lambda: pa.timestamp("us"),
}


def _arrow_type(schema: Any, known: dict[str, Any]) -> pa.DataType:
    """The type of Arrow that has the values that fastavro reads."""
    if isinstance(schema, list):
        kinds = [each for each in schema if each != "null"]
        if len(kinds) == 1:
            return _arrow_type(kinds[0], known)
        if {str(each) for each in kinds} <= {"int", "long"}:
            return pa.int64()
        if {str(each) for each in kinds} <= {"int", "long", "float", "double"}:
            return pa.float64()
        raise StageError("path", f"a column is one of several types: {str(kinds)[:200]}", "write it as one type")
    if isinstance(schema, str):
        return _PLAIN[schema]() if schema in _PLAIN else known[schema]
    kind, logical = schema["type"], schema.get("logicalType")
    if logical == "decimal":
        return pa.decimal128(schema["precision"], schema.get("scale", 0))
    if logical in _LOGICAL:
        return _LOGICAL[logical]()
    found: pa.DataType
    if kind in ("record", "error"):
        found = pa.struct(_fields(schema, known))
    elif kind == "enum":
        found = pa.string()
    elif kind == "fixed":
        found = pa.binary(schema["size"])
    elif kind == "array":
        found = pa.list_(_arrow_type(schema["items"], known))
    elif kind == "map":
        found = pa.map_(pa.string(), _arrow_type(schema["values"], known))
    else:
        found = _arrow_type(kind, known)
    if "name" in schema:
        known[schema["name"]] = found
    return found


def parquet_to_arrow(source: Path, target: Path, compression: Compression, metadata: Mapping[str, str]) -> None:
    """A file of Arrow with the rows of a Parquet file."""
    codec = None if compression is Compression.NONE else "lz4" if compression is Compression.AUTO else compression.value
    with pq.ParquetFile(source) as file:
        schema = file.schema_arrow.with_metadata({**metadata} or None)
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.OSFile(str(target), "wb") as out, pa.ipc.new_file(out, schema, options=options) as writer:
            for batch in file.iter_batches(_ROWS):
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)


def parquet_to_avro(source: Path, target: Path, compression: Compression, metadata: Mapping[str, str]) -> None:
    """A container file of Avro with the rows of a Parquet file. Columns are unions with null."""
    fastavro = _fastavro()
    codec = {Compression.AUTO: "deflate", Compression.GZIP: "deflate", Compression.NONE: "null"}.get(
        compression, compression.value
    )
    with pq.ParquetFile(source) as file, target.open("wb") as out:
        schema = {"type": "record", "name": "Row", "fields": avro_fields(file.schema_arrow)}
        rows = (row for batch in file.iter_batches(_ROWS) for row in batch.to_pylist())
        fastavro.writer(out, fastavro.parse_schema(schema), rows, codec=codec, metadata=dict(metadata))


def avro_fields(schema: pa.Schema) -> list[dict[str, Any]]:
    """The fields of a record with a table's columns. Raises StageError for a name that Avro can't have."""
    fields = []
    for field in schema:
        if not field.name.isidentifier() or not field.name.isascii():
            problem = f"the column {shown(field.name)} has a name that Avro can't have"
            raise StageError("format.type", problem, "rename it: letters, digits and _, a letter first")
        fields.append({"name": field.name, "type": ["null", _avro_type(field.type, field.name)], "default": None})
    return fields


def _avro_type(kind: pa.DataType, path: str) -> Any:
    types = pa.types
    if types.is_decimal(kind):
        return {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": kind.scale}
    if types.is_timestamp(kind):
        return {"type": "long", "logicalType": "timestamp-micros" if kind.tz else "local-timestamp-micros"}
    if types.is_struct(kind):
        fields = [
            {"name": each.name, "type": ["null", _avro_type(each.type, f"{path}_{each.name}")], "default": None}
            for each in kind
        ]
        return {"type": "record", "name": path, "fields": fields}
    if types.is_list(kind) or types.is_large_list(kind):
        return {"type": "array", "items": ["null", _avro_type(kind.value_type, f"{path}_item")]}
    for test, name in (
        (types.is_boolean, "boolean"),
        (lambda each: (types.is_integer(each) and each.bit_width < 32) or types.is_int32(each), "int"),
        (types.is_integer, "long"),
        (types.is_float32, "float"),
        (types.is_floating, "double"),
        (lambda each: types.is_string(each) or types.is_large_string(each) or types.is_string_view(each), "string"),
        (lambda each: types.is_binary(each) or types.is_large_binary(each), "bytes"),
    ):
        if test(kind):
            return name
    if types.is_date(kind):
        return {"type": "int", "logicalType": "date"}
    if types.is_time(kind):
        return {"type": "long", "logicalType": "time-micros"}
    raise StageError("format.type", f"Avro has no type for the column {shown(path)}: {kind}", "convert it to text")


def _fastavro() -> Any:
    try:
        import fastavro
    except ImportError:
        raise needs_extra("fastavro") from None
    return fastavro
