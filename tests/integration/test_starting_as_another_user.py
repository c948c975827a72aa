"""The servers of a platform of root's run as another user."""

from __future__ import annotations

import asyncio
import os
import pwd
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from forgelog.embedded.process import Child, Spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user"),
]

NOBODY = pwd.getpwnam("nobody").pw_uid


async def ended(child: Child) -> str:
    while child.running:
        await asyncio.sleep(0.001)
    return child.exit


def spec(folder: Path, *command: str) -> Spec:
    return Spec(name="child", argv=command, log=folder / "log", env={}, cwd=folder, user=NOBODY)


async def test_it_has_that_user_and_group_and_no_others(tmp_path: Path) -> None:
    child = Child.start(spec(tmp_path, "/bin/sh", "-c", "id -u; id -g; id -G"))
    assert await ended(child) == "exit 0"
    assert (tmp_path / "log").read_text().split() == [str(NOBODY)] * 3


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    child = Child.start(spec(tmp_path, "/nowhere/postgres"))
    assert await ended(child) == "exit 1"
    assert (tmp_path / "log").read_text() == "/nowhere/postgres can't be started: No such file or directory\n"


async def test_it_starts_whatever_other_threads_of_this_process_do(tmp_path: Path) -> None:
    """A fork beside gRPC's threads dies now and then, before it is another program."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    enough = threading.Event()

    async def ask() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            while not enough.is_set():
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    def allocate() -> None:
        while not enough.wait(0.001):
            [bytearray(5_000) for _ in range(200)]

    threads = [threading.Thread(target=allocate) for _ in range(3)]
    for thread in threads:
        thread.start()
    asking = asyncio.create_task(ask())
    try:
        exits = [await ended(Child.start(spec(tmp_path, "/bin/true"))) for _ in range(100)]
    finally:
        enough.set()
        await asking
        for thread in threads:
            thread.join()
        await server.stop(0)
    assert set(exits) == {"exit 0"}
