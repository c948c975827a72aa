"""MLflow's door beside MLflow's own server: the requests of its client, recorded, played at both in the same run.

The client itself costs more than the door (17 ms a `log_batch` of 1,000), so what it reaches is shown beside. Each
request that is played is a new one: it is of a run that has none of its points yet. Each server is played at by few
connections and by many, and what counts is its best: MLflow's on sqlite does worse by many.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import orjson
import psutil
from rich.console import Console

from bench.mlflow_client import COUNTS, METRICS
from bench.peers import mlflow_server
from bench.peers.environment import Unavailable
from bench.player import Recorded, play
from bench.report import Figure
from bench.servers import cpu_seconds, tree
from events.process.settings import Settings
from forgelog.embedded.passfile import password_in
from tests.integration.cluster import Cluster, cluster

SECONDS = 4.0
"""Of each kind of request, by each number of connections, at each server, in each turn."""
WARM = 0.5
AT_REST = 0.3
"""Of a CPU, what servers may use that nobody asks."""
MOST_SETTLING = 30.0
"""Seconds."""
MOST_OF_CLIENT = 2
"""Turns of the client itself, which needs half a minute at MLflow's server."""
CREATE, METRIC, BATCH = COUNTS
CONNECTIONS = {CREATE: (8, 32, 256, 512), METRIC: (8, 32, 256), BATCH: (8,)}
"""MLflow's server on sqlite answers none of 32 `log-batch` at once: its connections to the database run out."""
MOST_ON_SQLITE = 32
"""After 128 it answers nothing any more, for minutes."""
MOST_ON_POSTGRES = 256
TARGETS = {CREATE: 10.0, METRIC: 10.0, BATCH: 15.0}
"""As many times what MLflow's server does."""
NAMES = {CREATE: "runs/create", METRIC: "log-metric", BATCH: f"log-batch of {METRICS:,}"}


@dataclass(slots=True)
class Server:
    """One that is measured, and what it did of each kind: requests/s, played and by the client."""

    name: str
    address: str
    pid: int = 0
    """Of its first process; 0: ours."""
    database: str = ""
    """How the processes of its database are called, which are ours too."""
    most: int = max(CONNECTIONS[CREATE])
    """Connections at once that it stays up with."""
    spent: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in COUNTS})
    """Milliseconds of CPU a request."""
    played: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in COUNTS})
    client: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in COUNTS})
    failed: dict[str, str] = field(default_factory=dict)
    """What it refused: an answer of each kind. None of them counts."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What the client sent of one run."""

    run: str
    requests: dict[str, list[Recorded]]

    @classmethod
    def read(cls, path: Path, run: str) -> Recording:
        found: dict[str, list[Recorded]] = {kind: [] for kind in COUNTS}
        for line in path.read_bytes().splitlines():
            request = Recorded(**orjson.loads(line))
            for kind, requests in found.items():
                if request.path.endswith(kind):
                    requests.append(request)
        return cls(run, found)

    def creating(self, address: str) -> Iterator[bytes]:
        """Without an end: each makes another run."""
        return itertools.cycle([request.raw(address, {}) for request in self.requests[CREATE]])

    def logging(self, kind: str, address: str, runs: list[str]) -> Iterator[bytes]:
        """All that was logged, again for each run, which is taken from the list; requests that follow each other are of
        different runs."""
        while group := [runs.pop() for _ in range(min(len(runs), 16))]:
            for request in self.requests[kind]:
                for run in group:
                    yield request.raw(address, {self.run: run})


async def client_of(server: Server, key: str, record: Path | None = None) -> tuple[str, dict[str, float]]:
    """What the unchanged client does there: its run, and requests/s of each kind."""
    own = {**os.environ, "MLFLOW_TRACKING_TOKEN": key, "MLFLOW_DISABLE_TELEMETRY": "true"}
    words = ["--record", str(record)] if record else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.mlflow_client", f"http://{server.address}", *words,
        env=own, stdout=PIPE, stderr=PIPE, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    out, problems = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"MLflow's client at {server.name}: {problems.decode(errors='replace').strip()[-600:]}")
    found = orjson.loads(out.splitlines()[-1])
    return found["run"], found["rates"]


async def turn(server: Server, servers: Sequence[Server], recording: Recording, seconds: float) -> None:
    """Play each kind at a server."""
    runs: list[str] = []
    for kind, numbers in CONNECTIONS.items():
        best, spent = 0.0, 0.0
        for connections in (number for number in numbers if number <= server.most):
            if kind == CREATE:
                requests = recording.creating(server.address)
            else:
                requests = recording.logging(kind, server.address, runs)
            await settled()
            before = cpu(server, servers)
            played = await play(server.address, requests, seconds, connections, keep=kind == CREATE)
            if played.rate > best:
                best, spent = played.rate, (cpu(server, servers) - before) / played.answers * 1000
            if played.failed:
                server.failed[f"{NAMES[kind]} by {connections} connections"] = played.failed[0]
            runs += [orjson.loads(body)["run"]["info"]["run_id"] for body in played.bodies]
        server.played[kind].append(best)
        server.spent[kind].append(spent)


async def settled() -> None:
    """Returns once the servers have ended what they were given: a connection that is closed leaves its request behind,
    and seconds of work for the CPUs that the next server, or the next number of connections, is measured on."""
    until = time.monotonic() + MOST_SETTLING
    while time.monotonic() < until:
        here = [each for each in tree(psutil.Process()) if each.pid != os.getpid()]
        before = cpu_seconds(here)
        await asyncio.sleep(0.5)
        if cpu_seconds(here) - before < 0.5 * AT_REST:
            return


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """A database of its own for MLflow on the Postgres that we measure with, as its address for SQLAlchemy."""
    name = f"{settings.schema_}_mlflow"
    connection = await asyncpg.connect(settings.postgres_required)
    try:
        await connection.execute(f'create database "{name}"')
        try:
            yield sqlalchemy_address(settings.postgres_required, name)
        finally:
            await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()


def sqlalchemy_address(dsn: str, database: str) -> str:
    """Our address of a Postgres as SQLAlchemy takes it, with another database."""
    parts = urlsplit(dsn)
    named = parse_qs(parts.query).get("passfile")
    password = password_in(Path(named[0])) if named else parts.password or ""
    host = f"{parts.hostname or '127.0.0.1'}:{parts.port or 5432}"
    return f"postgresql+psycopg2://{quote(parts.username or '')}:{quote(password, safe='')}@{host}/{database}"


async def peers(settings: Settings, folder: Path, stack: AsyncExitStack) -> list[Server]:
    """MLflow's servers, as far as they are there; what is not is named on standard error."""
    found: list[Server] = []
    try:
        version = mlflow_server.version()
        sqlite = mlflow_server.server(f"sqlite:///{folder}/mlflow.db", folder / "sqlite")
        address, pid = await stack.enter_async_context(sqlite)
        found.append(Server(f"MLflow {version}'s server on sqlite", address, pid, most=MOST_ON_SQLITE))
        store = await stack.enter_async_context(database(settings))
        address, pid = await stack.enter_async_context(mlflow_server.server(store, folder / "postgres"))
        found.append(Server(f"MLflow {version}'s server on Postgres", address, pid, "postgres", MOST_ON_POSTGRES))
    except Unavailable as error:
        _say(f"MLflow's server can't be measured here: {error}")
    return found


def cpu(server: Server, servers: Sequence[Server]) -> float:
    """Seconds of CPU that a server's processes have taken. Ours are all services, broker and Postgres; all were started
    here."""
    theirs = {each.pid: tree(psutil.Process(each.pid)) for each in servers if each.pid}
    here = [each for each in tree(psutil.Process()) if each.pid != os.getpid()]
    if server.pid:
        counted = [
            *theirs[server.pid],
            *(each for each in here if server.database and server.database in name_of(each)),
        ]
    else:
        others = {each.pid for group in theirs.values() for each in group}
        counted = [each for each in here if each.pid not in others]
    return cpu_seconds(counted)


def name_of(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


async def measure(platform: Cluster, others: list[Server], folder: Path, runs: int) -> list[Server]:
    """Ours first. The servers take turns, so what the machine does meanwhile meets them all."""
    ours = Server("Forgelog", platform.gateway)
    servers = [ours, *others]
    run, _ = await client_of(ours, platform.key, folder / "recorded")
    recording = Recording.read(folder / "recorded", run)
    for server in servers:
        await turn(server, servers, recording, WARM)
        for kept in (server.played, server.spent):
            for found in kept.values():
                found.clear()
    for _ in range(runs):
        for server in servers:
            await turn(server, servers, recording, SECONDS)
    for _ in range(min(runs, MOST_OF_CLIENT)):
        for server in servers:
            _, rates = await client_of(server, platform.key)
            for kind, rate in rates.items():
                server.client[kind].append(rate)
    for server in servers:
        for kind, answer in server.failed.items():
            _say(f"{server.name} refused some {kind}: {answer}")
    if ours.failed:
        raise RuntimeError("MLflow's door refused recorded requests: see above")
    return servers


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _counts_all() -> bool:
    """Whether broker and Postgres were started here, so that their CPU is known."""
    return not (os.environ.get("FORGELOG_TEST_KAFKA") and os.environ.get("FORGELOG_TEST_POSTGRES"))


def compared(servers: list[Server]) -> list[Figure]:
    """The rows: rates, and in the same turn how many times those of each other server."""
    ours, *others = servers
    found = []
    for kind, name in NAMES.items():
        first = others[0].played[kind] if others else []
        limit = others[0].name if others else ""
        found.append(Figure(f"recorded {name}, MLflow's door", "requests/s", ours.played[kind], first, limit))
        for other in others:
            times = [mine / theirs for mine, theirs in zip(ours.played[kind], other.played[kind], strict=True)]
            found.append(Figure(f"recorded {name}: times {other.name}", "times", times, target=TARGETS[kind]))
            if _counts_all():
                said = f"recorded {name}: CPU of all processes a request"
                own, its = ours.spent[kind], other.spent[kind]
                found.append(Figure(said, "ms", own, its, f"of {other.name}", higher_is_better=False))
    for kind, name in NAMES.items():
        first = others[0].client[kind] if others else []
        limit = f"at {others[0].name}" if others else ""
        found.append(Figure(f"{name} by MLflow's client", "requests/s", ours.client[kind], first, limit))
    return found


async def figures(settings: Settings, runs: int) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    try:
        async with cluster(settings, folder, nodes=0, gateway=True) as platform, AsyncExitStack() as stack:
            platform.watch_no_more()
            others = await peers(settings, folder / "peers", stack)
            return compared(await measure(platform, others, folder, runs))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
