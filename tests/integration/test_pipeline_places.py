"""Sources and sinks of pipelines on a real PostgreSQL and a real Kafka: read, and written once under kills."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io import IoContext, publish, resolve
from forgelog.pipelines.problems import StageError
from tests.conftest import Servers
from tests.integration.topics import connection, new_topic, options
from tests.unit.pipelines.dying import (
    REFUSED,
    SURVIVED,
    ended,
    postgres_steps,
    start,
    stopped,
    topic_steps,
)
from tests.unit.pipelines.tables import SECRETS, Table, context_of, rows

FIRST = "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) t(id, v)"
NEXT = "SELECT * FROM (VALUES (2, 'B'), (3, 'C')) t(id, v)"


class Rows(Table):
    """A table of a database: it is read as it is written."""

    def read(self) -> list[tuple[Any, ...]]:
        return rows(DataSource.model_validate(self.place), context_of(self.folder))[1]


@pytest.fixture
def schema(servers: Servers) -> Iterator[str]:
    """A schema of the test's own."""
    name = f"places_{uuid.uuid4().hex[:12]}"
    _postgres(servers, f"CREATE SCHEMA {name}")
    yield name
    _postgres(servers, f"DROP SCHEMA {name} CASCADE")


def _postgres(servers: Servers, statement: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(servers.postgres)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return _apart(run)


def _apart(work: Callable[[], Any]) -> Any:
    """Run a coroutine in a loop of its own: the tests here are no coroutines, as a stage is none."""
    import threading

    result: list[Any] = []

    def run() -> None:
        result.append(asyncio.run(work()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def test_a_table_of_postgres_is_published_once_under_kills(servers: Servers, schema: str, tmp_path: Path) -> None:
    table = Rows({"type": "database", "connection": {"url": servers.postgres}, "table": f"{schema}.t"}, tmp_path)
    table.publish(1, FIRST)
    sink, manifest = table.write(NEXT, mode="upsert", keys=["id"])
    after = [(1, "a"), (2, "B"), (3, "C")]
    kills = 0
    for at in range(100):
        child = start(sink, manifest, 2, table.contexts, SECRETS, postgres_steps, at, signal.SIGKILL)
        if ended(child) == SURVIVED:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        assert table.read() in ([(1, "a"), (2, "b")], after), "a reader saw a part of a version"
    assert kills >= 5
    assert table.read() == after
    assert publish(sink, manifest, 2, table.contexts).already
    left = _postgres(servers, f"SELECT relname FROM pg_class WHERE relnamespace = '{schema}'::regnamespace")
    assert {row[0] for row in left if row[0].startswith("forgelog_aside")} == set()


def test_a_publication_into_postgres_that_wakes_late_changes_nothing(
    servers: Servers, schema: str, tmp_path: Path
) -> None:
    table = Rows({"type": "database", "connection": {"url": servers.postgres}, "table": f"{schema}.t"}, tmp_path)
    sink, manifest = table.write(FIRST)
    child = start(sink, manifest, 1, table.contexts, SECRETS, postgres_steps, 0, signal.SIGSTOP)
    with stopped(child) as is_stopped:
        assert is_stopped
        publish(sink, manifest, 1, table.contexts)
        table.publish(2, NEXT)
    assert ended(child) == REFUSED
    assert table.read() == [(2, "B"), (3, "C")]


def test_types_of_postgres_come_and_go_exactly(servers: Servers, schema: str, tmp_path: Path) -> None:
    _postgres(
        servers,
        f"CREATE TABLE {schema}.kinds AS SELECT 1.10::numeric(12,2) AS m, 123456789012345678901234.5::numeric AS w, "
        "'00000000-0000-0000-0000-000000000001'::uuid AS u, '{\"a\": 1}'::jsonb AS j, '2026-05-09'::date AS d, "
        "'2026-05-09 01:00+02'::timestamptz AS t, ARRAY[1,2] AS l, NULL::int AS n, true AS b, 'x'::bytea AS y",
    )
    given = {"type": "database", "connection": {"url": servers.postgres}, "table": f"{schema}.kinds"}
    columns, found = rows(DataSource.model_validate(given), context_of(tmp_path))
    assert {column.name: column.type for column in columns} == {
        "m": "DECIMAL(12,2)",
        "w": "DECIMAL(38,12)",
        "u": "UUID",
        "j": "JSON",
        "d": "DATE",
        "t": "TIMESTAMP WITH TIME ZONE",
        "l": "VARCHAR",
        "n": "INTEGER",
        "b": "BOOLEAN",
        "y": "BLOB",
    }
    moment = datetime(2026, 5, 8, 23, tzinfo=UTC)
    assert found == [
        (
            Decimal("1.10"),
            Decimal("123456789012345678901234.5"),
            uuid.UUID(int=1),
            '{"a": 1}',
            date(2026, 5, 9),
            moment,
            "{1,2}",
            None,
            True,
            b"x",
        )
    ]
    table = Rows({"type": "database", "connection": {"url": servers.postgres}, "table": f"{schema}.out"}, tmp_path)
    query = (
        "SELECT 1.10::DECIMAL(12,2) AS m, 7::UTINYINT AS s, uuid() AS u, {'a': 1} AS j, DATE '2026-05-09' AS d, "
        "TIMESTAMPTZ '2026-05-09 01:00+02' AS t, [1, 2] AS l, INTERVAL 1 DAY AS i, 1::HUGEINT AS h, "
        "TIME '01:02:03' AS c"
    )
    table.publish(1, query, metadata={"owner": "me"})
    kinds = _postgres(
        servers,
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        f"WHERE attrelid = '{schema}.out'::regclass AND attnum > 0",
    )
    assert dict(map(tuple, kinds)) == {
        "m": "numeric(12,2)",
        "s": "smallint",
        "u": "uuid",
        "j": "jsonb",
        "d": "date",
        "t": "timestamp with time zone",
        "l": "jsonb",
        "i": "interval",
        "h": "numeric(38,0)",
        "c": "time without time zone",
    }
    assert _postgres(servers, f"SELECT obj_description('{schema}.out'::regclass)")[0][0] == '{"owner": "me"}'


def test_numbers_that_would_be_rounded_and_questions_that_fail(servers: Servers, schema: str, tmp_path: Path) -> None:
    _postgres(servers, f"CREATE TABLE {schema}.fine AS SELECT 0.1234567890123::numeric AS n")
    given = {"type": "database", "connection": {"url": servers.postgres}, "table": f"{schema}.fine"}
    with pytest.raises(StageError, match=r"columns: 'n' is numeric without a scale and has '0.1234567890123'"):
        rows(DataSource.model_validate(given), context_of(tmp_path))
    exact = given | {"columns": [{"name": "n", "type": "DECIMAL(38,20)"}]}
    assert rows(DataSource.model_validate(exact), context_of(tmp_path))[1] == [(Decimal("0.1234567890123"),)]
    with pytest.raises(StageError, match=r'table: the database says: .*relation ".*nothing" does not exist'):
        rows(DataSource.model_validate(given | {"table": f"{schema}.nothing"}), context_of(tmp_path))


# -- Kafka


def _place(servers: Servers, topic: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A topic as sources and sinks name it, and the secret that it takes."""
    made, password = connection(servers, "kafka")
    return {"type": "kafka", "topic": topic, "connection": made}, {"kafka": password}


@pytest.fixture
def topic(servers: Servers) -> str:
    return str(_apart(lambda: new_topic(servers)))


def _send(servers: Servers, topic: str, values: list[tuple[int, bytes]]) -> None:
    async def send() -> None:
        producer = AIOKafkaProducer(**options(servers))
        await producer.start()
        try:
            for partition, value in values:
                await producer.send_and_wait(topic, value, key=b"k", partition=partition)
        finally:
            await producer.stop()

    _apart(send)


def _committed(servers: Servers, topic: str) -> list[tuple[str | None, dict[str, Any]]]:
    """The records that a reader of committed ones sees."""

    async def read() -> list[tuple[str | None, dict[str, Any]]]:
        consumer = AIOKafkaConsumer(**options(servers), isolation_level="read_committed")
        await consumer.start()
        try:
            places = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            found = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.key and record.key.decode(), json.loads(record.value)) for record in records]
            return sorted(found, key=str)
        finally:
            await consumer.stop()

    result: list[tuple[str | None, dict[str, Any]]] = _apart(read)
    return result


def test_a_topic_is_read_between_offsets(servers: Servers, topic: str, tmp_path: Path) -> None:
    _send(servers, topic, [(0, b'{"a": 1}'), (0, b'{"a": 2, "b": "x"}'), (1, b'{"a": 3}')])
    given, secrets = _place(servers, topic)

    def context(**more: Any) -> IoContext:
        return context_of(tmp_path, secrets=secrets.__getitem__, **more)

    at = (given["connection"]["url"], topic)
    resolved = resolve(DataSource.model_validate(given), context())
    assert dict(resolved.offsets) == {0: (0, 2), 1: (0, 1)}
    columns, found = rows(DataSource.model_validate(given), context())
    assert [column.name for column in columns] == ["a", "b", "_key", "_partition", "_offset", "_timestamp"]
    assert [row[:5] for row in found] == [(1, None, "k", 0, 0), (2, "x", "k", 0, 1), (3, None, "k", 1, 0)]
    typed = given | {"columns": [{"name": "a", "type": "TINYINT"}, {"name": "_offset", "type": "BIGINT"}]}
    assert rows(DataSource.model_validate(typed), context(topics={at: {0: (1, 2)}}))[1] == [(2, 1)]
    with pytest.raises(StageError, match="topic: partition 0 ends at 2, before 5; the topic was made anew"):
        resolve(DataSource.model_validate(given), context(topics={at: {0: (0, 5)}}))
    with pytest.raises(StageError, match="topic: there is no topic 'nothing-there'"):
        resolve(DataSource.model_validate(given | {"topic": "nothing-there"}), context())
    wrong = given | {"columns": [{"name": "b", "type": "INTEGER"}]}
    with pytest.raises(StageError, match=r"columns\[0\].type: 'b' at offset 1 of partition 0 is no INTEGER"):
        rows(DataSource.model_validate(wrong), context())
    _send(servers, topic, [(1, b"[1]")])
    with pytest.raises(StageError, match="format: the value at offset 1 of partition 1 is no JSON object"):
        rows(DataSource.model_validate(given), context())


def test_a_topic_is_published_once_under_kills(servers: Servers, topic: str, tmp_path: Path) -> None:
    place, secrets = _place(servers, topic)
    table = Table(place, tmp_path, context_of(tmp_path, secrets=secrets.__getitem__))
    sink, manifest = table.write(FIRST, mode="append", keys=["id"])
    expected = [("1", {"id": 1, "v": "a"}), ("2", {"id": 2, "v": "b"})]
    kills = 0
    for at in range(100):
        child = start(sink, manifest, 1, table.contexts, secrets, topic_steps, at, signal.SIGKILL)
        if ended(child) == SURVIVED:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        assert _committed(servers, topic) in ([], expected), "a reader saw a part of a version"
    assert kills >= 3
    assert publish(sink, manifest, 1, table.contexts).already
    assert _committed(servers, topic) == expected


def test_a_publication_into_a_topic_that_wakes_late_changes_nothing(
    servers: Servers, topic: str, tmp_path: Path
) -> None:
    place, secrets = _place(servers, topic)
    table = Table(place, tmp_path, context_of(tmp_path, secrets=secrets.__getitem__))
    sink, manifest = table.write(FIRST, mode="append")
    # it has begun its transaction, sent a record, and is fenced by the next
    child = start(sink, manifest, 1, table.contexts, secrets, topic_steps, 3, signal.SIGSTOP)
    with stopped(child) as is_stopped:
        assert is_stopped
        publish(sink, manifest, 1, table.contexts)
    assert ended(child) == REFUSED
    assert [value for _, value in _committed(servers, topic)] == [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]
    table.publish(2, NEXT, mode="append")
    with pytest.raises(StageError, match="version 2 is published at kafka://"):
        publish(sink, manifest, 1, table.contexts)
