"""Given a real server, or program, when a probe asks it, then its answer is good or says in one line what is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from events.language.jobs.spec_service import Probe
from services.resources.agent.probing import Target, ask, verdicts
from tests import PATIENCE
from tests.unit.agent.wards import running, until


def probe(kind: str, **parts: Any) -> Probe:
    return Probe.model_validate({"kind": kind, "timeout_seconds": 30, **parts})


def at(port: int) -> Target:
    return Target("127.0.0.1", {"http": port})


@asynccontextmanager
async def answering(answer: bytes, *, stays: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that gives every caller the same bytes; its port, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if stays:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


def unused() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
        (b"HTTP/1.0 204\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nloading", "status 503 Service Unavailable"),
        (b"HTTP/1.1 404 \r\n\r\n", "status 404"),
        (b"HTTP/1.1 199 Odd\r\n\r\n", "status 199 Odd"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "its answer is not HTTP/1.1"),
        (b"x" * 100_000, "its answer is not HTTP/1.1"),
        (b"", "closed the connection without an answer"),
    ],
)
async def test_http_goes_by_the_status(answer: bytes, problem: str) -> None:
    async with answering(answer) as (port, asked):
        assert await ask(probe("http", path="/ready?full=1"), at(port)) == problem
    assert asked[0].startswith(b"GET /ready?full=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


@pytest.mark.asyncio
async def test_a_server_that_keeps_the_connection_open_has_answered() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n", stays=True) as (port, _):
        assert await ask(probe("http"), at(port)) == ""


@pytest.mark.asyncio
async def test_no_answer_in_time_is_a_failure() -> None:
    async with answering(b"", stays=True) as (port, _):
        assert await ask(probe("http", timeout_seconds=0.05), at(port)) == "no answer within 0.05 s"


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_nobody_there_is_a_failure(kind: str) -> None:
    assert await ask(probe(kind), at(unused())) == "connection refused"


@pytest.mark.asyncio
async def test_tcp_needs_only_a_connection() -> None:
    async with answering(b"") as (port, asked):
        assert await ask(probe("tcp"), at(port)) == ""
    assert asked == []


@pytest.mark.asyncio
async def test_a_probe_asks_the_port_that_it_names() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        assert await ask(probe("http", port="b"), Target("127.0.0.1", {"a": unused(), "b": port})) == ""
    assert len(asked) == 1


@pytest.mark.asyncio
async def test_grpc_asks_the_health_service() -> None:
    server = grpc.aio.server()
    statuses = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await statuses.set("iris", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert await ask(probe("grpc"), at(port)) == ""
        assert await ask(probe("grpc", service="iris"), at(port)) == "is NOT_SERVING"
        await statuses.set("iris", health_pb2.HealthCheckResponse.SERVING)
        assert await ask(probe("grpc", service="iris"), at(port)) == ""
        assert (await ask(probe("grpc", service="other"), at(port))).startswith("NOT_FOUND: ")
    finally:
        await server.stop(None)
    assert (await ask(probe("grpc"), at(port))).startswith("UNAVAILABLE: ")


@pytest.mark.asyncio
async def test_grpc_says_that_a_server_has_no_health_service() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert (await ask(probe("grpc"), at(port))).startswith("UNIMPLEMENTED: ")
    finally:
        await server.stop(None)


# Programs


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """A task's process, with variables and a folder of its own."""
    import subprocess

    variables = {"PATH": os.environ["PATH"], "WHO": "the task", "FORGELOG_ALLOCATION": "alloc"}
    with subprocess.Popen(["sleep", "3600"], env=variables, cwd=tmp_path) as started:
        yield started
        started.kill()


async def exec_(process: Any, script: str, **parts: Any) -> str:
    return await ask(probe("exec", command=["sh", "-c", script], **parts), Target("127.0.0.1", pid=process.pid))


@pytest.mark.asyncio
async def test_exec_goes_by_the_exit_code(process: Any) -> None:
    assert await exec_(process, "exit 0") == ""
    assert await exec_(process, "exit 3") == "sh: exit code 3"
    assert await exec_(process, "kill -9 $$") == "sh: signal 9"
    missing = probe("exec", command=["no-such-program"])
    assert "no-such-program can't be started" in await ask(missing, Target("127.0.0.1", pid=process.pid))


@pytest.mark.asyncio
async def test_exec_runs_in_the_tasks_folder_with_its_variables_but_is_not_one_of_its_processes(
    process: Any, tmp_path: Path
) -> None:
    assert await exec_(process, 'echo "$WHO, $FORGELOG_ALLOCATION." > said') == ""
    assert (tmp_path / "said").read_text() == "the task, .\n"


@pytest.mark.asyncio
async def test_a_program_that_hangs_is_ended_with_all_that_it_started(process: Any, tmp_path: Path) -> None:
    assert await exec_(process, "sleep 3600 & echo $! > pid; wait", timeout_seconds=1) == "no answer within 1 s"
    child = int((tmp_path / "pid").read_text())
    await until(lambda: not running(child), "its child still runs")


@pytest.mark.asyncio
async def test_of_a_process_that_is_gone_nothing_can_be_run(process: Any) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "can't be started" in await exec_(process, "exit 0")


@pytest.mark.asyncio
async def test_a_task_is_asked_until_its_verdict_changes_and_on() -> None:
    port = unused()
    asking = verdicts(probe("tcp", period_seconds=0.1, failure_threshold=2), at(port))
    async with asyncio.timeout(PATIENCE):
        first = await anext(asking)
        assert (first.good, first.reason) == (False, "connection refused (2 times in a row)")
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        assert (await anext(asking)).good
        server.close()
        await server.wait_closed()
        assert not (await anext(asking)).good
        await asking.aclose()
