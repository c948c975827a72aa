"""What the services of a running platform say of their work, asked straight from each: for `status` and `doctor`.

Straight, and not through the gateway: it may be what does not work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio

from events.language.resources.hardware import LAUNCHER_LABEL
from events.process.listening import stranger
from events.process.settings import split_address
from events.queries.callers import service_channel

ANSWER = 3.0
"""Longest wait for a service, in seconds."""

LATE_SECONDS = 30.0
"""For so long a placed job may wait for its agent to start it before that is told."""

_LATE_JOBS = 100
_NODES = 1000


async def ask_all(services: Mapping[str, str], key: str) -> list[dict[str, Any]]:
    """How each context fares; `services`: name → ``host:port``; `key` opens them. One that does not answer says so
    itself."""
    return list(await asyncio.gather(*(_ask(name, address, key) for name, address in services.items())))


def not_asked(context: str, why: str) -> dict[str, Any]:
    """What is told of a service that says nothing itself."""
    told: dict[str, Any] = {"context": context, "ready": False, "waits": {"service": why}, "notices": {}, "lags": []}
    return {**told, "stopped": {}, "native": "", "late": [], "launchers": {}}


async def _ask(context: str, address: str, key: str) -> dict[str, Any]:
    host, port = split_address(address)
    if user := stranger(host, port):
        return not_asked(context, f"a program of {user} has taken its port, {port}: it is not asked")
    from forgelog_pb.log.v1 import queries_pb2 as pb
    from forgelog_pb.log.v1.queries_pb2_grpc import LogQueriesStub

    async with service_channel(address, key) as channel:
        try:
            told: Any = await LogQueriesStub(channel).GetStatus(pb.GetStatusRequest(context=context), timeout=ANSWER)
        except grpc.aio.AioRpcError as error:
            return _silent(context, address, error)
    lags = [
        {
            "kind": lag.kind,
            "place": lag.place,
            "position": lag.position,
            "end": lag.end,
            "left": lag.left,
            "oldest_seconds": round(lag.oldest_seconds, 1),
            "still_seconds": round(lag.still_seconds, 1),
            "cause": lag.cause or None,
        }
        for lag in told.lags
    ]
    return {
        "context": context,
        "ready": told.ready,
        "waits": dict(told.waits),
        "notices": dict(told.notices),
        "stopped": undecided(told.stopped),
        "lags": lags,
        "native": told.native,
    }


def _silent(context: str, address: str, error: grpc.aio.AioRpcError) -> dict[str, Any]:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        why = f"it does not answer at {address} within {ANSWER:g} s: it may be stopped (SIGSTOP) or have too much to do"
    elif error.code() is grpc.StatusCode.UNAVAILABLE:
        why = f"it can't be reached at {address}: it has ended, or is starting"
    else:
        why = f"it answers with {error.code().name}: {error.details()}"
    return not_asked(context, why)


async def late_jobs(address: str, key: str) -> list[dict[str, Any]]:
    """Jobs that were placed on a node long ago and not started there: its agent stands still, or is on its way out.

    `address`: of the jobs service; `key` opens it. None are told while it does not answer.
    """
    from forgelog_pb.jobs.v1 import queries_pb2 as pb
    from forgelog_pb.jobs.v1 import types_pb2 as types
    from forgelog_pb.jobs.v1.queries_pb2_grpc import JobQueriesStub

    request = pb.ListJobsRequest(statuses=[types.JobStatus.JOB_STATUS_SCHEDULED])
    request.page.limit = _LATE_JOBS
    async with service_channel(address, key) as channel:
        try:
            answer: Any = await JobQueriesStub(channel).ListJobs(request, timeout=ANSWER)
        except grpc.aio.AioRpcError:
            return []
    now = datetime.now(UTC)
    found = []
    for job in answer.jobs:
        seconds = (now - job.updated_at.ToDatetime(tzinfo=UTC)).total_seconds()
        if seconds > LATE_SECONDS:
            found.append({"job": job.job_id, "node": job.node_id, "seconds": round(seconds, 1)})
    return found


async def launchers(address: str, key: str) -> dict[str, str]:
    """How the agents of the nodes start tasks: by node, ``compiled`` or ``pure``; those that don't say are left out.

    `address`: of the resources service; `key` opens it. None are told while it does not answer.
    """
    from forgelog_pb.resources.v1 import queries_pb2 as pb
    from forgelog_pb.resources.v1.queries_pb2_grpc import ResourceQueriesStub

    words = ("READY", "NOT_READY", "CORDONED", "DRAINING")
    request = pb.ListNodesRequest(statuses=[f"NODE_STATUS_{word}" for word in words])
    request.page.limit = _NODES
    async with service_channel(address, key) as channel:
        try:
            answer: Any = await ResourceQueriesStub(channel).ListNodes(request, timeout=ANSWER)
        except grpc.aio.AioRpcError:
            return {}
    return {node.node_id: node.labels[LAUNCHER_LABEL] for node in answer.nodes if LAUNCHER_LABEL in node.labels}


def undecided(stops: Iterable[Any]) -> dict[str, str]:
    """Records at which places stand until a person decides, each with the cause. Orders are not among them: they may
    wait for the answer of another service, which is asked again."""
    return {stop.position: stop.cause for stop in stops if stop.skippable and stop.kind != "orders"}
