"""The queries of queues, waiting entries, their reasons, and placements. Knows no Kafka and no decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language import task_ranges as sets
from events.language.common import DEFAULT_QUEUE
from events.language.convert import to_message
from events.language.jobs.spec import PRIORITY_WEIGHT
from events.language.resources import AllocationStatus
from events.language.scheduling import SchedulingPolicy
from events.projections.tables import Db
from events.queries.listing import Listing
from events.queries.queries import ReadModel, not_found, read_options
from forgelog_pb.scheduling.v1 import queries_pb2, queries_pb2_grpc
from services.scheduling.projections import QUEUES

_SHOWN_PLACEMENTS = 100

_RANKED = (
    "select *, row_number() over (partition by queue order by rank, submitted_at, job_id) as place from "
    f"(select e.*, case when q.policy = '{SchedulingPolicy.FIFO.value}' then 0 else -e.weight end as rank "
    "from entries e left join queues q using (queue)) each"
)
"""Entries with their rank, and with their place in the queue's order."""

_PLACED = (
    "p.*, coalesce(o.status, '" + AllocationStatus.PENDING.value + "') as status, coalesce(o.reason, '') as reason"
)
_PLACEMENTS = "placements p left join outcomes o using (allocation_id)"

_ENTRY_LIST = Listing(
    queries_pb2.ListEntriesRequest,
    f"({_RANKED} where $1 = '' or queue = $1) ranked",
    # Not by `place`, which changes whenever a job before leaves.
    order={"queue": str, "rank": range(-max(PRIORITY_WEIGHT.values()), 1), "submitted_at": datetime, "job_id": str},
    filters={"job_id": "job_id"},
    own=("queue",),
)

_PLACEMENT_LIST = Listing(
    queries_pb2.ListPlacementsRequest,
    _PLACEMENTS,
    order={"decided_at": datetime, "allocation_id": str},
    descending=True,
    filters={"queue": "p.queue", "job_id": "p.job_id", "node_id": "p.node_id"},
)


class SchedulingQueriesServicer(queries_pb2_grpc.SchedulingQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetQueue(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            queues = await _queues(db, request.queue)
        if not queues:
            raise not_found("queue", request.queue, options["as_of"])
        return queries_pb2.GetQueueResponse(queue=queues[0])

    async def ListQueues(self, request: Any, context: Any) -> Any:
        async with self._read.view(**read_options(request.options)) as db:
            return queries_pb2.ListQueuesResponse(queues=await _queues(db, ""))

    async def ListEntries(self, request: Any, context: Any) -> Any:
        query, options = _ENTRY_LIST.query(request, request.queue), read_options(request.options)
        async with self._read.view(**options) as db:
            page = await query.fetch(db)
            if not page.rows:
                await _exists(db, request.queue, options["as_of"])
        entries = [entry for row in page.rows for entry in _entries(row)]
        return queries_pb2.ListEntriesResponse(entries=entries, next_cursor=page.next_cursor)

    async def ExplainJob(self, request: Any, context: Any) -> Any:
        async with self._read.view(**read_options(request.options)) as db:
            rows = await db.fetch(f"select * from ({_RANKED}) ranked where job_id = $1 order by queue", request.job_id)
            placed = await db.fetch(
                f"select {_PLACED} from {_PLACEMENTS} where p.job_id = $1 "
                "order by p.decided_at desc, p.allocation_id desc limit $2",
                request.job_id,
                _SHOWN_PLACEMENTS,
            )
        return queries_pb2.ExplainJobResponse(
            entries=[entry for row in rows for entry in _entries(row)],
            placements=[_placed(row) for row in placed],
            message=_message(rows, placed),
        )

    async def ListPlacements(self, request: Any, context: Any) -> Any:
        query, options = _PLACEMENT_LIST.query(request), read_options(request.options)
        async with self._read.view(**options) as db:
            page = await query.fetch(db, _PLACED)
            if not page.rows:
                await _exists(db, request.queue, options["as_of"])
        placements = [_placed(row) for row in page.rows]
        return queries_pb2.ListPlacementsResponse(placements=placements, next_cursor=page.next_cursor)


async def _exists(db: Db, queue: str, at: datetime | None) -> None:
    """Raises QueryError if a queue is named that does not exist: an empty list would be misleading."""
    if queue and not await _queues(db, queue):
        raise not_found("queue", queue, at)


async def _queues(db: Db, name: str) -> list[Any]:
    """The queue of this name, or all that exist: see `services.scheduling.operating`."""
    rows = await db.fetch(
        "select n.queue, q.policy, q.status, q.placed_tasks - coalesce(r.tasks, 0) as placed_tasks, q.updated_at, "
        "count(e.job_id) as waiting_jobs, coalesce(sum(e.waiting_tasks), 0)::bigint as waiting_tasks "
        "from (select queue from queues where made union select queue from members union select $2) n "
        "left join queues q using (queue) left join returns r using (queue) left join entries e using (queue) "
        "where $1 = '' or n.queue = $1 "
        "group by n.queue, q.policy, q.status, q.placed_tasks, r.tasks, q.updated_at order by n.queue",
        name,
        DEFAULT_QUEUE,
    )
    return [to_message({**QUEUES.defaults, **{key: value for key, value in row.items() if value is not None}},
                       queries_pb2.Queue) for row in rows]  # fmt: skip


def _entries(row: Any) -> list[Any]:
    """An entry for each waiting attempt of a job, and each time that some of it waits for."""
    return [
        to_message(
            {
                **dict(row),
                "tasks": item["tasks"],
                "task_count": sets.count(sets.parse(item["tasks"])),
                "attempt": item["attempt"],
                "position": row["place"],
                "queued_at": datetime.fromisoformat(item["queued_at"]),
                "not_before": datetime.fromisoformat(item["not_before"]) if item["not_before"] else None,
            },
            queries_pb2.Entry,
        )
        for item in sorted(row["waiting"].values(), key=lambda item: (item["attempt"], item["not_before"] or ""))
    ]


def _placed(row: Any) -> Any:
    return to_message(dict(row), queries_pb2.PlacedTasks)


def _message(rows: Any, placed: Any) -> str:
    """Why a job waits, or that it does not wait."""
    if rows:
        row = rows[0]
        told = row["message"] or "no node has been found for it yet"
        waits = "1 task waits" if row["waiting_tasks"] == 1 else f"{row['waiting_tasks']} tasks wait"
        return f"{waits}, number {row['place']} in queue {row['queue']}: {told}"
    if not placed:
        return "nothing of it has come to a queue: it waits for its dependencies, has ended, or never was"
    last = placed[0]
    return f"nothing of it waits; its last placement, on node {last['node_id']}, is {last['status']}"
