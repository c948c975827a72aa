"""The platform that is attacked: a whole embedded one in a folder of its own, with its own broker and database.

Knows how to reach each process, to arm a named point, to fill the disk and to move the clock; not why.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from events.language.contexts import processes
from events.process.settings import Settings
from forgelog.embedded.kafka import broker_answers
from forgelog.embedded.layout import PlatformState
from forgelog.embedded.platform import Choice, Options, Platform
from forgelog.embedded.ports import free_port
from forgelog.embedded.postgres import database_answers
from forgelog.embedded.process import EmbeddedError
from forgelog.embedded.roster import node_name
from services.deployments.router import envoy
from tests.folders_in_use import copy_in_use
from tests.integration.cluster import program

SERVERS = ("kafka", "postgres")
AGENTS = 2
PATIENCE = 150.0
"""Seconds for the platform to be whole again once it is left alone: a broker that was killed takes its time."""
DISK_MB = 1536
FILL_MB_S = 400
KILL = signal.SIGKILL
PROCESSES = {context: process for process, hosted in processes().items() for context in hosted}
"""Context → its process."""


class Arena:
    """A platform with two nodes. `disk`: on a file system of its own that can be filled (needs root on Linux)."""

    def __init__(self, folder: Path, *, disk: bool = False, clock: bool = False) -> None:
        self.folder = folder
        self.disk = disk
        self.data = folder / "platform"
        self.faults = folder / "faults"
        self.clock = clock_library() if clock else None
        self._clock_file = folder / "clock"
        self._ballast = self.data / "ballast"
        self.log_lost = False
        """Heads that were signed of the lost log accuse the one that came after it, as they should."""
        self.forged: set[str] = set()
        """Places and offsets of records that an attack wrote into event topics: the audit must name them."""
        self._frozen: set[int] = set()
        self._stands: dict[str, float] = {}
        self.stood: list[tuple[str, float, float]] = []
        """Who was stopped, and from when until when (monotonic seconds)."""
        self._replicas: dict[str, subprocess.Popen[bytes]] = {}
        self._before: dict[str, str | None] = {}
        self._addresses: dict[str, str] = {}
        self.platform: Platform

    async def __aenter__(self) -> Arena:
        self.folder.mkdir(parents=True, exist_ok=True)
        for each in (self.data, self.faults):
            each.mkdir()
        if self.disk:
            await asyncio.to_thread(_run, "mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", self.data)
        environment = {
            "FORGELOG_FAULTS": str(self.faults),
            "FORGELOG_SNAPSHOT_EVENTS": "100",
            "FORGELOG_STALL_SECONDS": "5",
            "FORGELOG_LOST_LOG": "anew",  # also where the embedded log is gone: `up` refuses otherwise
        }
        if self.clock is not None:
            self._clock_file.write_text("+0")
            environment |= {
                "LD_PRELOAD": str(self.clock),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock_file),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                # The servers keep the true time: what is tried here is the platform's own use of a clock.
                "FAKETIME_SKIP_CMDS": "java,postgres",
                **self._true_envoy(),
            }
        # The supervisor hands its environment down to every process of the platform.
        for name, value in environment.items():
            self._before[name] = os.environ.get(name)
            os.environ[name] = value
        self.platform = Platform(self.data)
        try:
            await self.platform.up(Options(servers=Choice.EMBEDDED, agents=AGENTS))
            await self.platform.wait(PATIENCE)
        except BaseException:  # what has started so far must not stay
            await self.__aexit__()
            raise
        return self

    def _true_envoy(self) -> dict[str, str]:
        """Envoy, if there is one, without the library, with which it does not even start: its allocator and the library
        wait for each other."""
        try:
            program = envoy.find(os.environ.get("FORGELOG_ENVOY", ""))
        except envoy.EnvoyError:
            return {}
        path = self.folder / "envoy"
        path.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec {shlex.quote(str(program))} "$@"\n')
        path.chmod(0o700)
        return {"FORGELOG_ENVOY": str(path)}

    async def __aexit__(self, *_: object) -> None:
        self.release()
        for name in list(self._replicas):
            self.end_replica(name)
        try:
            await self.platform.down()
        finally:
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            if self.disk:
                await asyncio.to_thread(_run, "umount", "-l", self.data)

    @property
    def state(self) -> PlatformState:
        state = self.platform.state()
        assert state is not None
        return state

    @property
    def settings(self) -> Settings:
        """With the servers' addresses as they are now; those of before while a new supervisor finds its way."""
        state = self.state
        if state.kafka and state.postgres:
            self._addresses = state.servers
        return self.platform.settings.model_copy(update=self._addresses)

    def environment(self, instance: str) -> dict[str, str]:
        """Of a process that works on this platform under that name, beside the supervisor's children."""
        settings = self.settings
        return {
            **os.environ,
            "FORGELOG_KAFKA": settings.kafka_required,
            "FORGELOG_KAFKA_CONFIG": str(settings.kafka_config),
            "FORGELOG_POSTGRES": settings.postgres_required,
            "FORGELOG_DATA": str(self.data),
            "FORGELOG_INSTANCE": instance,
        }

    @property
    def gateway(self) -> str:
        """The gateway's ``host:port``, which does not change."""
        return f"127.0.0.1:{self.platform.folder.read_ports()['gateway']}"

    # Processes

    def pids(self, name: str) -> list[int]:
        """The living processes of a child of the platform (none while it is being started again), or a replica's."""
        if name == "supervisor":
            identity = self.state.supervisor
            return [identity.pid] if identity.alive else []
        if name in self._replicas:
            return [self._replicas[name].pid] if self._replicas[name].poll() is None else []
        name = PROCESSES.get(name, name)
        return [
            child.pid for child in self.state.children if child.name == name and child.identity and child.identity.alive
        ]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to all its processes. It reaches the database's helpers too."""
        pids = self.pids(name)
        if name == "postgres":
            for pid in list(pids):
                with suppress(psutil.NoSuchProcess):
                    pids += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                if number is signal.SIGSTOP:
                    self._frozen.add(pid)
                    self._stands.setdefault(name, time.monotonic())

    def thaw(self) -> None:
        """Let everything that was stopped go on."""
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._frozen.clear()
        self.stood += [(name, since, time.monotonic()) for name, since in self._stands.items()]
        self._stands.clear()

    def arm(self, instance: str, point: str, number: signal.Signals = KILL) -> None:
        """The process of that instance is to end, or to stop, at that point; see `events.process.faults`."""
        made = self.faults / "made"
        made.write_text(number.name)
        made.rename(self.armed(instance, point))

    def reached(self, instance: str, point: str) -> bool:
        """Whether an armed process has got to its point."""
        return not self.armed(instance, point).exists()

    def armed(self, instance: str, point: str) -> Path:
        """The file that has a point do something in the process of that instance; a context's is ``<context>-0``."""
        name = instance.removesuffix("-0")
        return self.faults / f"{PROCESSES.get(name, name)}{instance[len(name) :]}@{point}"

    def hold(self, instance: str) -> None:
        """Note that the process of an instance has stopped itself, so that `thaw` lets it go on."""
        agents = {f"agent-{node_name(number)}": f"agent-{number}" for number in range(AGENTS)}
        name = agents.get(instance) or (instance if instance in self._replicas else instance.removesuffix("-0"))
        self._frozen |= set(self.pids(name))

    def release(self) -> None:
        """End every attack that lasts: processes go on, armed points are cleared, the disk and the clock are right."""
        for path in self.faults.iterdir():
            path.unlink(missing_ok=True)
        self.thaw()
        self.empty_disk()
        self.set_clock(0)

    async def recover(self) -> None:
        """Leave the platform alone until it is whole. Raises EmbeddedError when it is not in time."""
        self.release()
        until = time.monotonic() + PATIENCE
        while True:
            if not self.platform.supervised:
                await self.platform.up()
            state = await self.platform.wait(PATIENCE)
            # What the supervisor says may be of before it has seen the attack's last blow.
            if all(child.identity is not None and child.identity.alive for child in state.children):
                settings = self.settings
                both = broker_answers(settings), database_answers(settings.postgres_required)
                if all(await asyncio.gather(*both)):
                    return
            if time.monotonic() > until:
                raise EmbeddedError(f"not everything lives and answers after {PATIENCE:.0f} s")
            await asyncio.sleep(0.1)

    # Replicas

    async def start_replica(self, context: str) -> str:
        """A second process of a service; returns its name once it takes part."""
        name = f"{context}-1"
        address = f"127.0.0.1:{free_port()}"
        with (self.data / "logs" / f"{name}.log").open("ab") as log:
            self._replicas[name] = subprocess.Popen(  # noqa: ASYNC220 - a fork takes a millisecond
                [sys.executable, "-P", "-m", *program(context)],
                env={**self.environment(name), "FORGELOG_LISTEN": address},
                stdout=log,
                stderr=log,
                cwd=self.data,
            )
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            until = time.monotonic() + PATIENCE
            while self._replicas[name].poll() is None:
                if time.monotonic() > until:
                    raise EmbeddedError(f"{name} is not ready after {PATIENCE:.0f} s; see its log")
                with suppress(grpc.aio.AioRpcError):
                    if (await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)).status == 1:
                        break
                await asyncio.sleep(0.05)
        return name

    def end_replica(self, name: str) -> None:
        replica = self._replicas.pop(name)
        replica.kill()
        replica.wait()

    # A second agent of a node

    def start_rival(self, number: int, *, copied: bool) -> str:
        """An agent that claims the name of node `number`, with a copy of the folder of that node's agent or one of its
        own; the name of its process."""
        node, name = node_name(number), f"rival-{number}"
        folder = self.folder / f"{name}-{time.monotonic_ns()}"
        if copied:
            copy_in_use(self.data / "agents" / node, folder)
        folder.mkdir(exist_ok=True)
        environment = {
            **self.environment(name),
            "FORGELOG_NODE": node,
            "FORGELOG_AGENT_DIR": str(folder),
            "FORGELOG_AGENT_STOP": "drain",
            "FORGELOG_NODE_SHARE": f"{number}/{AGENTS}",
        }
        with (self.data / "logs" / f"{name}.log").open("ab") as log:
            self._replicas[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "services.resources.agent"],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self.data,
            )
        return name

    async def end_rival(self, name: str) -> None:
        """In order, so that it ends its tasks: an agent that is gone for good must not leave any."""
        rival = self._replicas[name]
        rival.terminate()
        try:
            await asyncio.wait_for(asyncio.to_thread(rival.wait), PATIENCE)
        finally:
            self.end_replica(name)

    # Disk and clock

    def fill_disk(self) -> None:
        """Leave not a byte; as fast as a good disk writes (`FILL_MB_S`), not as fast as memory. Blocks meanwhile."""
        began, written = time.monotonic(), 0
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * (1 << 20)):
                written += 1
                time.sleep(max(0.0, began + written / FILL_MB_S - time.monotonic()))

    def empty_disk(self) -> None:
        if self.disk:
            self._ballast.unlink(missing_ok=True)

    def set_clock(self, seconds: float) -> None:
        """The platform's clocks are so far ahead of the true time from now on."""
        if self.clock is not None:
            fresh = self._clock_file.with_suffix(".new")
            fresh.write_text(f"{seconds:+.0f}")
            fresh.rename(self._clock_file)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def can_mount() -> bool:
    """Whether a small file system can be had."""
    return os.geteuid() == 0 and sys.platform == "linux" and _mounts()


def _mounts() -> bool:
    folder = tempfile.mkdtemp(prefix="forgelog-mount-")
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.returncode == 0
    except OSError:
        return False
    finally:
        os.rmdir(folder)


def clock_library() -> Path | None:
    """libfaketime, if it is installed (``make chaos`` sees to it); it comes as a package with its source."""
    found = find_spec("libfaketime")
    if found is None or found.origin is None:
        return None
    libraries = sorted(Path(found.origin).parent.rglob("libfaketime.so*")) + sorted(
        Path(found.origin).parent.rglob("libfaketimeMT.so*")
    )
    return libraries[0] if libraries else None


def describe(state: PlatformState) -> list[dict[str, Any]]:
    """The platform's children in short, for a report of what went wrong."""
    return [
        {"name": child.name, "state": child.state, "restarts": child.restarts, "problem": child.problem}
        for child in state.children
    ]
