"""A whole platform of a test's own: real services and agents as processes, commands by a plain Kafka producer.

Knows the platform as a stranger does: topics, headers, JSON, environment variables.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import grpc
import httpx
import orjson
import psutil
from aiokafka import AIOKafkaProducer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from events.language.contexts import TOGETHER, contexts, processes
from events.language.jobs import JobStarted, TaskStart
from events.log import topics
from events.log.access import client_options
from events.log.envelope import Recorded
from events.log.ids import derived_id
from events.log.tail import Tail
from events.process.keys import OWNER, REPLICAS, ensure_key, key_path
from events.process.keys import SERVICES as KEY_OF_SERVICES
from events.process.settings import Settings
from forgelog.client.keyed import KeyedChannel
from forgelog.embedded.kafka_users import AGENT, PRODUCER
from forgelog.embedded.ports import free_port
from tests import PATIENCE
from tests.access import admit_users, as_user, environment

SERVICES = tuple(contexts())
GATEWAY = "gateway"
SHARING = processes()[TOGETHER]
"""Contexts of one process, as they are in a platform that is embedded: each process costs its start."""
FORGELOG = (sys.executable, "-c", "from forgelog.cli import main; main()")
"""The command line of this very checkout."""


def program(name: str) -> tuple[str, ...]:
    """The module of a service, and the contexts that it is told."""
    if name == GATEWAY:
        return ("services.gateway",)
    spec = contexts()[name]
    return (spec.package,) if spec.hosted == "alone" else ("services", name)


class Cluster:
    """Starts, watches and ends processes; keeps every event it has seen."""

    def __init__(self, settings: Settings, folder: Path, lost_seconds: float = 20.0) -> None:
        self.settings = settings
        self.lost_seconds = lost_seconds
        self.folder = folder
        self.seen: list[Recorded] = []
        self.watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {name: free_port() for name in (*SERVICES, GATEWAY, TOGETHER)}
        self._together: tuple[str, ...] = ()
        self._producer: AIOKafkaProducer | None = None
        self.key_file = key_path(folder, OWNER)
        self.key = ensure_key(self.key_file)

    @property
    def credentials(self) -> dict[str, str]:
        """What opens the gateway: a header, or with `.items()` the metadata of a gRPC call."""
        return {"authorization": f"Bearer {self.key}"}

    @property
    def place(self) -> dict[str, str]:
        """Variables by which a command line or a program of its own finds the platform."""
        return {"FORGELOG_GATEWAY": self.gateway, "FORGELOG_TOKEN_FILE": str(self.key_file)}

    def channel(self, options: Any = ()) -> Any:
        """A gRPC channel to the gateway that carries the key."""
        return KeyedChannel(grpc.aio.insecure_channel(self.gateway, options), self.key)

    def service_channel(self, service: str, options: Any = ()) -> Any:
        """A gRPC channel to a service's own port that carries the platform's key."""
        key = ensure_key(key_path(self.folder, KEY_OF_SERVICES))
        return KeyedChannel(grpc.aio.insecure_channel(self.address(service), options), key)

    def http(self) -> httpx.AsyncClient:
        """An HTTP client of the gateway that carries the key."""
        return httpx.AsyncClient(base_url=f"http://{self.gateway}", headers=self.credentials, timeout=PATIENCE)

    @property
    def gateway(self) -> str:
        """The gateway's ``host:port``."""
        return f"127.0.0.1:{self._ports[GATEWAY]}"

    def address(self, service: str) -> str:
        """A service's own ``host:port``."""
        return f"127.0.0.1:{self._ports[service]}"

    async def command(
        self,
        folder: Path,
        *words: str,
        more: Mapping[str, str] = MappingProxyType({}),
        patience: float = PATIENCE,
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in a folder, on this platform, for at most so many seconds; `more` is its
        environment's."""
        return await asyncio.to_thread(
            subprocess.run,
            [*FORGELOG, *words],
            env={**os.environ, **self.place, **more},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=patience,
        )

    # Processes

    def start(self, name: str, *together: str) -> None:
        """Start a service, with those that share its process; with `together`, these contexts in one of that name."""
        if not together and self._process_of(name) == TOGETHER:
            name, together = TOGETHER, self._together
        told = self._told(name)
        if together:
            told["FORGELOG_INSTANCE"] = "{context}-0"
            self._run(name, "services", told, *together)
        else:
            module, *argv = program(name)
            self._run(name, module, told, *argv)

    def start_gateway(self, name: str, **more: str) -> str:
        """Start a gateway beside the platform's own, with these variables; its ``host:port``."""
        self._ports[name] = free_port()
        self._run(name, "services.gateway", {**self._told(name), "FORGELOG_GATEWAY": self.address(name), **more})
        return self.address(name)

    def _told(self, name: str) -> dict[str, str]:
        return {
            **environment(self.settings),
            "FORGELOG_SEAL_SECONDS": "1",
            "FORGELOG_CPU_HOUR_PRICE": "3600",
            "FORGELOG_SCHEMA": self.settings.schema_,
            "FORGELOG_DATA": str(self.folder),
            "FORGELOG_SERVICES": ",".join(f"{service}=127.0.0.1:{self._ports[service]}" for service in SERVICES),
            "FORGELOG_LISTEN": f"127.0.0.1:{self._ports[name]}",
        }

    def host(self, *names: str) -> None:
        """Let the process `TOGETHER` answer for these contexts."""
        self._ports |= dict.fromkeys(names, self._ports[TOGETHER])
        self._together = names

    def _process_of(self, name: str) -> str:
        return TOGETHER if name in self._together else name

    def start_agent(self, node: str, *, process: str = "", **more: str) -> None:
        """Start a node's agent; `process` names one that claims a node's name beside the node's own agent."""
        process = process or node
        own = self.folder / process
        own.mkdir(parents=True, exist_ok=True)
        told = {
            **environment(as_user(self.settings, AGENT)),
            "FORGELOG_POSTGRES": "",
            "FORGELOG_NODE": node,
            "FORGELOG_AGENT_DIR": str(own),
            "FORGELOG_DATA": str(own),
            "FORGELOG_REPLICAS_KEY_FILE": str(key_path(self.folder, REPLICAS)),
        }
        self._run(process, "services.resources.agent", {**told, **more})

    def _run(self, name: str, module: str, extra: dict[str, str], *argv: str) -> None:
        environment = {
            **os.environ,
            "FORGELOG_PREFIX": self.settings.prefix,
            **self.place,
            "FORGELOG_NODE_LOST_SECONDS": str(self.lost_seconds),
            "FORGELOG_INSTANCE": f"{name}-0",
            "PYTHONUNBUFFERED": "1",
            **extra,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *argv],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )

    def processes(self) -> list[psutil.Process]:
        """Services and agents, without those that have ended by themselves."""
        return [psutil.Process(process.pid) for process in self._processes.values() if process.poll() is None]

    def process(self, name: str) -> psutil.Process:
        """Of a service or an agent."""
        return psutil.Process(self._processes[self._process_of(name)].pid)

    def kill(self, name: str) -> None:
        """End a process with -9: a service's is that of all which share it."""
        process = self._processes.pop(self._process_of(name))
        process.kill()
        process.wait()

    def end(self, name: str) -> None:
        """End a process with SIGTERM, as `kill` does."""
        process = self._processes.pop(self._process_of(name))
        process.terminate()
        process.wait(PATIENCE)

    def kill_node(self, node: str) -> None:
        """End an agent and every task it started with -9, as if the machine's power was cut."""
        self.kill(node)
        for record in self.seen:
            if isinstance(record.data, JobStarted) and record.data.node_id == node:
                for task in record.data.tasks:
                    end_tree(task)

    async def healthy(self, name: str) -> None:
        """Wait until a service serves."""
        async with (
            asyncio.timeout(PATIENCE),
            grpc.aio.insecure_channel(f"127.0.0.1:{self._ports[name]}") as channel,
        ):
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                with suppress(grpc.aio.AioRpcError):
                    answer = await stub.Check(health_pb2.HealthCheckRequest())
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                process = self._processes[self._process_of(name)]
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended with {process.returncode}:\n{self.log(name)[-4000:]}")
                await asyncio.sleep(0.05)

    def log(self, name: str) -> str:
        return (self.folder / f"{self._process_of(name)}.log").read_text()

    def stop(self, *, tasks: bool = True) -> None:
        """End everything; with `tasks`, theirs too."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for record in self.seen if tasks else ():
            if isinstance(record.data, JobStarted):
                for task in record.data.tasks:
                    end_tree(task)

    # Commands and events

    async def publish(self, context: str, type_name: str, body: dict[str, Any], id: str = "", key: str = "") -> str:
        """Publish a command as any producer in any language would: headers and JSON. Returns its id."""
        if self._producer is None:
            self._producer = AIOKafkaProducer(**client_options(as_user(self.settings, PRODUCER)))
            await self._producer.start()
        id = id or uuid.uuid4().hex
        await self._producer.send_and_wait(
            f"{self.settings.prefix}commands.{context}",
            key=key.encode() or None,
            value=orjson.dumps(body),
            headers=[("ce_id", id.encode()), ("ce_type", f"forgelog.{context}.v1.{type_name}".encode())],
        )
        return id

    async def submit(self, command: str, *args: str, name: str = "test", **spec: Any) -> str:
        """Submit a job; its id."""
        body = {"spec": {"metadata": {"name": name}, "command": command, "args": args, **spec}}
        return derived_id("j", await self.publish("jobs", "SubmitJob", body))

    async def watch(self) -> None:
        """Keep every event from now on, until cancelled."""
        async with Tail(self.settings, SERVICES, start="beginning") as tail:
            while True:
                found = await tail.poll(1.0)
                if found:
                    async with self._changed:
                        self.seen += found
                        self._changed.notify_all()

    def watch_no_more(self) -> None:
        """Keep no further event: reading them all costs what a benchmark measures."""
        if self.watching is not None:
            self.watching.cancel()

    async def recorded(self, which: Callable[[Recorded], bool], after: int = 0) -> Recorded:
        """The first record, of those seen from number `after` on, that satisfies `which`, once there is one."""
        async with asyncio.timeout(PATIENCE), self._changed:
            while True:
                for record in self.seen[after:]:
                    if which(record):
                        return record
                await self._changed.wait()

    async def event(self, kind: type[Any], which: Callable[[Any], bool] = lambda _: True) -> Any:
        """The first event of a kind that satisfies `which`, once there is one."""
        try:
            async with asyncio.timeout(PATIENCE), self._changed:
                while True:
                    for record in self.seen:
                        if isinstance(record.data, kind) and which(record.data):
                            return record.data
                    await self._changed.wait()
        except TimeoutError:
            told = "\n".join(f"{r.position} {r.data!r}"[:300] for r in self.seen)
            logs = "\n".join(f"--- {name}\n{self.log(name)[-4000:]}" for name in self._processes)
            raise AssertionError(
                f"no such {kind.__name__} in {PATIENCE:.0f} s; the log says:\n{told}\n{logs}"
            ) from None

    def all(self, kind: type[Any], which: Callable[[Any], bool] = lambda _: True) -> list[Any]:
        return [record.data for record in self.seen if isinstance(record.data, kind) and which(record.data)]

    def of_job(self, job_id: str) -> list[str]:
        """Names of a job's own events, in order."""
        return [
            type(r.data).__name__ for r in self.seen if r.meta.subject == job_id and r.position.topic == "events.jobs"
        ]

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()


CLOCK_SECONDS = 2.0
"""How far apart two clocks may tell a process's start: the kernel's, in whole seconds of its own start, and ours."""


def end_tree(task: TaskStart) -> None:
    """End a test's own left-over process and its descendants. One that has begun later has only got its number."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(task.pid)
        if process.create_time() > task.started_at.timestamp() + CLOCK_SECONDS:
            return
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                one.kill()


C = TypeVar("C", bound=Cluster)


@asynccontextmanager
async def cluster(
    settings: Settings,
    folder: Path,
    nodes: int = 1,
    lost_seconds: float = 20.0,
    gateway: bool = False,
    together: tuple[str, ...] = SHARING,
) -> AsyncIterator[Cluster]:
    """A running platform with so many nodes: n0, n1, ... A node whose agent is silent for `lost_seconds` is lost; by
    default that is longer than any agent takes to start again on a busy machine. `together`: contexts that share a
    process; by default those that share one in a platform that is embedded."""
    await topics.ensure_topics(settings)
    await admit_users(settings)
    async with served(Cluster(settings, folder, lost_seconds), nodes, gateway=gateway, together=together) as made:
        yield made


@asynccontextmanager
async def served(
    made: C, nodes: int = 0, *, gateway: bool = True, tasks: bool = True, together: tuple[str, ...] = SHARING
) -> AsyncIterator[C]:
    """The platform with its processes running; its topics and users are there. `tasks`: end those of its history too,
    which a platform that was restored may not do: their pids are others' by now."""
    made.watching = watching = asyncio.create_task(made.watch())
    try:
        made.host(*together)
        alone = [name for name in (*SERVICES, GATEWAY) if name not in together and (gateway or name != GATEWAY)]
        names = [*alone, TOGETHER] if together else alone
        for name in alone:
            made.start(name)
        if together:
            made.start(TOGETHER, *together)
        for number in range(nodes):
            made.start_agent(f"n{number}")
        for name in names:
            await made.healthy(name)
        yield made
        if watching.done() and not watching.cancelled():
            watching.result()
    finally:
        made.stop(tasks=tasks)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await made.close()
