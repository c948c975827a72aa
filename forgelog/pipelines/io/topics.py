"""Records of Kafka's topics: those between two offsets of each partition become rows.

Values are JSON objects. Beside their members a row has ``_key``, ``_partition``, ``_offset`` and ``_timestamp``. Only
records of committed transactions are read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from events.language.pipelines.connections import Connection, DataSourceType
from events.language.pipelines.sources import DataSource, Streaming, StreamStart
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.context import IoContext, Offsets, Resolved
from forgelog.pipelines.io.credentials import options_of
from forgelog.pipelines.io.paths import filled, literal
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

if TYPE_CHECKING:
    import duckdb

_T = TypeVar("_T")
_ROWS = 20_000
_WAIT = 60.0
"""Seconds without any answer of the brokers after which reading is given up."""

OWN_COLUMNS = ("_key", "_partition", "_offset", "_timestamp")


def client_options(connection: Connection, context: IoContext) -> dict[str, Any]:
    """What aiokafka's clients are made with."""
    options = dict(options_of(connection, DataSourceType.KAFKA, context))
    servers = literal(filled(connection.url, context, "connection.url")).removeprefix("kafka://")
    settings: dict[str, Any] = {"bootstrap_servers": servers, "request_timeout_ms": 30_000}
    protocol = options.pop("security_protocol", "SASL_PLAINTEXT" if "sasl_password" in options else "PLAINTEXT")
    settings["security_protocol"] = protocol
    if protocol.startswith("SASL"):
        settings["sasl_mechanism"] = options.pop("sasl_mechanism", "PLAIN")
        settings["sasl_plain_username"] = options.pop("sasl_username", "")
        settings["sasl_plain_password"] = options.pop("sasl_password", "")
    if protocol.endswith("SSL"):
        settings["ssl_context"] = ssl.create_default_context(cafile=options.pop("ssl_cafile", None))
    if options:
        problem = f"has {shown(sorted(options)[0])}, which is no option of Kafka here"
        known = "security_protocol, sasl_mechanism, sasl_username, ssl_cafile, and sasl_password by secret"
        raise StageError("connection.options", problem, f"the options are {known}")
    return settings


def answered(work: Coroutine[Any, Any, _T], field: str) -> _T:
    """Run a conversation with a cluster. What its client raises becomes StageError."""

    async def answering() -> _T:
        with explained(field):
            return await work

    return asyncio.run(answering())


@contextmanager
def explained(field: str) -> Iterator[None]:
    """What a client of Kafka raises becomes StageError."""
    from aiokafka.errors import KafkaConnectionError, KafkaError

    try:
        yield
    except KafkaError as error:
        transient = bool(getattr(error, "retriable", False)) or isinstance(error, KafkaConnectionError)
        kind = type(error).__name__
        problem = f"Kafka says: {kind}: {str(error).removeprefix(f'{kind}: ')[:300]}"
        raise StageError(field, problem, "check connection.url and its secret", transient=transient) from None
    except (OSError, TimeoutError) as error:
        problem = f"the cluster can't be reached: {error or type(error).__name__}"
        raise StageError("connection.url", problem, "check the brokers' addresses", transient=True) from None


def offsets_to_read(source: DataSource, context: IoContext) -> Offsets:
    """The first offset of each partition that a run reads, and the first that it does not."""
    return answered(_offsets(source, context), "topic")


async def _offsets(source: DataSource, context: IoContext) -> dict[int, tuple[int, int]]:
    consumer, places = await opened(source, context)
    given = context.topics.get((source.connection.url, source.topic))
    try:
        first, end = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        streaming = source.streaming or Streaming()
        found = {}
        most = max(streaming.max_records // max(len(places), 1), 1)
        for place in places:
            if given is not None:
                start, until = given.get(place.partition, (0, 0))
                if start < until:
                    check_range(place.partition, start, until, first[place], end[place])
            else:
                latest = streaming.start is StreamStart.LATEST and source.streaming is not None
                start = end[place] if latest else first[place]
                until = min(end[place], start + most)
            found[place.partition] = (start, until)
        return found
    finally:
        await consumer.stop()


def check_range(partition: int, start: int, until: int, first: int, end: int) -> None:
    """Raises StageError if a partition, which has the offsets from `first` on and before `end`, lacks some of a range's
    records."""
    if start < first:
        problem = f"partition {partition} begins at {first}: records from {start} on are gone"
        raise StageError("topic", problem, "the topic's retention is too short; run from what is left")
    if until > end:
        problem = f"partition {partition} ends at {end}, before {until}"
        raise StageError("topic", problem, "the topic was made anew: begin from its start")


async def partitions_of(options: dict[str, Any], topic: str) -> list[int]:
    """The partitions of a topic. Raises StageError if there is no such topic."""
    from aiokafka.admin import AIOKafkaAdminClient

    client = AIOKafkaAdminClient(**options)
    await client.start()
    try:
        # unlike the other questions, a list makes no topic that is not there
        if topic not in await client.list_topics():
            raise StageError("topic", f"there is no topic {shown(topic)}", "correct its name, or make it")
        (described,) = await client.describe_topics([topic])
        return sorted(each["partition"] for each in described["partitions"])
    finally:
        await client.close()


async def opened(source: DataSource, context: IoContext) -> tuple[Any, list[Any]]:
    """A consumer, to be stopped, and the partitions of a source's topic. Raises StageError."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    options = client_options(source.connection, context)
    partitions = await partitions_of(options, source.topic)
    consumer = AIOKafkaConsumer(
        **options,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        fetch_max_bytes=16 << 20,
    )
    try:
        await consumer.start()
    except BaseException:
        with suppress(Exception):
            await consumer.stop()
        raise
    return consumer, [TopicPartition(source.topic, number) for number in partitions]


def read_records(connection: duckdb.DuckDBPyConnection, resolved: Resolved) -> str:
    """Bring the records into the scratch folder; a query of DuckDB over their rows."""
    number = sum(1 for _ in resolved.context.scratch.glob("topic-*.parquet"))
    path = resolved.context.scratch / f"topic-{number}.parquet"
    answered(_save(resolved, path), "topic")
    raw = f"(SELECT * FROM read_parquet({sql.text(str(path))}) WHERE value IS NOT NULL)"
    wrong = f"SELECT _partition, _offset FROM {raw} WHERE json_valid(value) IS NOT TRUE OR json_type(value) <> 'OBJECT'"
    for partition, offset in connection.execute(f"{wrong} LIMIT 1").fetchall():
        problem = f"the value at offset {offset} of partition {partition} is no JSON object"
        raise StageError("format", problem, "correct who writes it, or begin behind it")
    columns = {column.name: column.type for column in resolved.source.columns if column.name not in OWN_COLUMNS}
    own = ", ".join(OWN_COLUMNS)
    if columns:
        parts = ", ".join(f"{sql.name(name)}: {sql.text(kind)}" for name, kind in columns.items())
        structure = connection.execute(f"SELECT to_json({{{parts}}})::VARCHAR").fetchall()[0][0]
    else:
        structure = connection.execute(f"SELECT json_group_structure(value::JSON)::VARCHAR FROM {raw}").fetchall()[0][0]
        if structure is None:
            remedy = "give columns: a run of a stream may find nothing new"
            raise StageError("columns", "there is no record that tells the columns", remedy)
        # of whole numbers it says that none is negative
        structure = structure.replace('"UBIGINT"', '"BIGINT"')
    rows = f"(SELECT json_transform(value, {sql.text(structure)}) AS row_, value, {own} FROM {raw})"
    for number, (name, kind) in enumerate(columns.items()):
        # what can't be of its type would become no value
        member = sql.text(f'$."{name}"')
        there = f"coalesce(json_type(value, {member}), 'NULL') <> 'NULL'"
        wrong = f"SELECT _partition, _offset FROM {rows} WHERE row_[{sql.text(name)}] IS NULL AND {there} LIMIT 1"
        for partition, offset in connection.execute(wrong).fetchall():
            problem = f"{shown(name)} at offset {offset} of partition {partition} is no {kind}"
            raise StageError(f"columns[{number}].type", problem, "correct the type, or read it as VARCHAR or JSON")
    return f"SELECT unnest(row_), {own} FROM {rows}"


async def _save(resolved: Resolved, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("value", pa.string()),
            ("_key", pa.string()),
            ("_partition", pa.int32()),
            ("_offset", pa.int64()),
            ("_timestamp", pa.timestamp("ms", "UTC")),
        ]
    )
    consumer, places = await opened(resolved.source, resolved.context)
    try:
        left = {}
        for place in places:
            start, until = resolved.offsets.get(place.partition, (0, 0))
            if start < until:
                left[place] = until
        consumer.assign(list(left))
        for place in left:
            consumer.seek(place, resolved.offsets[place.partition][0])
        with pq.ParquetWriter(path, schema, compression="lz4") as writer:
            rows: list[dict[str, Any]] = []
            while left:
                found = await asyncio.wait_for(_some(consumer, left), _WAIT)
                for record in found:
                    rows.append(_row(record))
                if len(rows) >= _ROWS:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema))
    finally:
        await consumer.stop()


async def _some(consumer: Any, left: dict[Any, int]) -> list[Any]:
    """The next records that are to be read. Takes a partition out of `left` whose position has come to its end."""
    found = []
    for place, records in (await consumer.getmany(*left, timeout_ms=200, max_records=_ROWS)).items():
        found += [record for record in records if record.offset < left[place]]
    for place, until in list(left.items()):
        # a position also moves over what is no record, such as a transaction's end
        if await consumer.position(place) >= until:
            del left[place]
            consumer.pause(place)
    return found


def _row(record: Any) -> dict[str, Any]:
    return {
        "value": None if record.value is None else _text(record.value, record, "value"),
        "_key": None if record.key is None else _text(record.key, record, "key"),
        "_partition": record.partition,
        "_offset": record.offset,
        "_timestamp": datetime.fromtimestamp(record.timestamp / 1000, UTC),
    }


def _text(data: bytes, record: Any, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        problem = f"the {what} at offset {record.offset} of partition {record.partition} is no text in UTF-8"
        raise StageError("format", problem, "records are read as JSON") from None
