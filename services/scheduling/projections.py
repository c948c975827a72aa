"""The tables of scheduling: queues, waiting entries with their reasons, and all placements. Pure folds.

It reads its own events and those of resources, which have the outcomes of placements. The two come in any order, so no
row depends on both: each side has its own tables, and queries join them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel

from events.language import task_ranges as sets
from events.language.jobs.spec import PRIORITY_WEIGHT, JobPriority
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    AllocationReleased,
    AllocationStatus,
    AllocationStopRequested,
    NodeRegistered,
    NodeRemoved,
    ReleaseReason,
)
from events.language.scheduling import (
    JobDeferred,
    JobDequeued,
    JobEnqueued,
    JobScheduled,
    QueueConfigured,
    QueueCreated,
    QueueDeleted,
    QueueStatus,
    SchedulingEvent_,
    SchedulingPolicy,
)
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Row, Rows, Table
from events.projections.row_models import Int4, table_of


class QueueRow(BaseModel):
    """A queue. It exists if it was `made`, or if its pool has `members`; `default` always exists. `placed_tasks` counts
    all placed tasks; those in `returns` are not placed any more."""

    queue: str
    policy: SchedulingPolicy = SchedulingPolicy.PRIORITY
    status: QueueStatus = QueueStatus.ACTIVE
    placed_tasks: int = 0
    made: bool = False
    updated_at: datetime | None = None


class ReturnsRow(BaseModel):
    """The number of a queue's placed tasks that resources has rejected or released."""

    queue: str
    tasks: int = 0


class MemberRow(BaseModel):
    """A node of the pool with a queue's name, from the events of resources."""

    queue: str
    node_id: str


class EntryRow(BaseModel):
    """A job with waiting tasks. `waiting` has an item for each attempt and back-off: tasks and times."""

    job_id: str
    queue: str
    project: str
    owner: str
    name: str
    priority: JobPriority
    weight: Annotated[int, Int4]
    resources: dict[str, Any]
    waiting: dict[str, Row] = {}
    waiting_tasks: int = 0
    message: str = ""
    reasons: list[Row] = []
    submitted_at: datetime


class PlacementRow(BaseModel):
    """A decided placement."""

    allocation_id: str
    queue: str
    job_id: str
    node_id: str
    tasks: str
    attempt: Annotated[int, Int4]
    score: float
    waited_seconds: float
    decided_at: datetime


class OutcomeRow(BaseModel):
    """The outcome of a placement, from the events of resources; pending without a row."""

    allocation_id: str
    status: AllocationStatus
    reason: str = ""


QUEUES = table_of(QueueRow, "queues", key=("queue",))
RETURNS = table_of(ReturnsRow, "returns", key=("queue",))
MEMBERS = table_of(MemberRow, "members", key=("queue", "node_id"))
ENTRIES = table_of(
    EntryRow,
    "entries",
    key=("job_id", "queue"),
    indexes=("queue, weight desc, submitted_at, job_id", "queue, submitted_at, job_id"),
)
PLACEMENTS = table_of(
    PlacementRow,
    "placements",
    key=("allocation_id",),
    indexes=(
        "job_id, decided_at desc",
        "queue, decided_at desc, allocation_id desc",
        "decided_at desc, allocation_id desc",
        "node_id",
    ),
    born="decided_at",
)
OUTCOMES = table_of(OutcomeRow, "outcomes", key=("allocation_id",))

_NEWS = (AllocationBound, AllocationRejected, AllocationStopRequested, AllocationReleased)


class SchedulingProjection(Projection):
    """Folds events.scheduling and events.resources."""

    context = "scheduling"
    inputs = ("scheduling", "resources")
    reads = frozenset({*_NEWS, NodeRegistered, NodeRemoved})
    tables = (QUEUES, RETURNS, MEMBERS, ENTRIES, PLACEMENTS, OUTCOMES)
    version = 4

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        event = recorded.data
        if isinstance(event, SchedulingEvent_):
            yield QUEUES, (event.queue,)
            if isinstance(event, JobEnqueued | JobScheduled | JobDeferred | JobDequeued):
                yield ENTRIES, (event.job_id, event.queue)
            if isinstance(event, JobScheduled):
                for placed in event.placements:
                    yield PLACEMENTS, (placed.allocation_id,)
        elif isinstance(event, _NEWS):
            yield OUTCOMES, (event.allocation_id,)
            if isinstance(event, AllocationRejected | AllocationReleased):
                yield RETURNS, (event.pool,)
        elif isinstance(event, NodeRegistered | NodeRemoved):
            yield MEMBERS, (event.pool, event.node_id)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event, time = recorded.data, recorded.meta.time
        match event:
            case SchedulingEvent_():
                queue = _queue(rows, event.queue)
                match event:
                    case QueueConfigured():
                        queue.update(policy=event.policy.value, status=event.status.value, made=True)
                    case QueueCreated():
                        queue.update(policy=event.policy.value, status=QueueStatus.ACTIVE.value, made=True)
                    case QueueDeleted():
                        queue["made"] = False
                    case JobEnqueued():
                        queue["made"] = True
                        _enqueued(rows, event, time)
                    case JobScheduled():
                        _scheduled(rows, event, queue, time)
                    case JobDeferred():
                        _deferred(rows, event)
                    case JobDequeued():
                        _leave(rows, event.queue, event.job_id, event.tasks, event.attempt)
                rows.put(QUEUES, {**queue, "updated_at": time})
            case NodeRegistered():
                rows.put(MEMBERS, {"queue": event.pool, "node_id": event.node_id})
            case NodeRemoved():
                rows.delete(MEMBERS, (event.pool, event.node_id))
            case AllocationBound():
                _news(rows, event.allocation_id, AllocationStatus.BOUND, "")
            case AllocationStopRequested():
                _news(rows, event.allocation_id, AllocationStatus.STOPPING, event.reason)
            case AllocationRejected():
                _news(rows, event.allocation_id, AllocationStatus.REJECTED, event.reason)
                _returned(rows, event.pool, event.tasks)
            case AllocationReleased():
                if event.rest is None:
                    lost = event.reason is ReleaseReason.NODE_LOST
                    status = AllocationStatus.LOST if lost else AllocationStatus.RELEASED
                    _news(rows, event.allocation_id, status, "")
                _returned(rows, event.pool, event.tasks)


def _queue(rows: Rows, name: str) -> Row:
    found = rows.get(QUEUES, (name,))
    return dict(found) if found is not None else QUEUES.first(queue=name)


def _enqueued(rows: Rows, event: JobEnqueued, time: datetime) -> None:
    entry, request = event.entry, event.entry.request
    found = rows.get(ENTRIES, (event.job_id, event.queue))
    row = (
        dict(found)
        if found is not None
        else ENTRIES.first(
            job_id=event.job_id,
            queue=event.queue,
            project=entry.project,
            owner=entry.owner,
            name=request.name,
            priority=request.priority.value,
            weight=PRIORITY_WEIGHT[request.priority],
            resources=request.resources.model_dump(mode="json"),
            submitted_at=request.submitted_at,
        )
    )
    waiting = dict(row["waiting"])
    key = f"{entry.attempt}"
    if entry.not_before is not None and entry.not_before > time:
        key += f" {entry.not_before.isoformat()}"
    before = waiting.get(key)
    tasks = sets.parse(entry.tasks)
    if before is not None:
        tasks = sets.union(tasks, sets.parse(before["tasks"]))
    waiting[key] = {
        "tasks": sets.text(tasks),
        "attempt": entry.attempt,
        "queued_at": before["queued_at"] if before else time.isoformat(),
        "not_before": entry.not_before.isoformat() if entry.not_before else None,
    }
    _put(rows, row, waiting)


def _put(rows: Rows, row: Row, waiting: dict[str, Row]) -> None:
    if not waiting:
        rows.delete(ENTRIES, (row["job_id"], row["queue"]))
        return
    number = sum(sets.count(sets.parse(item["tasks"])) for item in waiting.values())
    rows.put(ENTRIES, {**row, "waiting": waiting, "waiting_tasks": number})


def _leave(rows: Rows, queue: str, job_id: str, tasks: str, attempt: int) -> None:
    """Remove tasks of an attempt (0: of any attempt) from the waiting ones."""
    row = rows.get(ENTRIES, (job_id, queue))
    if row is None:
        return
    gone = sets.parse(tasks)
    waiting: dict[str, Row] = {}
    for key, item in row["waiting"].items():
        rest = sets.parse(item["tasks"])
        if attempt in (0, item["attempt"]):
            rest = sets.minus(rest, gone)
        if rest:
            waiting[key] = {**item, "tasks": sets.text(rest)}
    _put(rows, row, waiting)


def _scheduled(rows: Rows, event: JobScheduled, queue: Row, time: datetime) -> None:
    by_attempt: dict[int, sets.Tasks] = {}
    for placed in event.placements:
        tasks = sets.parse(placed.tasks)
        by_attempt[placed.attempt] = sets.union(by_attempt.get(placed.attempt, sets.NONE), tasks)
        rows.put(
            PLACEMENTS,
            {
                "allocation_id": placed.allocation_id,
                "queue": event.queue,
                "job_id": event.job_id,
                "node_id": placed.node_id,
                "tasks": placed.tasks,
                "attempt": placed.attempt,
                "score": placed.score,
                "waited_seconds": event.waited_seconds,
                "decided_at": time,
            },
        )
    for attempt, tasks in by_attempt.items():
        queue["placed_tasks"] += sets.count(tasks)
        _leave(rows, event.queue, event.job_id, sets.text(tasks), attempt)


def _deferred(rows: Rows, event: JobDeferred) -> None:
    row = rows.get(ENTRIES, (event.job_id, event.queue))
    if row is not None:
        reasons = [reason.model_dump(mode="json") for reason in event.reasons]
        rows.put(ENTRIES, {**row, "message": event.message, "reasons": reasons})


def _news(rows: Rows, allocation_id: str, status: AllocationStatus, reason: str) -> None:
    before = rows.get(OUTCOMES, (allocation_id,))
    kept = reason or (before["reason"] if before else "")
    rows.put(OUTCOMES, {"allocation_id": allocation_id, "status": status.value, "reason": kept})


def _returned(rows: Rows, queue: str, tasks: str) -> None:
    row = rows.get(RETURNS, (queue,))
    before = row["tasks"] if row is not None else 0
    rows.put(RETURNS, {"queue": queue, "tasks": before + sets.count(sets.parse(tasks))})


PROJECTION = SchedulingProjection()
