"""The embedded broker and database: they start, and what they said yes to survives kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.log.access import client_options
from events.process.settings import Settings
from forgelog.embedded import jars
from forgelog.embedded.kafka import Kafka, broker_answers
from forgelog.embedded.kafka_users import AGENT, PLATFORM, PRODUCER
from forgelog.embedded.passfile import password_in, without_password
from forgelog.embedded.postgres import Postgres, database_answers
from forgelog.embedded.process import Child, EmbeddedError, wait_ready
from tests import PATIENCE


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="forgelog tést, 数-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def started(server: Kafka | Postgres) -> Child:
    child = Child.start(await asyncio.to_thread(server.prepare))
    try:
        await wait_ready(child, server.ready, 60)
    except BaseException:
        await child.stop()
        raise
    return child


async def append(settings: Settings, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(**client_options(settings), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topic, value) for value in values])
    finally:
        await producer.stop()


async def read(settings: Settings, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(**client_options(settings))
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        found: list[bytes] = []
        while len(found) < count:
            records = await asyncio.wait_for(consumer.getone(), 20)
            found.append(records.value)
        return found
    finally:
        await consumer.stop()


async def create(settings: Settings, topic: str) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def test_broker_loses_nothing_when_it_is_killed(folder: Path) -> None:
    kafka = Kafka(folder / "kafka", folder / "logs" / "kafka.log")
    child = await started(kafka)
    first = kafka.address
    try:
        await create(kafka.access, "events")
        written = [b"%d" % number for number in range(2000)]
        await append(kafka.access, "events", written)
        child.send(signal.SIGKILL)
        assert await child.wait(10)
        assert child.exit == "SIGKILL"

        child = await started(kafka)
        assert kafka.address == first
        assert await read(kafka.access, "events", 2000) == written
        await append(kafka.access, "events", [b"after"])
        assert (await read(kafka.access, "events", 2001))[-1] == b"after"
    finally:
        await child.stop()


async def test_postgres_asks_for_a_password_that_only_its_file_has(folder: Path) -> None:
    postgres = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    child = await started(postgres)
    try:
        passfile = folder / "keys" / "postgres.pgpass"
        secret = password_in(passfile)
        assert secret not in postgres.address + str(psutil.Process(child.pid).cmdline())
        assert secret not in (folder / "postgres" / "server.json").read_text()
        bare = without_password(postgres.address).partition("?")[0]
        for password in (None, "", "forgelog", secret[:-1]):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(bare, password=password, passfile=folder / "none")
        with pytest.raises(EmbeddedError, match="refuses the connection"):
            await database_answers(bare + f"?passfile={folder / 'none'}")
    finally:
        await child.stop()

    passfile.unlink()
    with pytest.raises(EmbeddedError, match="rebuilt from the log"):
        await asyncio.to_thread(postgres.prepare)


async def test_a_postgres_folder_of_the_version_before_comes_up(folder: Path) -> None:
    """It kept the password beside the port."""
    postgres = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    child = await started(postgres)
    connection = await asyncpg.connect(postgres.address)
    await connection.execute("CREATE TABLE facts AS SELECT 1 AS id")
    connection.terminate()
    await child.stop()
    passfile, state = folder / "keys" / "postgres.pgpass", folder / "postgres" / "server.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "password": password_in(passfile)}))
    passfile.unlink()

    child = await started(postgres)
    try:
        connection = await asyncpg.connect(postgres.address)
        assert await connection.fetchval("SELECT count(*) FROM facts") == 1
        connection.terminate()
        assert "password" not in state.read_text()
        assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    finally:
        await child.stop()


async def test_broker_moves_when_its_port_is_taken(folder: Path) -> None:
    kafka = Kafka(folder / "kafka", folder / "logs" / "kafka.log")
    child = await started(kafka)
    try:
        first = kafka.address
        await create(kafka.access, "events")
        await append(kafka.access, "events", [b"before"])
    finally:
        await child.stop()
    with socket.create_server(("127.0.0.1", int(first.split(":")[1]))):
        child = await started(kafka)
        try:
            assert kafka.address != first
            assert await read(kafka.access, "events", 1) == [b"before"]
        finally:
            await child.stop()


def ask_nobody(properties: Path, address: str) -> None:
    """Make the broker's configuration what the version before wrote: no users, no rules."""
    lines = [
        line
        for line in properties.read_text().splitlines()
        if not re.match(r"listener\.name\.|sasl\.|authorizer\.|super\.users|.*(CLIENT|PLAINTEXT)", line)
    ]
    controller = json.loads((properties.parent / "ports.json").read_text())["controller"]
    lines += [
        f"listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}",
        f"advertised.listeners=PLAINTEXT://{address}",
        "inter.broker.listener.name=PLAINTEXT",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    ]
    properties.write_text("\n".join(lines) + "\n")


async def test_a_broker_folder_of_the_version_before_comes_up_with_its_data_and_asks_from_then_on(folder: Path) -> None:
    kafka = Kafka(folder / "kafka", folder / "logs" / "kafka.log")
    spec = await asyncio.to_thread(kafka.prepare)
    ask_nobody(folder / "kafka" / "server.properties", kafka.address)
    shutil.rmtree(folder / "keys")
    anybody = Settings(kafka=kafka.address, kafka_config=None)
    child = Child.start(spec)
    try:
        async with asyncio.timeout(60):
            while not await broker_answers(anybody):
                await asyncio.sleep(0.05)
        await create(anybody, "events")
        await append(anybody, "events", [b"before"])
    finally:
        await child.stop()

    child = await started(kafka)
    try:
        with pytest.raises(EmbeddedError, match="FORGELOG_KAFKA_CONFIG"):
            await broker_answers(Settings(kafka=kafka.address, kafka_config=None))
        assert await read(kafka.access, "events", 1) == [b"before"]
        await append(kafka.access, "events", [b"after"])
        assert await read(kafka.access, "events", 2) == [b"before", b"after"]
        for user in (AGENT, PRODUCER):
            assert await broker_answers(Settings(kafka=kafka.address, kafka_config=kafka.users.file(user)))
        secrets = [kafka.users.password(user) for user in (PLATFORM, AGENT, PRODUCER)]
        shown = [
            str(psutil.Process(child.pid).cmdline()),
            str(psutil.Process(child.pid).environ()),
            kafka.log.read_text(),
        ]
        assert not [text for text in shown for secret in secrets if secret in text]
        holders = [path for path in (folder / "kafka").iterdir() if path.is_file() and secrets[0] in path.read_text()]
        assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in holders] == [("server.properties", 0o600)]
    finally:
        await child.stop()


async def test_postgres_comes_back_after_a_kill(folder: Path) -> None:
    postgres = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    child = await started(postgres)
    try:
        connection = await asyncpg.connect(postgres.address)
        await connection.execute("CREATE TABLE facts (id int)")
        await connection.execute("INSERT INTO facts SELECT generate_series(1, 500)")
        await connection.execute("INSERT INTO facts VALUES (501)")
        connection.terminate()
        child.send(signal.SIGKILL)
        assert await child.wait(10)
        assert (folder / "postgres" / "data" / "postmaster.pid").exists()

        child = await started(postgres)
        connection = await asyncpg.connect(postgres.address)
        assert await connection.fetchval("SELECT count(*) FROM facts") == 501
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        connection.terminate()
    finally:
        await child.stop()


async def test_postgres_starts_when_its_old_pid_is_another_program_now(folder: Path) -> None:
    postgres = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    child = await started(postgres)
    child.send(signal.SIGKILL)
    assert await child.wait(10)
    lock = folder / "postgres" / "data" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    child = await started(postgres)
    await child.stop()


async def test_postgres_is_not_started_twice_on_one_folder(folder: Path) -> None:
    postgres = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    child = await started(postgres)
    try:
        with pytest.raises(EmbeddedError, match=rf"another Postgres \(pid {child.pid}\)"):
            await asyncio.to_thread(Postgres(folder / "postgres", folder / "logs" / "again.log").prepare)
    finally:
        await child.stop()


async def test_the_session_fixtures_give_a_usable_platform(settings: Settings) -> None:
    await create(settings, f"{settings.prefix}x")
    await append(settings, f"{settings.prefix}x", [b"1"])
    connection = await asyncpg.connect(settings.postgres_required)
    await connection.execute(f"CREATE SCHEMA {settings.schema_}")
    await connection.close()


def test_the_classes_of_the_broker_are_kept_and_mapped(folder: Path) -> None:
    libraries = folder / "cache" / jars.folder().name
    libraries.mkdir(parents=True)
    for jar in jars.fetch().glob("*.jar"):
        (libraries / jar.name).symlink_to(jar)
    spec = Kafka(folder / "kafka", folder / "kafka.log", cache=folder / "cache").prepare()
    (kept,) = libraries.glob("classes-*")
    assert (kept.suffix, f"-XX:SharedArchiveFile={kept}" in spec.argv) == (".jsa", True)

    def loaded() -> str:
        words = [*spec.argv[1 : spec.argv.index("kafka.Kafka")], "kafka.tools.StorageTool", "random-uuid"]
        told = [spec.argv[0], "-Xlog:class+load", *words]
        done = subprocess.run(told, cwd=folder / "kafka", capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        (line,) = (line for line in done.stdout.splitlines() if "kafka.tools.StorageTool source:" in line)
        return line

    assert loaded().endswith("source: shared objects file (top)")
    made = kept.stat()
    Kafka(folder / "kafka", folder / "kafka.log", cache=folder / "cache").prepare()
    assert kept.stat().st_mtime_ns == made.st_mtime_ns
    kept.unlink()
    kept.write_bytes(b"something else" * 1000)
    assert "source: file:" in loaded(), "a broken one is passed over"
