"""Asks a task how it is: over HTTP, gRPC or TCP at the node's address, or by a program that runs beside it.

Knows no log and no broker, so a node goes on probing when both are gone.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from events.language.jobs.spec_service import Probe, ProbeKind
from services.resources.agent.health import Stillness, Streak, Verdict

MOST_HEAD = 16 << 10
"""Bytes that are read of an HTTP answer."""
MOST_REASON = 300
"""Characters of an answer in a reason."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([ -~\x80-\xff]*))?\r?\n")
_MARK = b"FORGELOG_ALLOCATION="
"""A variable by which the processes of an attempt are told. A probe's program is none of them: it may outlive one."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask."""

    address: str
    ports: Mapping[str, int] = field(default_factory=dict)
    pid: int = 0
    """The task's process, whose variables and folder an `exec` probe uses."""

    def port(self, probe: Probe) -> int:
        """The port that a network probe asks; the only one if it names none."""
        return self.ports[probe.port] if probe.port else next(iter(self.ports.values()))

    def authority(self, probe: Probe) -> str:
        """Address and port that a network probe asks, as in a URL."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port(probe)}"


Ask = Callable[[Probe, Target], Awaitable[str]]
"""Answers with what is wrong; empty if nothing is."""


Used = Callable[[], float | None]
"""CPU seconds that a task has used; None if that can't be told, or if it waits for a disk."""


async def verdicts(probe: Probe, target: Target, used: Used | None = None) -> AsyncGenerator[Verdict]:
    """Each change of mind, the first verdict included. Never ends. `used`: if it is given, fewer failures are enough of
    a task that hangs (see `Stillness`); a program that runs beside the task (`exec`) says nothing of that."""
    loop = asyncio.get_running_loop()
    streak, stillness = Streak.of(probe), Stillness()
    if probe.kind is ProbeKind.EXEC:
        used = None
    await asyncio.sleep(probe.initial_delay_seconds)
    while True:
        begun, before = loop.time(), used() if used is not None else None
        problem = await ask(probe, target)
        if (verdict := streak.after(problem)) is not None:
            yield verdict
        elif (
            used is not None
            and before is not None
            and streak.good is not False
            and stillness.after(problem == no_answer(probe), begun, before, loop.time(), used())
        ):
            yield Verdict(False, f"{problem} ({stillness.failures} times in a row), and it does nothing", hung=True)
        await asyncio.sleep(max(0.0, begun + probe.period_seconds - loop.time()))


async def ask(probe: Probe, target: Target) -> str:
    """What is wrong with the task, as one line for people; empty if it answers as it should."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            return (await _ASKING[probe.kind](probe, target))[:MOST_REASON]
    except TimeoutError:
        return no_answer(probe)
    except OSError as error:
        return (os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__)[:MOST_REASON]


def no_answer(probe: Probe) -> str:
    """What is wrong with a task that does not answer in time."""
    return f"no answer within {probe.timeout_seconds:g} s"


async def _http(probe: Probe, target: Target) -> str:
    """RFC 9112: only the status line is read, and some of the body so that the server can finish."""
    reader, writer = await asyncio.open_connection(target.address, target.port(probe), limit=MOST_HEAD)
    try:
        request = (
            f"GET {probe.path or '/'} HTTP/1.1\r\nHost: {target.authority(probe)}\r\n"
            "User-Agent: forgelog-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode("ascii", "replace"))
        await writer.drain()
        try:
            line = await reader.readline()
        except ValueError:
            line = b"a very long line"
        status = _STATUS.fullmatch(line)
        if status is None:
            return "closed the connection without an answer" if not line else "its answer is not HTTP/1.1"
        await reader.read(MOST_HEAD)
    finally:
        writer.close()
    words = (status[2] or b"").decode("latin-1").strip()
    return "" if 200 <= int(status[1]) < 400 else f"status {status[1].decode()} {words}".rstrip()


async def _tcp(probe: Probe, target: Target) -> str:
    _, writer = await asyncio.open_connection(target.address, target.port(probe))
    writer.close()
    return ""


async def _grpc(probe: Probe, target: Target) -> str:
    """By the protocol of https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Over a connection of its own
    each time: a channel that is kept waits longer and longer before it tries again."""
    import grpc  # heavy, and few probes need it
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(target.authority(probe), options=options) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=probe.service), timeout=probe.timeout_seconds
            )
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}".replace("\n", " ")
    return "" if answer.status == health_pb2.HealthCheckResponse.SERVING else f"is {_name_of(answer.status)}"


def _name_of(status: int) -> str:
    from grpc_health.v1 import health_pb2

    with suppress(ValueError):
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))
    return f"in the unknown state {status}"


async def _exec(probe: Probe, target: Target) -> str:
    """In a session of its own, which is killed if the program does not end in time."""
    name = os.path.basename(probe.command[0])
    try:
        variables = _variables(target.pid)
        process = await asyncio.create_subprocess_exec(
            *probe.command,
            env=variables,
            cwd=f"/proc/{target.pid}/cwd",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"{name} can't be started: {getattr(error, 'strerror', None) or error}"
    try:
        code = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind, too
    return "" if code == 0 else f"{name}: exit code {code}" if code > 0 else f"{name}: signal {-code}"


def _variables(pid: int) -> dict[bytes, bytes]:
    """With which a process was started. Raises OSError."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        entries = (entry.partition(b"=") for entry in file.read().split(b"\0") if not entry.startswith(_MARK))
        return {name: value for name, equals, value in entries if equals}


_ASKING: Mapping[ProbeKind, Ask] = {
    ProbeKind.HTTP: _http,
    ProbeKind.GRPC: _grpc,
    ProbeKind.TCP: _tcp,
    ProbeKind.EXEC: _exec,
}
