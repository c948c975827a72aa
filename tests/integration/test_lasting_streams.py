"""Streams last as long as what they follow: a job that says nothing for long, and restarts on the way to it.

`run`, `logs -f` and `watch` go on over the restart of the gateway, of a service and of the database: no line is lost
and none comes twice. Connections are pinged every second here, so that a silence of seconds is one of
many pings.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from events.language.jobs import JobFailed
from events.language.resources import NodeRegistered
from events.process.channels import VARIABLE
from events.projections.rebuild import rebuild
from forgelog.client.aio import AsyncClient
from forgelog.embedded.postgres import Postgres
from forgelog.embedded.process import Child, wait_ready
from tests.conftest import Servers, own_settings
from tests.integration.cluster import FORGELOG, PATIENCE, Cluster, cluster

pytestmark = pytest.mark.slow

SMALL = ["--cpus", "0.1", "--memory", "64Mi"]
SILENCE = 6.0
"""Seconds of nothing: six pings. A server that takes gRPC's default of pings ends the connection after four."""


@dataclass
class Database:
    """A Postgres of this module's own, to kill."""

    server: Postgres
    child: Child

    @classmethod
    async def start(cls, folder: Path) -> Database:
        server = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
        child = Child.start(await asyncio.to_thread(server.prepare))
        await wait_ready(child, server.ready, server.ready_seconds)
        return cls(server, child)

    async def kill(self) -> None:
        self.child.send(signal.SIGKILL)
        assert await self.child.wait(10)

    async def start_again(self) -> None:
        self.child = Child.start(await asyncio.to_thread(self.server.prepare))
        await wait_ready(self.child, self.server.ready, self.server.ready_seconds)


@pytest_asyncio.fixture(scope="module")
async def database() -> AsyncIterator[Database]:
    with tempfile.TemporaryDirectory(prefix="forgelog-test-") as folder:
        database = await Database.start(Path(folder))
        try:
            yield database
        finally:
            await database.child.stop()


@pytest_asyncio.fixture(scope="module")
async def platform(
    servers: Servers, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("platform")
    own = replace(servers, postgres=database.server.address)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "1")
        async with own_settings(own, folder) as settings, cluster(settings, folder, gateway=True) as platform:
            await platform.event(NodeRegistered)
            yield platform


async def until(what: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait for a condition that nothing reports by itself."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not what():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(told()) from None


class Command:
    """A command line that runs, and what it has printed so far."""

    def __init__(self, platform: Cluster, *arguments: str) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=platform.folder))
        self.arguments = arguments
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            environment = {**os.environ, **platform.place}
            self.process = subprocess.Popen([*FORGELOG, *arguments], env=environment, stdout=out, stderr=err)

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text()

    def told(self) -> str:
        return f"{self.arguments}: {self.process.poll()}\n{self.out}\n{self.err}"

    async def prints(self, text: str) -> None:
        await until(lambda: text in self.out or self.process.poll() is not None, self.told)
        assert text in self.out, self.told()

    async def ends(self) -> int:
        await until(lambda: self.process.poll() is not None, self.told)
        code: int = self.process.returncode
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Followers:
    """A job that prints a line, is silent until it is told to go on, prints another and ends with 3; and who follows
    it."""

    job: str
    run: Command
    logs: Command
    watch: Command
    go: Path

    @classmethod
    async def start(cls, platform: Cluster, go: Path) -> Followers:
        watch = Command(platform, "watch", "-o", "json")
        # It has begun when it tells of something.
        while not watch.out:
            await platform.submit("true", name="something", resources={"cpus": 0.1})
            assert watch.process.poll() is None, watch.told()
            await asyncio.sleep(0.2)
        script = f"echo first; until [ -e {go} ]; do sleep 0.05; done; echo last; exit 3"
        run = Command(platform, "run", *SMALL, "--", "sh", "-c", script)
        await run.prints("first\n")
        job = run.err.split()[1]
        logs = Command(platform, "logs", "-f", job)
        await logs.prints("first\n")
        return cls(job, run, logs, watch, go)

    async def check(self, platform: Cluster) -> None:
        """Go on, and see that everyone was told of everything once."""
        self.go.touch()
        assert await self.run.ends() == 3, self.run.told()
        assert await self.logs.ends() == 0, self.logs.told()
        assert self.run.out == self.logs.out == "first\nlast\n"
        assert self.run.err.splitlines()[0] == f"job {self.job}"
        assert (self.logs.err, self.watch.err) == ("", "")
        await self.watch.prints("JobFailed")
        told: list[Any] = [json.loads(line)["position"] for line in self.watch.out.splitlines()]
        assert len(set(told)) == len(told)
        for partition in {position.split("@")[0] for position in told}:
            mine = [position for position in told if position.startswith(f"{partition}@")]
            await platform.recorded(lambda r, last=mine[-1]: str(r.position) == last)  # type: ignore[misc]
            theirs = [str(r.position) for r in platform.seen if str(r.position).startswith(f"{partition}@")]
            assert mine == theirs[theirs.index(mine[0]) : theirs.index(mine[-1]) + 1]

    def close(self) -> None:
        for command in (self.run, self.logs, self.watch):
            command.close()


@pytest_asyncio.fixture
async def followers(platform: Cluster, tmp_path: Path) -> AsyncIterator[Followers]:
    followers = await Followers.start(platform, tmp_path / "go")
    try:
        yield followers
    finally:
        followers.close()


async def test_silence_and_a_restart_of_the_gateway(platform: Cluster, followers: Followers) -> None:
    await asyncio.sleep(SILENCE)
    assert all(command.process.poll() is None for command in (followers.run, followers.logs, followers.watch))
    platform.kill("gateway")
    await platform.submit("true", name="meanwhile", resources={"cpus": 0.1})  # straight to Kafka
    platform.start("gateway")
    await platform.healthy("gateway")
    await followers.check(platform)


async def test_a_restart_of_the_service_that_answers(platform: Cluster, followers: Followers) -> None:
    platform.kill("jobs")
    platform.start("jobs")
    await platform.healthy("jobs")
    await followers.check(platform)


async def test_a_kill_of_the_database(platform: Cluster, followers: Followers, database: Database) -> None:
    """The job ends while the database is away: its last lines come, however late they are taken in."""
    await database.kill()
    followers.go.touch()
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        asked = asyncio.create_task(client.jobs.list(limit=1))
        await platform.recorded(lambda r: r.meta.subject == followers.job and isinstance(r.data, JobFailed))
        await asyncio.sleep(6)  # longer than the output of an ended job is waited for
        await database.start_again()
        assert len(await asked) == 1
        await followers.check(platform)
        assert (await client.jobs.get(followers.job)).job.exit_code == 3


async def test_output_that_is_taken_in_late(platform: Cluster, followers: Followers, database: Database) -> None:
    """The job's end is known long before its last lines are: they are waited for all the same."""
    db = await asyncpg.connect(database.server.address)
    try:
        async with db.transaction():
            chunks = f"{platform.settings.schema_}_jobs_logs.chunks"
            await db.execute(f"lock table {chunks} in share mode")  # it is read, and not written to
            followers.go.touch()
            await platform.recorded(lambda r: r.meta.subject == followers.job and isinstance(r.data, JobFailed))
            await asyncio.sleep(8)  # longer than the output of an ended job is waited for
    finally:
        await db.close()
    await followers.check(platform)


async def test_rebuilds_under_queries(platform: Cluster) -> None:
    """Queries during the swap of the tables, on older connections, get an answer."""
    async with AsyncClient(platform.gateway, token=platform.key) as client:

        async def ask() -> None:
            while True:
                await client.jobs.list(limit=5)
                await client.jobs.list(limit=5, status=["completed"])
                await client.nodes.list()

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        try:
            for context in ("jobs", "resources"):
                await rebuild(platform.settings, context)
            assert not any(task.done() for task in asking), [task.exception() for task in asking if task.done()]
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
