"""What became of requests, as the access log's lines tell it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.deployments.router.access_log import AccessLog
from services.deployments.router.counting import Counting
from services.deployments.router.reporting import in_flight, requests_by_address
from services.deployments.router.spool import segments


def line(**changes: Any) -> dict[str, Any]:
    return {
        "deployment": "digits",
        "cluster": "digits/1/http",
        "revision": "1",
        "replica": "r1",
        "status": 200,
        "grpc": None,
        "flags": "-",
        "micros": 1_500,
        **changes,
    }


def counted(*lines: dict[str, Any]) -> list[tuple[int, int, int, int, int]]:
    """Revision, requests, failures, turned away, latencies."""
    counting = Counting()
    counting.take(lines)
    return [
        (one.revision, one.requests, one.failures, one.shed, one.latency.count) for one in counting.of("digits", {})
    ]


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, (1, 1, 0, 0, 1)),
        ({"status": 404}, (1, 1, 0, 0, 1)),
        ({"status": 500}, (1, 1, 1, 0, 0)),
        ({"status": 200, "grpc": 14}, (1, 1, 1, 0, 0)),
        ({"status": 200, "grpc": 5}, (1, 1, 0, 0, 1)),
        # The client went away, or a connection became a WebSocket: no failure, and no latency either.
        ({"status": 0, "flags": "DC", "micros": None}, (1, 1, 0, 0, 0)),
        ({"status": 101, "micros": 9_000_000}, (1, 1, 0, 0, 0)),
        # No replica could be reached, or none was left; it had too many; it was silent.
        ({"revision": None, "replica": None, "status": 503, "flags": "UF,URX"}, (1, 1, 1, 0, 0)),
        ({"revision": None, "replica": None, "status": 503, "flags": "UH"}, (1, 1, 1, 0, 0)),
        ({"revision": None, "replica": None, "status": 503, "flags": "UO"}, (1, 0, 0, 1, 0)),
        ({"status": 504, "flags": "SI"}, (1, 1, 1, 0, 0)),
        # The cluster of all revisions says nothing of one; its replica does.
        ({"cluster": "digits/any/http", "revision": "2"}, (2, 1, 0, 0, 1)),
    ],
)
def test_each_request_counts_for_its_revision(changes: dict[str, Any], counts: tuple[int, int, int, int, int]) -> None:
    assert counted(line(**changes)) == [counts]


@pytest.mark.parametrize(
    "changes",
    [
        {"deployment": None},
        {"cluster": None, "revision": None, "status": 429, "flags": "RL"},
        {"revision": None, "cluster": "digits/any/http", "status": 503, "flags": "UAEX"},
        {"revision": None, "status": 413},
        {"revision": "x"},
        {"cluster": 3, "revision": None, "flags": 7},
    ],
)
def test_what_got_to_no_replica_by_the_clients_doing_does_not_count(changes: dict[str, Any]) -> None:
    assert counted(line(**changes)) == []


def test_counts_only_grow_and_requests_in_flight_are_told_beside_them() -> None:
    counting = Counting()
    assert counting.take([line(), line(deployment="other")]) == {"digits", "other"}
    counting.take([line(micros=3_000)])
    (one, two) = counting.of("digits", {2: 4, 3: 0})
    assert (one.requests, one.latency.total_microseconds, one.in_flight) == (2, 4_500, 0)
    assert (two.revision, two.requests, two.in_flight) == (2, 0, 4)
    counting.forget(["digits"])
    assert counting.of("digits", {}) == ()


def test_requests_in_flight_are_read_of_envoys_statistics() -> None:
    text = (
        "cluster.companion.upstream_rq_active: 1\ncluster.a.b/1/http.upstream_rq_active: 2\n"
        "cluster.a.b/1/grpc.upstream_rq_active: 3\ncluster.a.b/any/http.upstream_rq_active: 1\n"
        "cluster.c/1/http.upstream_rq_active: 0\n"
    )
    assert in_flight(text) == {"a.b": {"1": 5, "any": 1}}
    host = {"address": {"socket_address": {"address": "10.0.0.7", "port_value": 80}}}
    clusters = [
        {"name": "a/1/http", "host_statuses": [{**host, "stats": [{"name": "rq_active", "value": "2"}]}]},
        {"name": "a/any/http", "host_statuses": [{**host, "stats": [{"name": "rq_active"}, {"name": "cx_active"}]}]},
        {"name": "companion", "host_statuses": [{"address": {"pipe": {"path": "x"}}}]},
    ]
    assert requests_by_address({"cluster_statuses": clusters}) == {("a", "10.0.0.7", 80): 2}


async def test_the_log_is_read_from_now_on_and_moved_aside_when_it_is_long(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b'{"n": 0}\n')
    got: list[Any] = []
    reopened = 0

    async def reopen() -> None:
        nonlocal reopened
        reopened += 1
        with [one for one in segments(path) if one != path][-1].open("ab") as late:  # what Envoy still had
            late.write(b"{}\n")
        path.touch()

    def write(number: int) -> None:
        with path.open("ab") as file:
            file.write(orjson.dumps({"n": number, "fill": "x" * 50}) + b"\n")

    log = AccessLog(path, reopen, most_bytes=120)
    task = asyncio.create_task(log.follow(got.extend))
    for number in range(1, 5):
        await asyncio.sleep(0)
        write(number)
        async with asyncio.timeout(30):
            while not any(request.get("n") == number for request in got):
                await asyncio.sleep(0.01)
    with path.open("ab") as file:
        file.write(b'{"cut\n{"n": 99}\n')
    async with asyncio.timeout(30):
        while {"n": 99} not in got:  # what Envoy still had may come after it
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [request["n"] for request in got if "n" in request] == [*range(1, 5), 99]
    assert reopened >= 1
    assert got.count({}) == reopened
    assert log.broken == 1
