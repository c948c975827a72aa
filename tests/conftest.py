"""Real servers for every test that asks for them; must not import a service or the platform's supervisor.

- `servers`: one broker and one Postgres for the whole session. Set FORGELOG_TEST_KAFKA and FORGELOG_TEST_POSTGRES to
  use a pair that is running already (`forgelog up --servers-only`), which saves its start.
  The workers of a parallel run (`pytest -n 2`) share one pair.
- `calm`: one platform a worker for all modules that leave its processes as they were; `platform` and `client` are that
  one and a client of it, where a module has none of its own.
- `settings`: a platform of the test's own on them: unique topic prefix and Postgres schemas, both removed afterwards.

Only processes started here are ended, by pid.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import asyncpg
import hypothesis
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from events.log.access import client_options
from events.process.settings import Settings
from forgelog.embedded.kafka import Kafka
from forgelog.embedded.postgres import Postgres
from forgelog.embedded.process import Child, EmbeddedError, wait_ready

if TYPE_CHECKING:
    from forgelog import AsyncClient
    from tests.integration.calm import Calm
    from tests.integration.cluster import Cluster


@dataclass(frozen=True)
class Servers:
    kafka: str
    """``host:port``"""
    postgres: str
    """DSN"""
    kafka_config: Path | None = None
    """With which the platform's own user gets into the broker; the other users' files are beside it."""


# Any machine tries the same examples, so a run that fails once fails again; new ones are looked for by `make explore`.
hypothesis.settings.register_profile(
    "test", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "explore", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile(os.environ.get("FORGELOG_HYPOTHESIS", "test"))


def pytest_configure() -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # so that `timeout` and CI systems, too, get the fixtures' clean-up

    signal.signal(signal.SIGTERM, interrupt)
    # A shell starts its background commands with SIGINT ignored, and exec keeps that: started so (by a CI system, say),
    # the commands that tests run and interrupt would be deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Before a parallel run starts its workers: start the servers that they share."""
    runner = asyncio.Runner()
    running = running_servers()
    try:
        servers = runner.run(running.__aenter__())
    except EmbeddedError as error:
        pytest.exit(f"the servers that the workers share can't be started: {error}", returncode=1)

    def stop() -> None:
        runner.run(running.__aexit__(None, None, None))
        runner.close()

    config.add_cleanup(stop)
    os.environ["FORGELOG_TEST_KAFKA"] = servers.kafka
    os.environ["FORGELOG_TEST_KAFKA_CONFIG"] = str(servers.kafka_config or "")
    os.environ["FORGELOG_TEST_POSTGRES"] = servers.postgres


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    # Half of what it takes to import tests is what pytest makes of their asserts, and it keeps that in __pycache__;
    # also where Python is not to write bytecode, as in many containers.
    sys.dont_write_bytecode = False
    # All that is made here stays to the end of the run, and to look again and again for what of it is garbage is a
    # quarter of the time.
    gc.disable()
    try:
        if "PYTEST_XDIST_WORKER" in os.environ:
            from tests.side_by_side import import_own_part

            import_own_part(session)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.side_by_side import Scheduling

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from tests.side_by_side import rank

    def file(item: pytest.Item) -> str:
        return item.nodeid.partition("::")[0]

    on_calm_platform = {file(item) for item in items if "calm" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: rank(file(item), on_calm_platform))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--durations-by-file", type=int, default=0, metavar="N", help="show the N slowest files, with their fixtures"
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    wanted = config.getoption("--durations-by-file")
    seconds: Counter[str] = Counter()
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    if wanted:
        terminalreporter.section(f"slowest {wanted} files")
        for file, spent in seconds.most_common(wanted):
            terminalreporter.write_line(f"{spent:7.1f}s {file}")


@pytest_asyncio.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    async with running_servers() as running:
        yield running


@asynccontextmanager
async def running_servers() -> AsyncIterator[Servers]:
    """A broker and a Postgres, started here unless the environment names a pair."""
    kafka, postgres = os.environ.get("FORGELOG_TEST_KAFKA"), os.environ.get("FORGELOG_TEST_POSTGRES")
    if kafka and postgres:
        config = os.environ.get("FORGELOG_TEST_KAFKA_CONFIG")
        yield Servers(kafka, postgres, Path(config) if config else None)
        return
    # Not pytest's own temporary folder: it takes away others' right to pass through, which Postgres needs under root.
    # Its name is as hard as a user's may be.
    folder = Path(tempfile.mkdtemp(prefix="forgelog tést, 数-"))
    broker = Kafka(folder / "kafka", folder / "logs" / "kafka.log")
    database = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    children: list[Child] = []
    try:
        specs = await asyncio.gather(asyncio.to_thread(broker.prepare), asyncio.to_thread(database.prepare))
        children.extend(Child.start(spec) for spec in specs)
        await wait_ready(children[0], broker.ready, broker.ready_seconds)
        await wait_ready(children[1], database.ready, database.ready_seconds)
        yield Servers(broker.address, database.address, broker.access.kafka_config)
    finally:
        await asyncio.gather(*(child.stop() for child in children))
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="session")
async def calm(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Calm]:
    from tests.integration.calm import Calm

    made = Calm(servers, tmp_path_factory.mktemp("calm"))
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module")
async def platform(calm: Calm) -> Cluster:
    """The calm one. A module whose platform is another has a fixture of its own, of this name."""
    return await calm.platform()


@pytest_asyncio.fixture
async def client(platform: Cluster) -> AsyncIterator[AsyncClient]:
    from forgelog import AsyncClient

    async with AsyncClient(platform.gateway, token=platform.key) as client:
        yield client


@pytest_asyncio.fixture
async def settings(servers: Servers, tmp_path: Path) -> AsyncIterator[Settings]:
    async with own_settings(servers, tmp_path) as made:
        yield made


@asynccontextmanager
async def own_settings(servers: Servers, folder: Path) -> AsyncIterator[Settings]:
    """Settings of a platform of one's own, whose data is in `folder`."""
    name = f"t{uuid.uuid4().hex[:10]}"
    made = Settings(
        kafka=servers.kafka,
        kafka_config=servers.kafka_config,
        postgres=servers.postgres,
        prefix=f"{name}.",
        schema_=name,
        data=folder / "data",
        gateway="127.0.0.1:0",
    )
    yield made
    await remove_topics(made)
    await remove_schemas(made)


async def remove_topics(settings: Settings) -> None:
    """Best effort: a test may have ended the broker, and a left-over topic has a name nobody uses."""
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=5000)
    try:
        await admin.start()
        names = [name for name in await admin.list_topics() if name.startswith(settings.prefix)]
        if names:
            await admin.delete_topics(names)
    except (KafkaError, OSError):
        return
    finally:
        await admin.close()


async def remove_schemas(settings: Settings) -> None:
    """Best effort, as above."""
    try:
        connection = await asyncpg.connect(settings.postgres_required, timeout=5)
    except (OSError, asyncpg.PostgresError):
        return
    try:
        rows = await connection.fetch(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", settings.schema_
        )
        await connection.execute("SET lock_timeout = '10s'")
        for row in rows:
            await connection.execute(f'DROP SCHEMA "{row["nspname"]}" CASCADE')
    except asyncpg.LockNotAvailableError as error:
        # What a test started must have ended by now: say what has not.
        held = "SELECT state, query, xact_start FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()"
        raise AssertionError(f"{error}; still at work: {[dict(row) for row in await connection.fetch(held)]}") from None
    finally:
        await connection.close()
