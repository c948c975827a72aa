"""An agent asks replicas what they were asked, and tells what came since, whatever they answer."""

from __future__ import annotations

import asyncio
import os

import pytest

from events.language.deployments.drift import ColumnCounts
from events.language.deployments.traffic import ReplicaReport
from events.language.jobs.spec_service import ServiceSpec
from services.resources.agent.asking import MOST_BYTES, Asker, Inputs, since
from services.resources.agent.attempts import Attempt, Task


def counts(*columns: tuple[int, tuple[int, ...]]) -> Inputs:
    return tuple(ColumnCounts(column=column, counts=each) for column, each in columns)


def test_what_came_between_two_answers() -> None:
    before = counts((0, (1, 2)), (1, (5, 5)), (2, (1, 1)))
    assert since(counts((0, (4, 2)), (1, (5, 5)), (3, (0, 7))), before) == counts((0, (3, 0)), (3, (0, 7)))
    assert since(counts((0, (0, 3)), (2, (9, 9, 9))), before) == ()  # counts that fell, or of other bins


def attempt(port: int, *, resumed: bool = False, path: str = "/forgelog/report") -> Attempt:
    service = ServiceSpec(ports=("http",), report_path=path)
    task = Task(
        "a", "dep.digits.1.2", 0, 1, "local/default", "boot", 1.0, 0,
        service=service, address="127.0.0.1", ports=(("http", port),),
    )  # fmt: skip
    return Attempt(task, warden=os.getpid(), resumed=resumed)


async def asked(answers: list[bytes], *, resumed: bool = False) -> tuple[list[dict[str, ReplicaReport]], list[bytes]]:
    """What is told while a replica answers so, one after the other; and what it was asked."""
    heard: list[bytes] = []
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(next(left))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        asker = Asker(lambda _: "secret")
        subject = attempt(server.sockets[0].getsockname()[1], resumed=resumed)
        return [dict(await asker.reports([subject])) for _ in answers], heard


def ok(body: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body.encode()


def counted(counts: str, custom: str = "{}") -> bytes:
    return ok(f'{{"custom": {custom}, "inputs": [{{"column": 0, "counts": {counts}}}]}}')


ONE, MORE = counted("[3, 1]"), counted("[3, 6]")
JOB = "dep.digits.1.2"


def report(*columns: tuple[int, tuple[int, ...]], **custom: float) -> ReplicaReport:
    return ReplicaReport(inputs=counts(*columns), custom=custom)


async def test_counts_are_told_once() -> None:
    told, heard = await asked([ONE, ONE, MORE])
    assert told == [{JOB: report((0, (3, 1)))}, {}, {JOB: report((0, (0, 5)))}]
    assert b"GET /forgelog/report HTTP/1.1\r\n" in heard[0]
    assert b"x-forgelog-agent-key: secret\r\n" in heard[0]


async def test_metrics_are_told_as_they_are_now_each_time() -> None:
    told, _ = await asked(
        [counted("[3, 1]", '{"queue": 4}'), counted("[3, 1]", '{"queue": 4}'), ok('{"custom": {"x": 2}}')]
    )
    assert told == [{JOB: report((0, (3, 1)), queue=4.0)}, {JOB: report(queue=4.0)}, {JOB: report(x=2.0)}]
    resumed, _ = await asked([counted("[3, 1]", '{"queue": 4}')], resumed=True)
    assert resumed == [{JOB: report(queue=4.0)}]


async def test_what_an_earlier_agent_told_is_not_told_again() -> None:
    told, _ = await asked([ONE, MORE], resumed=True)
    assert told == [{}, {JOB: report((0, (0, 5)))}]


@pytest.mark.parametrize(
    "wrong",
    [b"", b"nonsense", b"HTTP/1.1 404 Not Found\r\n\r\n[]", ok("{"), ok("[]"), counted("[-1, 1]"),
     counted("[3, 1]", '{"no name": 1}'), counted("[3, 1]", '{"queue": NaN}'), counted("[3, 1]", '{"queue": "long"}'),
     ok(" " * (MOST_BYTES + 1)), b"HTTP/1.1 200 OK\r\n" + b"x" * (2 * MOST_BYTES)],
)  # fmt: skip
async def test_an_answer_that_is_none_is_left_out(wrong: bytes) -> None:
    told, _ = await asked([ONE, wrong, MORE])
    assert told[1:] == [{}, {JOB: report((0, (0, 5)))}]


async def test_a_replica_that_tells_nothing_is_not_asked() -> None:
    assert await Asker(lambda _: "").reports([attempt(1, path="")]) == {}
