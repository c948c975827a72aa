"""Why a job waits: what scheduling says, and the jobs that it depends on. Knows no command."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Protocol, cast

from forgelog.client.core import Core
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import JobAnswer, WhyAnswer
from forgelog.errors import NotFound
from forgelog_pb.scheduling.v1 import queries_pb2 as pb
from forgelog_pb.scheduling.v1 import queries_pb2_grpc as rpc

SHOWN_DEPENDENCIES = 50
"""Jobs that are waited for and that `explained` tells of; the rest is counted by its message."""


class Get(Protocol):
    """`AsyncJobs.get`."""

    async def __call__(self, id: str, *, at: datetime | None = None) -> JobAnswer: ...


async def explained(core: Core, get: Get, id: str, at: datetime | None) -> WhyAnswer:
    """See `AsyncJobs.why`."""
    request = pb.ExplainJobRequest(job_id=id, options=core.options("scheduling", at))
    stub = rpc.SchedulingQueriesStub(core.channel)
    answer = cast("WhyAnswer", plain(await core.ask(stub.ExplainJob, request, f"job {id}")))
    answer["dependencies"] = []
    try:
        found = await get(id, at=at)
    except NotFound:
        return answer  # a job that scheduling alone knows of: its tables may be ahead of those of jobs
    if answer.entries:
        if found.job.reason and not found.job.waits_for:  # a restart, or a requeue with its reason
            answer["message"] = f"{answer.message} (queued again: {found.job.reason})"
    elif found.job.waits_for:
        answer["dependencies"] = await dependencies(get, found, at)
        answer["message"] = f"{_tasks(found.job.tasks.total)} {found.job.reason.removeprefix('waits ')}"
    elif found.job.ended_at is not None:
        reason = f": {found.job.reason}" if found.job.reason else ""
        answer["message"] = f"nothing of it waits: it has {_ended(found.job.status)}{reason}"
    return answer


async def dependencies(get: Get, job: JobAnswer, at: datetime | None) -> list[Answer]:
    """See `AsyncJobs.dependencies`."""
    waits = set(job.job.waits_for)
    wanted = sorted(job.spec.depends_on, key=lambda item: item.job_id not in waits)[:SHOWN_DEPENDENCIES]

    async def look(item: Answer) -> Answer:
        try:
            other = (await get(item.job_id, at=at)).job
            name, status = other.name, other.status
        except NotFound:
            name, status = "", "unknown"
        met = item.job_id not in waits
        return Answer(job_id=item.job_id, kind=item.kind, name=name, status=status, met=met)

    return list(await asyncio.gather(*(look(item) for item in wanted)))


def _tasks(total: int) -> str:
    return "1 task waits" if total == 1 else f"{total} tasks wait"


def _ended(status: str) -> str:
    return "been cancelled" if status == "cancelled" else status
