"""Given a service's task on a node, when its probes' answers change, or it is to stop, then ...

Real launchers, wardens and processes; what the log and Kafka would do is only noted down.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from events.language.jobs import ExitReason
from events.language.jobs.spec_service import ServiceSpec
from services.resources.agent import native
from services.resources.agent.attempts import Attempt, Stop, Task
from services.resources.agent.launching import Launching
from services.resources.agent.output import Output
from services.resources.agent.reports import READINESS, Reports
from services.resources.agent.serving import ended_by_fence
from tests.unit.agent.test_running import Node
from tests.unit.agent.wards import running as is_running
from tests.unit.agent.wards import until

FOR_EVER = 3600.0


def asks_for(file: str, **parts: Any) -> dict[str, Any]:
    """A probe that is good while the task's folder has this file."""
    return {"kind": "exec", "command": ["test", "-e", file], "period_seconds": 0.1, "timeout_seconds": 60, **parts}


class Services(Node):
    """A node with one service."""

    def readied(self, attempt: Attempt) -> bool:
        return attempt.readiness is not None and attempt.readiness.ready

    def reported(self) -> int:
        """How often readiness was."""
        return [kind for kind, _ in self.told].count(READINESS)

    def service(self, script: str = "exec sleep 3600", grace: float = 5.0, **service: Any) -> Attempt:
        attempt = self.attempt(f"echo ready; {script}", grace=grace)
        attempt.task = replace(attempt.task, service=ServiceSpec.model_validate(service))
        return attempt

    async def up(self, script: str = "exec sleep 3600", grace: float = 5.0, **service: Any) -> Attempt:
        """A service whose process runs."""
        attempt = self.service(script, grace, **service)
        self.running.act(attempt)
        await until(lambda: attempt.pid or attempt.exit, "it does not start")
        await self.noted(attempt)
        return attempt

    def folder_of(self, attempt: Attempt) -> Path:
        return self.store.scratch / attempt.key / "work"

    def touch(self, attempt: Attempt, file: str) -> None:
        (self.folder_of(attempt) / file).touch()

    def remove(self, attempt: Attempt, file: str) -> None:
        (self.folder_of(attempt) / file).unlink()

    def stop(self, attempt: Attempt, reason: ExitReason = ExitReason.STOPPED, grace: float = 5.0) -> None:
        attempt.stop = Stop(reason, grace, "its node is drained")
        self.running.act(attempt)


@asynccontextmanager
async def agent(folder: Path) -> AsyncIterator[Services]:
    """One that leaves its tasks when it ends."""
    node = Services(folder)
    async with Launching(node.store.spare, native.launcher()) as launching:
        node.running.connect(launching, cast(Reports, node.told), cast(Output, node.shipping))
        yield node
        node.running.close()
        node.store.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Services]:
    async with agent(tmp_path) as made:
        yield made
        for attempt in list(made.running.attempts.values()):
            if attempt.exit is None and attempt.warden:
                made.stop(attempt, ExitReason.LOST, 0)
                await made.ended(attempt)


async def test_a_task_is_told_its_ports_and_probed_on_them(node: Services) -> None:
    server = f'exec {sys.executable} -m http.server "$FORGELOG_PORT_HTTP" --bind "$FORGELOG_ADDRESS"'
    attempt = await node.up(server, ports=["http"], readiness={"kind": "http", "timeout_seconds": 60})
    start = attempt.start()
    assert start.address == "127.0.0.1"
    assert 20_000 <= start.ports["http"] < 30_000
    await until(lambda: node.readied(attempt), "it does not become ready")
    assert node.reported() == 1
    report = attempt.readiness_report()
    assert (report.ready, report.reason, report.attempt) == (True, "", 1)


async def test_two_ports_are_two_numbers(node: Services) -> None:
    attempt = await node.up('echo "$FORGELOG_PORT_A $FORGELOG_PORT_B_2" >said; exec sleep 3600', ports=["a", "b-2"])
    ports = attempt.start().ports
    said = node.folder_of(attempt) / "said"
    await until(lambda: said.exists() and said.read_text(), "it says nothing")
    assert said.read_text() == f"{ports['a']} {ports['b-2']}\n"
    assert ports["a"] != ports["b-2"]


async def test_readiness_follows_its_probe(node: Services) -> None:
    attempt = await node.up(readiness=asks_for("ready", failure_threshold=2))
    await until(lambda: attempt.readiness is not None, "nothing is known of it")
    assert attempt.readiness_report().reason == "readiness probe: test: exit code 1 (2 times in a row)"
    node.touch(attempt, "ready")
    await until(lambda: node.readied(attempt), "it does not become ready")
    node.remove(attempt, "ready")
    await until(lambda: not node.readied(attempt), "it stays ready")
    assert node.reported() == 3
    assert attempt.exit is None


async def test_without_a_readiness_probe_it_is_ready_once_it_has_started(node: Services) -> None:
    attempt = await node.up(startup=asks_for("started"), liveness=asks_for("alive", failure_threshold=1))
    await asyncio.sleep(0.5)  # neither is good, and only the first is asked
    assert (attempt.readiness, attempt.exit) == (None, None)
    node.touch(attempt, "alive")
    node.touch(attempt, "started")
    await until(lambda: node.readied(attempt), "it does not become ready")


async def test_one_that_does_not_start_in_time_is_unhealthy(node: Services) -> None:
    attempt = await node.up(startup=asks_for("started", failure_threshold=2))
    exit = await node.ended(attempt)
    assert (exit.reason, exit.signal) == (ExitReason.UNHEALTHY, 15)
    assert exit.message == "startup probe: test: exit code 1 (2 times in a row)"


async def test_one_that_is_dead_loses_its_callers_and_is_ended(node: Services) -> None:
    script = "touch alive; trap '' TERM; sleep 3600 & wait; wait"
    attempt = await node.up(script, 0.2, liveness=asks_for("alive", failure_threshold=3))
    await until(lambda: node.readied(attempt), "it does not become ready")
    await until((node.folder_of(attempt) / "alive").exists, "it does not begin")
    node.remove(attempt, "alive")
    exit = await node.ended(attempt)
    assert (exit.reason, exit.message) == (ExitReason.UNHEALTHY, "liveness probe: test: exit code 1 (3 times in a row)")
    assert not node.readied(attempt)
    assert [kind for kind, _ in node.told] == ["started", "readiness", "readiness", "exited", "freed"]


SILENT = """
import os, socket, sys, time
with socket.create_server((os.environ["FORGELOG_ADDRESS"], int(os.environ["FORGELOG_PORT_HTTP"]))) as port:
    first, _ = port.accept()  # good once, so that it is up
    first.recv(999)
    first.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
    first.close()
    while True:
        time.sleep(0.2) if sys.argv[1] == "still" else sum(range(9_999))
"""


@pytest.mark.parametrize("kind", ["still", "busy"])
async def test_one_that_hangs_is_ended_sooner_than_one_that_is_busy(node: Services, kind: str) -> None:
    probe = {"kind": "http", "period_seconds": 0.1, "timeout_seconds": 0.7, "failure_threshold": 4}
    attempt = await node.up(
        f"exec {sys.executable} -c '{SILENT}' {kind}", ports=["http"], startup={"kind": "tcp"}, liveness=probe
    )
    exit = await node.ended(attempt)
    times = "2 times in a row), and it does nothing" if kind == "still" else "4 times in a row)"
    assert (exit.reason, exit.message) == (
        ExitReason.UNHEALTHY,
        f"liveness probe: no answer within 0.7 s ({times}",
    )


async def test_without_contact_one_that_is_dead_only_loses_its_callers(node: Services) -> None:
    contact: list[bool] = []
    serving = cast(Any, node.running)._serving
    serving._in_contact = lambda: bool(contact)
    attempt = await node.up("touch alive; exec sleep 3600", liveness=asks_for("alive", failure_threshold=3))
    await until((node.folder_of(attempt) / "alive").exists, "it does not begin")
    await until(lambda: node.readied(attempt), "it does not become ready")
    node.remove(attempt, "alive")
    await until(lambda: not node.readied(attempt), "it keeps its callers")
    assert attempt.readiness_report().reason == "liveness probe: test: exit code 1 (3 times in a row)"
    node.touch(attempt, "alive")
    await until(lambda: node.readied(attempt), "it does not recover")
    contact.append(True)
    node.remove(attempt, "alive")
    assert (await node.ended(attempt)).reason is ExitReason.UNHEALTHY


async def test_one_that_is_ready_is_left_by_its_callers_before_it_is_stopped(node: Services) -> None:
    attempt = await node.up(drain_seconds=FOR_EVER)
    await until(lambda: node.readied(attempt), "it does not become ready")
    node.stop(attempt)
    report = attempt.readiness_report()
    assert (report.ready, report.reason, node.reported()) == (False, "its node is drained", 2)
    node.stop(attempt, grace=1)
    assert node.reported() == 2, "a second wish changes nothing for its callers"
    await asyncio.sleep(0.3)
    assert is_running(attempt.pid)
    node.stop(attempt, ExitReason.LOST, 0)
    assert (await node.ended(attempt)).reason is ExitReason.LOST, "a more urgent one does not wait"


async def test_then_it_is_told(node: Services) -> None:
    attempt = await node.up(drain_seconds=0.3)
    await until(lambda: node.readied(attempt), "it does not become ready")
    node.stop(attempt)
    assert is_running(attempt.pid)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.signal) == (ExitReason.STOPPED, 15)


async def test_one_that_ends_by_itself_meanwhile_has_ended(node: Services) -> None:
    attempt = await node.up("until [ -e go ]; do sleep 0.05; done; exit 3", drain_seconds=FOR_EVER)
    await until(lambda: node.readied(attempt), "it does not become ready")
    node.stop(attempt)
    node.touch(attempt, "go")
    exit = await node.ended(attempt)
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 3)


async def test_one_that_has_no_callers_is_stopped_at_once(node: Services) -> None:
    attempt = await node.up(drain_seconds=FOR_EVER, readiness=asks_for("ready", failure_threshold=1))
    await until(lambda: attempt.readiness is not None, "nothing is known of it")
    node.stop(attempt)
    assert (await node.ended(attempt)).reason is ExitReason.STOPPED
    assert node.reported() == 1


async def test_one_whose_allocation_is_released_ends_by_its_own_grace(node: Services) -> None:
    attempt = await node.up("trap 'exit 0' TERM; sleep 3600 & wait", drain_seconds=FOR_EVER)
    await until(lambda: node.readied(attempt), "it does not become ready")
    attempt.gone = True
    node.running.act(attempt)
    exit = cast(Any, await until(lambda: attempt.exit, "it does not end"))
    assert (exit.reason, exit.exit_code) == (ExitReason.LOST, 0)


async def test_without_a_free_port_it_can_not_start(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        async with agent(tmp_path) as node:
            cast(Any, node.running)._serving._ports = range(port, port + 1)
            attempt = node.service(ports=["http"])
            node.running.act(attempt)
            exit = await until(lambda: attempt.exit, "it does not end")
    assert cast(Any, exit).reason is ExitReason.SPAWN_FAILED
    assert "needs 1 ports" in cast(Any, exit).message


# The next agent


async def found_again(node: Services) -> Attempt:
    (found,) = node.store.found()
    attempt = Attempt(found.task)
    node.running.resume(attempt, found)
    return attempt


async def test_the_next_agent_takes_it_up_with_its_ports_and_probes(tmp_path: Path) -> None:
    service = {"ports": ["a"], "startup": asks_for("started"), "readiness": asks_for("ready", failure_threshold=1)}
    async with agent(tmp_path) as first:
        attempt = await first.up(**service)
        first.touch(attempt, "started")
        first.touch(attempt, "ready")
        await until(lambda: first.readied(attempt), "it does not become ready")
        start = attempt.start()
        first.remove(attempt, "started")
    async with agent(tmp_path) as second:
        again = await found_again(second)
        assert again.start() == start
        assert again.task.service == attempt.task.service
        await until(lambda: second.readied(again), "it does not become ready again, though it had started")
        second.remove(again, "ready")
        await until(lambda: not second.readied(again), "it is not probed")
        second.stop(again, ExitReason.LOST, 0)
        await second.ended(again)


async def test_the_next_agent_carries_out_a_stop_that_waits_for_callers(tmp_path: Path) -> None:
    async with agent(tmp_path) as first:
        attempt = await first.up(drain_seconds=1)
        await until(lambda: first.readied(attempt), "it does not become ready")
        first.stop(attempt)
    async with agent(tmp_path) as second:
        again = await found_again(second)
        assert again.readiness_report().reason == "its node is drained"
        exit = await second.ended(again)
    assert (exit.reason, exit.message) == (ExitReason.STOPPED, "its node is drained")


# Lost contact


def test_a_node_without_contact_ends_its_tasks_but_no_service() -> None:
    def attempt(key: str, service: ServiceSpec | None = None, **state: Any) -> Attempt:
        return Attempt(Task(key, "job", 0, 1, "local/default", "boot", 1.0, 0, service=service), **state)

    job, served = attempt("job", warden=1), attempt("served", ServiceSpec(), warden=2)
    begins, waits = attempt("begins", launching=True), attempt("waits")
    assert ended_by_fence([job, served, begins, waits]) == [job, begins]
