"""Who belongs to the platform: the plan of every child, with its environment, address and health check.

Must not start anything, nor know what a service does behind its health check.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from events.language.contexts import TOGETHER, VARIABLE, ContextsError, contexts, processes
from events.log.topics import check_streams
from events.process.hostnames import plain_hostname
from events.process.keys import OWNER, REPLICAS, key_path
from events.process.settings import Settings, split_address
from forgelog.embedded.kafka import Kafka
from forgelog.embedded.kafka_users import AGENT, PLATFORM, PRODUCER
from forgelog.embedded.keeper import Plan, Probe
from forgelog.embedded.layout import Folder, PlatformState, Wanted
from forgelog.embedded.nodes import MEMBERSHIP, OURS, in_use, membership
from forgelog.embedded.passfile import without_password
from forgelog.embedded.ports import free_port, hold
from forgelog.embedded.postgres import Postgres
from forgelog.embedded.process import EmbeddedError, Slow, Spec, refuse_strangers, write_atomically
from forgelog.embedded.router import ROUTER, ROUTER_GRACE, RouterPlace

GATEWAY = "gateway"

GATEWAY_PORT = 7070
ANSWER = 3.0
"""Longest wait for a service's health, in seconds; the gateway asks the others meanwhile, for two."""
SERVICE_GRACE = 15.0
AGENT_GRACE = 40.0
"""Seconds an agent has to end its tasks, which have a grace of their own."""


def asked(folder: Folder, children: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The contexts of those `children` of a report that run, each with the address at which it is asked."""
    running = {
        child["address"]: child["name"]
        for child in children
        if child["kind"] == "service" and child["name"] != GATEWAY and child["address"] and child["pid"]
    }
    ports = folder.read_ports() if TOGETHER in running.values() else {}
    together = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    alone = {name: address for address, name in running.items() if name != TOGETHER}
    return alone | {name: at for name, at in together.items() if running.get(at) == TOGETHER}


def node_name(number: int) -> str:
    """``hostname-0``: letters, digits, '.' and '-' only."""
    return f"{plain_hostname('node')}-{number}"


def see_contexts(folder: Folder, *, running: bool) -> None:
    """That every service could start; of a platform that is `running`, that it has them all. Raises EmbeddedError."""
    try:
        import_module("events.language.registry")
        check_streams()
    except ContextsError as error:
        raise EmbeddedError(str(error)) from None
    has = [name for name in folder.read_ports() if name != GATEWAY]  # a supervisor notes each one's when it starts
    if running and set(has) != contexts().keys():
        raise EmbeddedError(
            f"the running platform has the contexts {', '.join(has)}; here {VARIABLE} makes them "
            f"{', '.join(contexts())}: forgelog down, then up, or set the variable as it was"
        )


class Roster:
    """The plans for one folder. Addresses are asked for late, since a server may move when it starts again."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self._folder = folder
        self._agents = folder.path / "agents"
        _, self._wanted_port = settings.gateway_listens
        self.kafka = Kafka(
            folder.path / "kafka", folder.log("kafka"), flush_ms=settings.broker_flush_ms, prefix=settings.prefix
        )
        self.postgres = Postgres(folder.path / "postgres", folder.log("postgres"))
        self.router = RouterPlace(folder.path)
        self._lock = threading.Lock()  # plans are made in threads
        self._channels: dict[str, grpc.aio.Channel] = {}

    def servers(self, wanted: Wanted) -> list[Plan]:
        plans = []
        for server, where in ((self.kafka, wanted.kafka), (self.postgres, wanted.postgres)):
            if where.source == "embedded":
                plans.append(
                    Plan(
                        server.name,
                        "server",
                        server.prepare,
                        _if_any(server.spec),
                        server.ready,
                        lambda server=server: without_password(server.address),  # type: ignore[misc]
                    )
                )
        return plans

    def addresses(self, wanted: Wanted) -> tuple[str, str]:
        """Of the broker and the database, as they are now."""
        kafka = self.kafka.address if wanted.kafka.source == "embedded" else wanted.kafka.address
        postgres = self.postgres.address if wanted.postgres.source == "embedded" else wanted.postgres.address
        return kafka, postgres

    def kafka_config(self, wanted: Wanted, user: str = PLATFORM) -> str:
        """The file with which that user gets into the broker; of a given one's users we know one only."""
        return str(self.kafka.users.file(user)) if wanted.kafka.source != "given" else wanted.kafka.config

    def write_producers_file(self, wanted: Wanted) -> None:
        """The file for programs that publish commands and read events: `kcat -F` takes it, for example."""
        if wanted.kafka.source != "given":
            text = self.kafka.users.file(PRODUCER).read_text()
        else:
            text = f"bootstrap.servers={self.addresses(wanted)[0]}\n"
            if wanted.kafka.config:
                text += "# Add the user and password of your cluster's that your programs use.\n"
        file = self._folder.path / "kcat.conf"
        if not file.exists() or file.read_text() != text:
            write_atomically(file, text, mode=0o600)

    def services(self, wanted: Wanted) -> list[Plan]:
        # Each answers the gRPC health check on its FORGELOG_LISTEN.
        plans = []
        for name, hosted in processes().items():
            argv = ["services", *hosted] if name == TOGETHER else [contexts()[name].package]
            plans.append(self._service(name, argv, hosted[0], wanted))
        plans.append(self._service(GATEWAY, ["services.gateway"], GATEWAY, wanted))
        return [*plans, self._router(wanted)] if self.router.wanted else plans

    def agents(self, wanted: Wanted) -> list[Plan]:
        return [self._agent(number, wanted) for number in range(wanted.agents)]

    @property
    def gateway(self) -> str:
        return self._address(GATEWAY)

    def choose_ports(self, before: PlatformState | None) -> None:
        """Give every service its port: the one it had, unless a stranger has it now. Once, before any plan is made."""
        for server in (self.kafka, self.postgres):
            server.hold_ports()  # before any is drawn: it may be one of theirs
        known, chosen = self._folder.read_ports(), dict[str, int]()
        running = (
            {child.name for child in before.children if child.identity and child.identity.alive} if before else set()
        )
        for process, hosted in {**processes(), GATEWAY: (GATEWAY,)}.items():
            port = known.get(hosted[0], 0)
            if process == GATEWAY and not port:
                port = self._wanted_port or GATEWAY_PORT
            if process in running:
                hold(port)
            else:
                port = free_port(port, avoid=list(chosen.values()))
            chosen |= dict.fromkeys(hosted, port)
        self._folder.write_ports(chosen)

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    def _address(self, service: str) -> str:
        """Of the gateway, or of the process that a context is in."""
        return f"127.0.0.1:{self._folder.read_ports()[service]}"

    def _service(self, name: str, argv: list[str], answers: str, wanted: Wanted) -> Plan:
        """A process of that name, which has the address of `answers`."""

        def make() -> Spec:
            instance = "{context}-0" if name == TOGETHER else f"{name}-0"
            environment = self._environment(wanted, instance, self._address(answers))
            return self._python(name, argv, environment, self._folder.path, SERVICE_GRACE)

        probe: Probe = self._gateway_ready if name == GATEWAY else (lambda: self._healthy(answers))
        return Plan(name, "service", make, _if_any(make), probe, lambda: self._address(answers))

    def _router(self, wanted: Wanted) -> Plan:
        def make() -> Spec:
            environment = self._environment(wanted, ROUTER, "127.0.0.1:0") | self.router.environment()
            environment["FORGELOG_POSTGRES"] = ""  # it reads no table
            return self._python(ROUTER, ["services.deployments.router"], environment, self._folder.path, ROUTER_GRACE)

        # Envoy serves on while its companion is replaced.
        return Plan(ROUTER, ROUTER, make, _if_any(make), self.router.answers, self.router.address, outlived=True)

    def _agent(self, number: int, wanted: Wanted) -> Plan:
        node = node_name(number)
        folder = self.agent_folder(number)

        config = folder / "kafka.conf"

        def spec() -> Spec:
            # It runs other people's programs: it is told no database, no service and no folder but its own.
            given = self.kafka_config(wanted, AGENT)
            environment = self._common(wanted, f"agent-{node}", given and str(config)) | {
                "FORGELOG_DATA": str(folder),
                "FORGELOG_NODE": node,
                "FORGELOG_AGENT_DIR": str(folder),
                "FORGELOG_TOKEN_FILE": str(key_path(self._folder.path, OWNER)),  # for its tasks
                "FORGELOG_NODE_SHARE": f"{number}/{wanted.agents}",
                # A platform that goes down takes its jobs along; see `Supervisor._stop` for the other way.
                "FORGELOG_AGENT_STOP": "drain",
            }
            return self._python(f"agent-{number}", ["services.resources.agent"], environment, folder, AGENT_GRACE)

        def make() -> Spec:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / OURS).touch(mode=0o600)
            (folder / MEMBERSHIP).unlink(missing_ok=True)  # the last agent's word
            if given := self.kafka_config(wanted, AGENT):
                write_atomically(config, Path(given).read_text(), mode=0o600)
            return spec()

        async def registered() -> bool:
            said = membership(folder)
            if problem := said.get("problem"):
                raise EmbeddedError(problem)
            return bool(said.get("registered"))

        name = f"agent-{number}"
        return Plan(name, "agent", make, _if_any(spec), registered, lambda: node, outlived=True)

    def agent_folder(self, number: int) -> Path:
        return self._agents / node_name(number)

    def superfluous_nodes(self, wanted: Wanted) -> list[str]:
        """Nodes that this platform kept an agent for and does not any more."""
        kept = {node_name(number) for number in range(wanted.agents)}
        ours = re.compile(re.escape(node_name(0).removesuffix("0")) + r"\d+")  # also those from before the mark
        return sorted(
            folder.name
            for folder in (self._agents.iterdir() if self._agents.is_dir() else ())
            if folder.name not in kept
            and ((folder / OURS).exists() or ours.fullmatch(folder.name))
            and not in_use(folder)
        )

    def _environment(self, wanted: Wanted, instance: str, listen: str) -> dict[str, str]:
        """What a service is told."""
        with self._lock:
            _, postgres = self.addresses(wanted)
        return self._common(wanted, instance, self.kafka_config(wanted)) | {
            "FORGELOG_POSTGRES": postgres,
            "FORGELOG_DATA": str(self._folder.path),
            "FORGELOG_LISTEN": listen,
            "FORGELOG_OWNER_KEY_FILE": str(key_path(self._folder.path, OWNER)),  # where the command line looks
            "FORGELOG_SERVICES": ",".join(f"{name}={self._address(name)}" for name in contexts()),
        }

    def _common(self, wanted: Wanted, instance: str, config: str) -> dict[str, str]:
        """What every child is told; `config`: its file for the broker."""
        with self._lock:
            kafka, _ = self.addresses(wanted)
        return {
            "FORGELOG_KAFKA": kafka,
            "FORGELOG_KAFKA_CONFIG": config,
            "FORGELOG_GATEWAY": self.gateway,
            "FORGELOG_INSTANCE": instance,
            "FORGELOG_REPLICAS_KEY_FILE": os.environ.get("FORGELOG_REPLICAS_KEY_FILE")
            or str(key_path(self._folder.path, REPLICAS)),
            "FORGELOG_TOKEN": "",  # a key that the caller of `up` has is not for its children's environment
            "PYTHONUNBUFFERED": "1",
        }

    def _python(self, name: str, argv: list[str], environment: dict[str, str], folder: Path, grace: float) -> Spec:
        # -P: the current folder is no place to import from
        return Spec(
            name, [sys.executable, "-P", "-m", *argv], self._folder.log(name), environment, cwd=folder, grace=grace
        )

    async def _healthy(self, service: str) -> bool:
        """The standard gRPC health check (grpc.health.v1)."""
        address = self._address(service)
        await asyncio.to_thread(refuse_strangers, split_address(address))
        channel = self._channels.get(address)
        if channel is None:
            options: list[tuple[str, Any]] = [
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
                ("grpc.enable_http_proxy", 0),
            ]
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=ANSWER)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Slow(f"it does not answer within {ANSWER:g} s") from None
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _gateway_ready(self) -> bool:
        address = split_address(self.gateway)
        await asyncio.to_thread(refuse_strangers, address)
        return await asyncio.to_thread(_answers_ok, address, "/readyz")


def _answers_ok(address: tuple[str, int], path: str) -> bool:
    """Whether a GET is answered with 200. (An HTTP client library would cost the supervisor 0.2 s and 10 MB.)

    Raises EmbeddedError when it is not answered in time.
    """
    connection = http.client.HTTPConnection(*address, timeout=ANSWER)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except TimeoutError:
        raise Slow(f"it does not answer within {ANSWER:g} s") from None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _if_any(make: Callable[[], Spec]) -> Callable[[], Spec | None]:
    def existing() -> Spec | None:
        try:
            return make()
        except EmbeddedError:
            return None  # never prepared, so there is nothing a predecessor could have started

    return existing
