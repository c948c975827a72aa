"""`forgelog up`, `status`, `down` as a user types them, with embedded servers; kill -9 of any process loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import pytest_asyncio

from events.process.settings import Settings
from forgelog import AsyncClient, AsyncJob
from forgelog.embedded import docker
from forgelog.embedded.passfile import password_in
from forgelog.embedded.platform import Platform
from forgelog.embedded.process import until
from tests import PATIENCE
from tests.access import environment
from tests.chaos.arena import can_mount
from tests.conftest import Servers, own_settings


@pytest_asyncio.fixture
async def data() -> AsyncIterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog tést, 数-"))
    yield folder
    await Platform(folder).down()
    shutil.rmtree(folder, ignore_errors=True)


def forgelog(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FORGELOG_")}
    return subprocess.run(
        [sys.executable, "-c", "from forgelog.cli import main; main()", *arguments, "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
        env={**clean, **environment},
    )


async def run(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(lambda: forgelog(*arguments, data=data, **environment))


def children(data: Path) -> dict[str, dict[str, Any]]:
    return {child["name"]: child for child in Platform(data).report()["children"]}


UP = ("up", "--servers-only", "--servers", "embedded")


async def test_life_of_a_platform(data: Path) -> None:
    ran = await run(*UP, data=data)
    assert ran.returncode == 0, ran.stderr
    assert "the servers are up" in ran.stderr
    first = children(data)
    assert {name: child["state"] for name, child in first.items()} == {
        "supervisor": "running",
        "kafka": "ready",
        "postgres": "ready",
    }
    dsn = Platform(data).report()["postgres"]
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    connection.terminate()

    # up again: nothing changes
    assert (await run(*UP, data=data)).returncode == 0
    assert {name: child["pid"] for name, child in children(data).items()} == {
        name: child["pid"] for name, child in first.items()
    }

    # kill -9 of the supervisor: the servers live on, the next one adopts them
    os.kill(first["supervisor"]["pid"], signal.SIGKILL)
    assert await until(lambda: not Platform(data).supervised, PATIENCE)
    assert Platform(data).report()["state"] == "unsupervised"
    shown = await run("status", data=data)
    assert shown.returncode == 3
    assert "unsupervised" in shown.stdout
    assert (await run(*UP, data=data)).returncode == 0
    second = children(data)
    assert second["supervisor"]["pid"] != first["supervisor"]["pid"]
    assert (second["kafka"]["pid"], second["postgres"]["pid"]) == (first["kafka"]["pid"], first["postgres"]["pid"])

    # kill -9 of a server: it is started again, and that is shown
    os.kill(second["kafka"]["pid"], signal.SIGKILL)
    os.kill(second["postgres"]["pid"], signal.SIGKILL)
    assert await until(lambda: all(children(data)[name]["restarts"] > 0 for name in ("kafka", "postgres")), PATIENCE)
    await Platform(data).wait(60)
    status = await run("status", "--output", "json", data=data)
    assert status.returncode == 0, status.stdout
    report = json.loads(status.stdout)
    password = password_in(data / "keys" / "postgres.pgpass")
    assert password not in status.stdout
    assert password not in shown.stdout + shown.stderr
    assert report["state"] == "up"
    assert report["postgres"] == dsn
    again = children(data)
    assert again["kafka"]["pid"] not in (None, first["kafka"]["pid"])

    # down: nothing is left; up: the data is still there
    assert (await run("down", data=data)).returncode == 0
    for child in (*first.values(), *second.values(), *again.values()):
        assert not psutil.pid_exists(child["pid"]) or psutil.Process(child["pid"]).status() == psutil.STATUS_ZOMBIE
    assert (await run("status", data=data)).returncode == 3
    assert (await run(*UP, data=data)).returncode == 0
    connection = await asyncpg.connect(Platform(data).report()["postgres"])
    assert await connection.fetchval("SELECT value FROM kept") == 42
    connection.terminate()


async def test_down_after_the_supervisor_was_killed_ends_its_children(data: Path) -> None:
    assert (await run(*UP, data=data)).returncode == 0
    before = children(data)
    os.kill(before["supervisor"]["pid"], signal.SIGKILL)
    assert await until(lambda: not Platform(data).supervised, PATIENCE)
    ran = await run("down", data=data)
    assert "stopped" in ran.stderr
    for name in ("kafka", "postgres"):
        pid = before[name]["pid"]
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert "nothing was running" in (await run("down", data=data)).stderr


async def test_down_says_what_it_ends_and_leaves_it_when_told(data: Path, servers: Servers) -> None:
    async with own_settings(servers, data) as settings:
        given = {
            **environment(settings),
            "FORGELOG_PREFIX": settings.prefix,
            "FORGELOG_SCHEMA": settings.schema_,
            "FORGELOG_GATEWAY": "127.0.0.1:0",
        }
        assert (await run("up", data=data, **given)).returncode == 0
        small = {"cpus": 0.1, "memory": "64Mi"}
        script = f"until [ -e '{data}/go' ]; do sleep 0.05; done; echo done"
        async with AsyncClient(Platform(data).report()["gateway"], token=Platform(data).key) as client:
            first = await client.submit(name="first", command=["sh", "-c", script], resources=small)
            await running(first)
            left = await run("down", "--keep-jobs", data=data)
            assert left.returncode == 0, left.stderr
            assert f"left running: 1 running job: first {first.id}" in left.stderr

        assert (await run("up", data=data, **given)).returncode == 0
        gateway = Platform(data).report()["gateway"]  # it may have another port now
        async with AsyncClient(gateway, token=Platform(data).key) as client:
            first = client.job(first.id)
            (data / "go").touch()
            assert (await first.wait(timeout=PATIENCE)).status == "completed"
            assert [each.attempt for each in await first.attempts()] == [1]
            second = await client.submit(name="second", command=["sleep", "1000"], resources=small)
            await running(second)
        ended = await run("down", data=data)
        assert f"ending 1 running job: second {second.id}" in ended.stderr
        assert "--keep-jobs" in ended.stderr


async def running(job: AsyncJob) -> None:
    async for seen in job.watch():
        if seen.status == "running":
            return


async def test_a_given_server_that_does_not_answer_is_named_with_three_ways(data: Path) -> None:
    ran = await run("up", data=data, FORGELOG_KAFKA="127.0.0.1:1")
    assert ran.returncode == 1
    assert "no kafka answers at 127.0.0.1:1" in ran.stderr
    for way in ("set FORGELOG_KAFKA", "start a Docker engine", "--servers embedded"):
        assert way in ran.stderr
    assert "Traceback" not in ran.stderr


async def test_a_bad_variable_is_one_line(data: Path) -> None:
    ran = await run("up", data=data, FORGELOG_PARTITIONS="many")
    assert ran.returncode == 1
    assert ran.stderr.strip().count("\n") == 0
    assert "FORGELOG_PARTITIONS: " in ran.stderr


async def test_doctor_says_what_is_there_and_what_to_do(data: Path) -> None:
    ran = await run("doctor", "--output", "json", data=data, FORGELOG_JAVA="/nowhere/java")
    assert ran.returncode == 1
    checks = {check["check"]: check for check in json.loads(ran.stdout)}
    assert checks["java"]["result"] == "failed"
    assert "FORGELOG_JAVA" in checks["java"]["fix"]
    assert checks["postgres"]["result"] == "ok"


@pytest.mark.skipif(not docker.available(), reason="no Docker engine answers")
async def test_servers_from_docker(data: Path) -> None:
    ran = await run("up", "--servers-only", "--servers", "docker", data=data)
    assert ran.returncode == 0, ran.stderr
    connection = await asyncpg.connect(Platform(data).report()["postgres"])
    assert await connection.fetchval("SELECT 1") == 1
    connection.terminate()
    remove = ["docker", "compose", "--project-name", docker.Docker(data).project, "down", "--volumes"]
    await asyncio.to_thread(subprocess.run, remove, check=True, timeout=PATIENCE)


@pytest.mark.skipif(not docker.available(), reason="no Docker engine answers")
async def test_the_log_works_on_a_broker_from_testcontainers() -> None:
    from testcontainers.kafka import KafkaContainer

    from forgelog.embedded.kafka import broker_answers

    with KafkaContainer("apache/kafka:4.3.1").with_kraft() as broker:
        assert await broker_answers(Settings(kafka=broker.get_bootstrap_server(), kafka_config=None))


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="a small file system can be mounted by root on Linux only")
async def test_on_a_full_disk_the_broker_is_held_and_says_so(data: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=700m,mode=700", "tmpfs", data]
    await asyncio.to_thread(subprocess.run, mount, check=True)
    try:
        ran = await run(*UP, data=data)
        assert ran.returncode == 0, ran.stderr
        ballast = data / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 450 << 20)
        assert await until(lambda: children(data)["kafka"]["state"] == "held", PATIENCE)
        shown = await run("status", data=data)
        assert "held" in shown.stdout
        assert "MiB left" in children(data)["kafka"]["problem"]
        assert children(data)["postgres"]["state"] == "ready"
        ballast.unlink()
        assert await until(lambda: children(data)["kafka"]["state"] == "ready", PATIENCE)
    finally:
        await Platform(data).down()
        await asyncio.to_thread(subprocess.run, ["umount", "-l", data], check=True)
