"""A service says that it is ready while what it reads moves on, and else where and why it stands: with real servers."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from events.health import Health
from events.hosting import open_pool
from events.log import topics
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings
from events.projections.positions import live_schema
from events.projections.runner import Runner
from events.queries.catching_up import CatchingUp
from events.writer.writer import Writer
from tests import PATIENCE
from tests.integration.cluster import Cluster, cluster
from tests.integration.test_runtime import running, submit, until
from tests.unit.writer.sample import SampleDecider, SampleProjection

BOUND = 1.0
"""Seconds without a move from which on a reader stands still."""


class Service:
    """What a service's process has, but its server."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool) -> None:
        self.settings = settings
        self.writer = Writer(SampleDecider(), settings)
        self.runner = Runner(SampleProjection(), settings, pool)
        self.health = Health(self.writer, self.runner, pool, BOUND)
        self.told: list[bool] = []

    async def note(self, ready: bool) -> None:
        self.told.append(ready)

    @property
    def ready(self) -> bool:
        return bool(self.told) and self.told[-1]


@pytest_asyncio.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    made = Service(settings, pool)
    async with running(made.writer.run(), made.runner.run(), made.health.keep(made.note)):
        await until(lambda: made.ready, PATIENCE)
        yield made
    await pool.close()


@asynccontextmanager
async def locked(settings: Settings) -> AsyncIterator[None]:
    """The tables of jobs let nobody in."""
    db = await asyncpg.connect(settings.postgres_required)
    try:
        async with db.transaction():
            await db.execute(f'lock table "{live_schema(settings, "jobs")}".positions in access exclusive mode')
            yield
    finally:
        await db.close()


async def test_tables_know_whether_they_have_what_the_log_had_when_they_were_asked(service: Service) -> None:
    """Before it, who did not make a thing heard "there is none" until the tables had it."""
    tables = CatchingUp(service.runner)
    async with Publisher(service.settings) as publisher, Outcomes(service.settings) as outcomes:
        assert await tables.why_behind() == ""
        async with locked(service.settings):
            outcome = outcomes.expect("one")
            await publisher.publish(submit("one", "one"), id="one")
            position = (await asyncio.wait_for(outcome, PATIENCE)).position
            assert "do not contain events.jobs/" in await tables.why_behind(0.2)
            behind = asyncio.create_task(tables.why_behind(PATIENCE))
        assert await behind == ""
        assert await service.runner.wait_for([position], 0) == []


async def test_tables_that_take_nothing_make_a_service_unready_until_they_do(service: Service) -> None:
    async with Publisher(service.settings) as publisher:
        async with locked(service.settings):
            assert service.ready  # there is nothing to be stored
            await publisher.publish(submit("one"))
            await until(lambda: not service.ready, PATIENCE)
            (where, why), *_ = service.health.waits().items()
            assert where.startswith("tables events.jobs/")
            assert "not in the tables" in why
            assert "the database has not taken what was read" in why
        await until(lambda: service.ready, PATIENCE)
    assert service.health.waits() == {}


async def test_commands_that_are_not_decided_make_a_service_unready(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = service.writer.appender.append
    goes_on = asyncio.Event()

    async def held(*work: Any) -> bool:
        await goes_on.wait()
        return await append(*work)

    monkeypatch.setattr(service.writer.appender, "append", held)
    async with Publisher(service.settings) as publisher:
        await publisher.publish(submit("one"))
        await until(lambda: not service.ready, PATIENCE)
        (where, why), *_ = service.health.waits().items()
        assert where == "appends events.jobs"
        assert "the broker does not take what was decided" in why
        goes_on.set()
        await until(lambda: service.ready, PATIENCE)


async def test_a_database_that_is_away_is_said_to_be(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.health.DATABASE_EVERY", 0.1)
    away = await open_pool(service.settings.model_copy(update={"postgres": "postgresql://u@127.0.0.1:1/none"}))
    health = Health(service.writer, service.runner, away, BOUND)
    async with running(health.keep(service.note)):
        await until(lambda: "database" in health.waits(), PATIENCE)
        assert "can't be reached" in health.waits()["database"]
    await away.close()


@pytest_asyncio.fixture
async def platform(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setenv("FORGELOG_STALL_SECONDS", str(BOUND))
    async with cluster(settings, tmp_path, nodes=0, gateway=True) as made:
        yield made


async def readiness(platform: Cluster) -> tuple[int, dict[str, str]]:
    host, _, port = platform.gateway.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n".encode())
    writer.write(f"Authorization: Bearer {platform.key}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)["missing"]


async def test_readyz_names_the_context_the_place_and_the_cause(platform: Cluster) -> None:
    async def answers(status: int) -> dict[str, str]:
        async with asyncio.timeout(PATIENCE):
            while True:
                found, missing = await readiness(platform)
                if found == status:
                    return missing
                await asyncio.sleep(0.1)

    assert await answers(200) == {}
    async with locked(platform.settings):
        await platform.submit("true")
        missing = await answers(503)
        assert "tables events.jobs/" in missing["jobs"]
        assert "the database has not taken what was read" in missing["jobs"]
    assert await answers(200) == {}
    (frozen,) = [each for each in platform.processes() if "services.scheduling" in each.cmdline()]
    frozen.send_signal(signal.SIGSTOP)
    try:
        missing = await answers(503)
        assert "does not answer" in missing["scheduling"]
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert await answers(200) == {}
