"""Starting, stopping and looking at a platform, for the command line, the demo and tests.

Servers come, in this order, from what is given (FORGELOG_KAFKA, FORGELOG_POSTGRES), a Docker engine, or the embedded
pair; the choice is remembered in the data folder. Must not know how results are shown.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil
from aiokafka.errors import KafkaError

from events.process.keys import FOLDER as KEYS
from events.process.keys import OWNER, KeyFileProblem, ensure_key, key_path, read_key
from events.process.settings import Settings, SettingsError
from forgelog.embedded import docker, jars
from forgelog.embedded.environment import from_here, refuse_addresses, refuse_lost_log, refuse_other_server
from forgelog.embedded.kafka import broker_answers
from forgelog.embedded.kafka_users import PLATFORM, Users
from forgelog.embedded.layout import ChildState, Folder, Lock, PlatformState, Server, Source, Wanted
from forgelog.embedded.nodes import Nodes, NotAnswered
from forgelog.embedded.passfile import with_passfile
from forgelog.embedded.postgres import database_answers
from forgelog.embedded.process import POLL, EmbeddedError, end, exit_of, log_tail, until
from forgelog.embedded.roster import asked, node_name, see_contexts
from forgelog.embedded.router import RouterPlace
from forgelog.embedded.standing import Standing
from forgelog.embedded.waiting import given_up, is_up, not_up, restarts_of

THREE_WAYS = (
    "Three ways to have it: set {variable} to one you run; start a Docker engine (with the compose plugin) and use "
    "`forgelog up --servers docker`; or let Forgelog run its own: `forgelog up --servers embedded`."
)

GIVEN_PASSFILE = "postgres-given.pgpass"
"""Another file than the embedded server's, whose password must not be lost."""

DOCKER_SECONDS = 180.0
"""How long Docker's broker may take to answer once Docker says that it runs."""

_SERVERS = ("FORGELOG_KAFKA", "FORGELOG_KAFKA_CONFIG", "FORGELOG_POSTGRES")

_STOP_ORDER = ("router", "agent", "service", "server")


class Choice(StrEnum):
    """Where servers that aren't given come from."""

    AUTO = "auto"
    DOCKER = "docker"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Options:
    servers: Choice = Choice.AUTO
    services: bool | None = None
    """None: as the last time, at first yes."""
    agents: int | None = None
    """None: as the last time, at first one."""


class Platform:
    """The platform in one data folder."""

    def __init__(self, data: Path | None = None) -> None:
        try:
            self.settings = Settings.load(data=data.expanduser().absolute()) if data else Settings.load()
        except SettingsError as error:
            raise EmbeddedError(str(error)) from error
        self.folder = Folder(self.settings.data)

    def state(self) -> PlatformState | None:
        return self.folder.read_state()

    @property
    def supervised(self) -> bool:
        """Whether its supervisor lives."""
        return (state := self.state()) is not None and state.supervisor.alive

    async def up(
        self,
        options: Options | None = None,
        progress: jars.Progress | None = None,
        seconds: float | None = None,
        seen: Callable[[str], None] | None = None,
    ) -> None:
        """See that a supervisor runs and knows what is wanted; does not wait for its children, see `wait`. `seconds`
        that the supervisor may take to start, and who is told, again and again, what is waited for. Raises
        EmbeddedError."""
        see_contexts(self.folder, running=self.supervised)
        if not self.supervised:
            refuse_lost_log(self.folder, self.settings)
            refuse_addresses(self.folder, self.settings)
        self.folder.make()
        self._make_keys()
        wanted = await self._choose(options or Options())
        if "embedded" in (wanted.kafka.source, wanted.postgres.source):
            # Here rather than in the supervisor: the person who waits sees the progress, and the error.
            await asyncio.to_thread(jars.fetch, progress)
        self.folder.write_wanted(wanted)
        if (state := self.state()) is not None and state.supervisor.alive:
            os.kill(state.supervisor.pid, signal.SIGHUP)
            return
        await self.supervise(seconds, seen)

    async def supervise(self, seconds: float | None = None, seen: Callable[[str], None] | None = None) -> None:
        """Start a supervisor, and wait for its own word: what the last one left behind says nothing. One that lives is
        waited for; one that has ended is told of at once. Raises EmbeddedError."""
        began = time.monotonic()
        process = self._spawn()
        while not self.supervised:
            code, waited = process.poll(), time.monotonic() - began
            if code is not None and code != Lock.TAKEN:
                raise EmbeddedError(f"the supervisor has ended ({exit_of(code)}). {self._log_tail()}")
            if given_up((), {}, waited, seconds):
                raise EmbeddedError(f"the supervisor has not started after {waited:.0f} s. {self._log_tail()}")
            if code is not None:  # another process has the folder: it ends soon, or says that it supervises
                process = self._spawn()
            if seen is not None:
                seen("supervisor (starting)")
            await asyncio.sleep(POLL)

    def _log_tail(self) -> str:
        return log_tail(self.folder.log("supervisor"))

    def _make_keys(self) -> None:
        """Those that are not there yet. Raises EmbeddedError."""
        try:
            ensure_key(key_path(self.folder.path, OWNER))
        except KeyFileProblem as problem:
            raise EmbeddedError(str(problem)) from None

    @property
    def key(self) -> str:
        """The owner's. Raises EmbeddedError."""
        try:
            return read_key(key_path(self.folder.path, OWNER))
        except KeyFileProblem as problem:
            raise EmbeddedError(str(problem)) from None

    async def wait(
        self, seconds: float | None = None, seen: Callable[[PlatformState], None] | None = None
    ) -> PlatformState:
        """Until every wanted child is up and the tables show every node. Raises EmbeddedError naming what is not after
        so many seconds; left out: while what starts lives and nothing fails, see `forgelog.embedded.waiting`."""
        began, before, standing = time.monotonic(), None, Standing(lambda: self.contexts(self.report()))
        while True:
            state, wanted = self.state(), self.folder.read_wanted()
            if state is None or wanted is None or not state.supervisor.alive:
                raise EmbeddedError(f"the supervisor has ended. {self._log_tail()}")
            if before is None:
                before = restarts_of(state.children)
            if seen is not None:
                seen(state)
            if is_up(state, wanted) and await asyncio.to_thread(self._nodes_are_shown, state, wanted):
                return state
            waited = time.monotonic() - began
            if given_up(state.children, before, waited, seconds):
                raise EmbeddedError(not_up(state, waited))
            await standing.look(waited)
            await asyncio.sleep(POLL)

    def _nodes_are_shown(self, state: PlatformState, wanted: Wanted) -> bool:
        """Blocks."""
        agents = wanted.agents if wanted.services else 0
        try:
            nodes = Nodes(state.gateway, self.settings.pool, self.folder.path) if agents else None
            return nodes is None or all(
                nodes.is_kept_by(node, self.folder.path / "agents" / node) for node in map(node_name, range(agents))
            )
        except NotAnswered:
            return False

    async def down(self, *, keep_jobs: bool = False) -> bool:
        """End everything, agents first. False when nothing ran. The data stays."""
        state, wanted = self.state(), self.folder.read_wanted()
        if wanted is not None:
            self.folder.write_wanted(replace(wanted, keep_jobs=keep_jobs))
        was_running = False
        if state is not None and state.supervisor.alive:
            was_running = True
            os.kill(state.supervisor.pid, signal.SIGTERM)
            # The supervisor gives each kind its grace; the longest are the agents', whose tasks have one too.
            supervisor = state.supervisor
            if not await until(lambda: not supervisor.alive, 120):
                raise EmbeddedError(f"the supervisor (pid {supervisor.pid}) does not end. {self._log_tail()}")
            state = self.state()
        if state is not None:
            was_running = await self._end_left_over(state) or was_running
        if wanted is not None and "docker" in (wanted.kafka.source, wanted.postgres.source):
            await asyncio.to_thread(docker.Docker(self.folder.path).stop)
        return was_running

    def report(self) -> dict[str, Any]:
        """Plain data for `status`: checked against the processes that really live."""
        state, wanted = self.state(), self.folder.read_wanted()
        if state is None or wanted is None:
            return {"state": "down", "data": str(self.folder.path), "children": []}
        supervised = state.supervisor.alive
        children = [_report(child, supervised) for child in state.children]
        supervisor = ChildState(
            "supervisor", "supervisor", "running" if supervised else "stopped", log=str(self.folder.log("supervisor"))
        )
        if supervised:
            supervisor.pid, supervisor.started = state.supervisor.pid, state.supervisor.started
        running = [child for child in children if child["pid"]]
        word = "up" if supervised and is_up(state, wanted) else "starting" if supervised else "down"
        if not supervised and running:
            word = "unsupervised"
        elif supervised and any(child["state"] in ("not_ready", "frozen") for child in children):
            word = "unready"
        every = [_report(supervisor, True), *children]
        return {
            "state": word,
            "data": str(self.folder.path),
            "gateway": state.gateway,
            "kafka": state.kafka,
            "kafka_source": wanted.kafka.source,
            "postgres": state.postgres,
            "postgres_source": wanted.postgres.source,
            "rss_bytes": sum(child["rss_bytes"] or 0 for child in every),
            "children": every,
        }

    async def contexts(self, report: dict[str, Any]) -> list[dict[str, Any]]:
        """How the services of a `report` fare, and placed jobs that nobody starts; see `forgelog.embedded.contexts`."""
        from events.queries.callers import services_key_path
        from forgelog.embedded.contexts import ask_all, late_jobs, launchers, not_asked

        services = asked(self.folder, report["children"])
        try:
            key = read_key(services_key_path(self.settings))
        except KeyFileProblem as problem:  # another one than theirs would not do: it is theirs to make
            return [not_asked(name, f"{problem}; restart the platform") for name in services]
        told = await ask_all(services, key)
        for each in told:
            name, ready = each["context"], each["ready"]
            each["late"] = await late_jobs(services[name], key) if name == "jobs" and ready else []
            each["launchers"] = await launchers(services[name], key) if name == "resources" and ready else {}
        return told

    async def _end_left_over(self, state: PlatformState) -> bool:
        """Without a supervisor: end the children it left, in the same order."""
        found = False
        for kind in _STOP_ORDER:
            alive = [
                (child.name, child.identity)
                for child in state.children
                if child.kind == kind and child.identity is not None and child.identity.alive
            ]
            found = found or bool(alive)
            signals = signal.SIGTERM if kind != "server" else signal.SIGINT
            await asyncio.gather(*(end(name, identity, number=signals) for name, identity in alive))
        await asyncio.to_thread(RouterPlace(self.folder.path).end_envoy)
        for child in state.children:
            child.state, child.pid, child.started = "stopped", 0, ""
        state.gateway = ""
        lock = Lock(self.folder)
        if lock.acquire():  # else a new supervisor has begun: the file is its own now
            self.folder.write_state(state)
            lock.release()
        return found

    def _spawn(self) -> subprocess.Popen[bytes]:
        log = self.folder.log("supervisor")
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "forgelog.embedded.supervisor", str(self.folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder.path,
                # Whom it starts is told servers one by one; the agents, for example, no database.
                env={name: value for name, value in from_here(os.environ).items() if name not in _SERVERS},
                start_new_session=True,
            )

    async def _choose(self, options: Options) -> Wanted:
        before = self.folder.read_wanted()
        kafka = await self._server("kafka", self.settings.kafka, before.kafka if before else None, options.servers)
        postgres = await self._server(
            "postgres", self.settings.postgres, before.postgres if before else None, options.servers
        )
        if "docker" in (kafka.source, postgres.source):
            names = [name for name, server in (("kafka", kafka), ("postgres", postgres)) if server.source == "docker"]
            addresses = await asyncio.to_thread(docker.Docker(self.folder.path).up, names)
            if kafka.source == "docker":
                kafka = await self._admitted(replace(kafka, address=addresses[0]))
            if postgres.source == "docker":
                postgres = replace(postgres, address=addresses[1])
        # Of a given one, of Docker's, and of one that a version before remembered with its password.
        postgres = replace(
            postgres, address=with_passfile(postgres.address, key_path(self.folder.path, GIVEN_PASSFILE))
        )
        services = options.services if options.services is not None else (before.services if before else True)
        agents = options.agents if options.agents is not None else (before.agents if before else 1)
        return Wanted(kafka, postgres, services, agents)

    async def _admitted(self, kafka: Server) -> Server:
        """Docker's broker, once it answers and knows its users."""
        users = Users(self.folder.path / KEYS)
        access = Settings(kafka=kafka.address, kafka_config=users.file(PLATFORM), prefix=self.settings.prefix)
        deadline = time.monotonic() + DOCKER_SECONDS
        while not await broker_answers(access):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"the broker in Docker does not answer at {kafka.address}")
            await asyncio.sleep(0.2)
        try:
            await users.admit(access)
        except (KafkaError, OSError) as error:
            raise EmbeddedError(f"the broker in Docker takes no users: {error}") from error
        return replace(kafka, config=str(access.kafka_config))

    async def _server(self, name: str, given: str | None, before: Server | None, choice: Choice) -> Server:
        variable = f"FORGELOG_{name.upper()}"
        if given:
            config = self.settings.kafka_config if name == "kafka" else None
            server = Server("given", given, str(config.absolute()) if config else "")
            refuse_other_server(self.folder.path, variable, before, server, running=self.supervised)
            await self._check(name, variable, server)
            return server
        if before is not None and choice is Choice.AUTO:
            if before.source == "given":
                await self._check(name, f"{variable}, remembered from the last `up`,", before)
            return before
        source: Source = "embedded"
        if choice is Choice.DOCKER or (choice is Choice.AUTO and await asyncio.to_thread(docker.available)):
            source = "docker"
        if before is not None and before.source != source:
            raise EmbeddedError(
                f"the data of {self.folder.path} is in the {before.source} {name}; with another one it would seem "
                f"lost. Use another folder (--data) for {choice.value} servers."
            )
        return Server(source)

    async def _check(self, name: str, variable: str, server: Server) -> None:
        if name == "kafka":
            config = Path(server.config) if server.config else None
            try:
                there = await broker_answers(Settings(kafka=server.address, kafka_config=config))
            except SettingsError as error:
                raise EmbeddedError(str(error)) from error
        else:
            there = await database_answers(server.address)
        if not there:
            shown = server.address if name == "kafka" else "the given address"
            raise EmbeddedError(f"{variable}: no {name} answers at {shown}. {THREE_WAYS.format(variable=variable)}")


def _report(child: ChildState, supervised: bool) -> dict[str, Any]:
    process = child.identity.process() if child.identity else None
    rss: int | None = None
    frozen = False
    if process is not None:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            frozen = process.status() == psutil.STATUS_STOPPED
            rss = process.memory_info().rss + sum(_own(each) for each in process.children(recursive=False))
    word = child.state
    if process is None and child.state in ("ready", "running", "not_ready", "starting", "stopping"):
        word = "stopped" if not supervised else child.state
    problem = child.problem
    if process is not None and frozen:
        word = "frozen"
        problem = f"its process was stopped by a signal; let it go on: kill -CONT {process.pid}"
    return {
        "name": child.name,
        "kind": child.kind,
        "state": word,
        "pid": process.pid if process else None,
        "since": datetime.fromtimestamp(process.create_time(), UTC) if process else None,
        "restarts": child.restarts,
        "last_exit": child.last_exit or None,
        "rss_bytes": rss,
        "address": child.address or None,
        "problem": problem or None,
        "log": child.log,
    }


def _own(process: psutil.Process) -> int:
    """A helper process's memory without what it shares: Postgres' backends map the same buffers."""
    try:
        info = process.memory_info()
        return int(info.rss - getattr(info, "shared", 0)) if process.name() == "postgres" else 0
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
