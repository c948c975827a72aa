"""Queues through the client: what waits in them, and what an operator does with them. Knows no node and no log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.names import renamed
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import EntryRow, QueueRow
from forgelog_pb.scheduling.v1 import queries_pb2 as pb
from forgelog_pb.scheduling.v1 import queries_pb2_grpc as rpc

CONTEXT = "scheduling"


class AsyncQueues(Namespace):
    """Queues: `forgelog.scheduling.v1.SchedulingQueries`, and the commands on queues."""

    @property
    def _stub(self) -> Any:
        return rpc.SchedulingQueriesStub(self._core.channel)

    async def entries(self, queue: str = "", *, at: datetime | None = None, limit: int | None = 100) -> list[EntryRow]:
        """What waits in a queue (in all), first to be placed first."""
        request = pb.ListEntriesRequest(queue=queue, options=self._core.options(CONTEXT, at))
        return await self._core.pages(self._stub.ListEntries, request, "entries", "queue", limit)

    async def create(self, queue: str, *, policy: str = "") -> Answer:
        """Make a queue; nodes whose agents are started with its name as their pool serve it. When this returns,
        `list` has it, and jobs may be submitted to it. Raises `Refused` if there is such a queue."""
        body = {"queue": queue, **({"policy": policy} if policy else {})}
        outcome = await self._core.publish(("forgelog.scheduling.v1.CreateQueue", body))
        await self.list()
        return outcome

    async def delete(self, queue: str) -> Answer:
        """Delete a queue. Raises `Refused` while it has jobs, while its pool has nodes, and for ``default``."""
        return await self._core.publish(("forgelog.scheduling.v1.DeleteQueue", {"queue": queue}))

    async def configure(self, queue: str, *, policy: str = "", status: str = "") -> Answer:
        """Set a queue's policy (fifo, priority) or status (active, paused, draining, closed)."""
        body = {"queue": queue, **{name: word for name, word in (("policy", policy), ("status", status)) if word}}
        return await self._core.publish(("forgelog.scheduling.v1.ConfigureQueue", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(self, *, at: datetime | None = None) -> list[QueueRow]:
        """Every queue: policy, status, how much waits."""
        request = pb.ListQueuesRequest(options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.ListQueues, request, "queues")
        return [cast("QueueRow", plain(item)) for item in answer.queues]

    __call__ = renamed("queues.list", list)
