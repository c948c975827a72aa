"""Queues through the client: what waits in them, why, and what an operator does with them. Knows no node and no log."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import cast

from forgelog.client.jobs import JobCalls
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import EntryRow, JobAnswer, QueueRow, WhyAnswer
from forgelog.errors import NotFound
from forgelog_pb.scheduling.v1 import queries_pb2 as pb
from forgelog_pb.scheduling.v1 import queries_pb2_grpc as rpc

CONTEXT = "scheduling"
SHOWN_DEPENDENCIES = 50
"""Jobs that are waited for and that `why` tells of; the rest is counted by its message."""


class QueueCalls(JobCalls):
    """`forgelog.scheduling.v1.SchedulingQueries`, and the commands on queues."""

    async def why(self, id: str, *, at: datetime | None = None) -> WhyAnswer:
        """Why a job waits: ``message``, ``entries`` (place in the queue, reasons by group of nodes), ``placements`` and
        ``dependencies`` (as `dependencies` gives them; only while it waits for one)."""
        request = pb.ExplainJobRequest(job_id=id, options=self._options(CONTEXT, at))
        stub = rpc.SchedulingQueriesStub(self.channel)
        answer = cast("WhyAnswer", plain(await self._ask(stub.ExplainJob, request, f"job {id}")))
        answer["dependencies"] = []
        try:
            found = await self.get(id, at=at)
        except NotFound:
            return answer  # a job that scheduling alone knows of: its tables may be ahead of those of jobs
        if answer.entries:
            if found.job.reason and not found.job.waits_for:  # a restart, or a requeue with its reason
                answer["message"] = f"{answer.message} (queued again: {found.job.reason})"
        elif found.job.waits_for:
            answer["dependencies"] = await self.dependencies(found, at=at)
            answer["message"] = f"{_tasks(found.job.tasks.total)} {found.job.reason.removeprefix('waits ')}"
        elif found.job.ended_at is not None:
            reason = f": {found.job.reason}" if found.job.reason else ""
            answer["message"] = f"nothing of it waits: it has {_ended(found.job.status)}{reason}"
        return answer

    async def dependencies(self, job: JobAnswer, *, at: datetime | None = None) -> list[Answer]:
        """The jobs that a job (as `get` gives it) depends on: ``job_id``, ``kind``, ``name``, ``status``, and ``met``,
        which is false while it is waited for. Those still waited for come first; `SHOWN_DEPENDENCIES` at most."""
        waits = set(job.job.waits_for)
        wanted = sorted(job.spec.depends_on, key=lambda item: item.job_id not in waits)[:SHOWN_DEPENDENCIES]

        async def look(item: Answer) -> Answer:
            try:
                other = (await self.get(item.job_id, at=at)).job
                name, status = other.name, other.status
            except NotFound:
                name, status = "", "unknown"
            met = item.job_id not in waits
            return Answer(job_id=item.job_id, kind=item.kind, name=name, status=status, met=met)

        return list(await asyncio.gather(*(look(item) for item in wanted)))

    async def queues(self, *, at: datetime | None = None) -> list[QueueRow]:
        """Every queue: policy, status, how much waits."""
        request = pb.ListQueuesRequest(options=self._options(CONTEXT, at))
        answer = await self._ask(rpc.SchedulingQueriesStub(self.channel).ListQueues, request, "queues")
        return [cast("QueueRow", plain(item)) for item in answer.queues]

    async def entries(self, queue: str = "", *, at: datetime | None = None, limit: int | None = 100) -> list[EntryRow]:
        """What waits in a queue (in all), first to be placed first."""
        request = pb.ListEntriesRequest(queue=queue, options=self._options(CONTEXT, at))
        return await self._pages(
            rpc.SchedulingQueriesStub(self.channel).ListEntries, request, "entries", "queue", limit
        )

    async def create_queue(self, queue: str, *, policy: str = "") -> Answer:
        """Make a queue; nodes whose agents are started with its name as their pool serve it. When this returns,
        `queues` has it, and jobs may be submitted to it. Raises `Refused` if there is such a queue."""
        body = {"queue": queue, **({"policy": policy} if policy else {})}
        outcome = await self.publish(("forgelog.scheduling.v1.CreateQueue", body))
        await self.queues()
        return outcome

    async def delete_queue(self, queue: str) -> Answer:
        """Delete a queue. Raises `Refused` while it has jobs, while its pool has nodes, and for ``default``."""
        return await self.publish(("forgelog.scheduling.v1.DeleteQueue", {"queue": queue}))

    async def configure_queue(self, queue: str, *, policy: str = "", status: str = "") -> Answer:
        """Set a queue's policy (fifo, priority) or status (active, paused, draining, closed)."""
        body = {"queue": queue, **{name: word for name, word in (("policy", policy), ("status", status)) if word}}
        return await self.publish(("forgelog.scheduling.v1.ConfigureQueue", body))


def _tasks(total: int) -> str:
    return "1 task waits" if total == 1 else f"{total} tasks wait"


def _ended(status: str) -> str:
    return "been cancelled" if status == "cancelled" else status
