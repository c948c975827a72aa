"""How events change a queue: scheduling's own (`evolve`), and those of resources (`observe`)."""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta

from events.language import task_ranges as sets
from events.language.base import Event
from events.language.jobs.spec import TaintEffect
from events.language.resources import (
    AllocationBound,
    AllocationEvent,
    AllocationRejected,
    AllocationReleased,
    NodeCordoned,
    NodeDrained,
    NodeDraining,
    NodeLabelled,
    NodeLost,
    NodeRecovered,
    NodeRegistered,
    NodeRemoved,
    NodeTainted,
    NodeUncordoned,
    PoolEvent,
    Taint,
)
from events.language.resources.amounts import of_vector
from events.language.resources.hardware import NodeStatus
from events.language.scheduling import (
    JobDeferred,
    JobDequeued,
    JobEnqueued,
    JobScheduled,
    JobUnscheduled,
    QueueConfigured,
    QueueCreated,
    QueueDeleted,
    QueueStatus,
)
from services.scheduling.engine.backlog import Entry, Job
from services.scheduling.engine.node import Hold, hold_of
from services.scheduling.state import LEAST_RECHECKS, PlacedTasks, Queue

FIRST_RECHECK = timedelta(seconds=0.25)
"""How long tasks wait before the reason is recorded; most are placed sooner."""

RECOVERY = timedelta(seconds=1)
"""How long a node that rejected a placement is skipped, unless an event about it comes earlier."""


# The queue's own history


def evolve(queue: Queue, event: Event, time: datetime) -> Queue:
    """The queue after one of its events (the same object)."""
    match event:
        case JobEnqueued():
            queue.made = True
            _enqueued(queue, event, time)
        case JobScheduled():
            _scheduled(queue, event)
        case JobDeferred():
            job = queue.backlog.jobs.get(event.job_id)
            tasks = sets.parse(event.tasks)
            for entry in job.entries.values() if job else ():
                if sets.both(entry.tasks, tasks):
                    entry.told = event.reasons
        case JobDequeued():
            _dequeued(queue, event)
        case JobUnscheduled():
            tasks = sets.parse(event.tasks)
            for id in event.allocations:
                if (placement := queue.placements.get(id)) is not None:
                    more = sets.both(placement.tasks, tasks)
                    placement.stopping = sets.union(placement.stopping, more)
        case QueueConfigured():
            queue.made = True
            queue.status = event.status
            queue.backlog.reorder(event.policy)
        case QueueCreated():
            queue.made = True
            queue.status = QueueStatus.ACTIVE
            queue.backlog.reorder(event.policy)
        case QueueDeleted():
            queue.made = False
    return queue


def _enqueued(queue: Queue, event: JobEnqueued, time: datetime) -> None:
    entry = event.entry
    job = queue.backlog.job(entry.job_id, entry.project, entry.owner, entry.request, entry.launch)
    added = queue.backlog.add(job, entry.attempt, sets.parse(entry.tasks), time, entry.not_before)
    recheck(queue, added, time + FIRST_RECHECK)


def recheck(queue: Queue, entry: Entry, when: datetime) -> None:
    """Schedule a check of why an entry waits."""
    entry.recheck_at = when
    queue.serial += 1
    heapq.heappush(queue.rechecks, (when, queue.serial, entry))
    if len(queue.rechecks) > queue.most_rechecks:
        # No checks happen while a history is folded: most of it is about entries that are long gone.
        queue.rechecks = [check for check in queue.rechecks if stands(check)]
        heapq.heapify(queue.rechecks)
        queue.most_rechecks = max(LEAST_RECHECKS, 2 * len(queue.rechecks))


def stands(check: tuple[datetime, int, Entry]) -> bool:
    """Whether a scheduled check is current: its entry waits, and no later check has replaced it."""
    when, _, entry = check
    return bool(entry.tasks) and entry.recheck_at == when


def _scheduled(queue: Queue, event: JobScheduled) -> None:
    backlog = queue.backlog
    job = backlog.job(event.job_id, event.project, event.owner, event.request, event.launch)
    queue.number += len(event.placements)
    for placed in event.placements:
        tasks = sets.parse(placed.tasks)
        queue.placements[placed.allocation_id] = PlacedTasks(
            placed.allocation_id, job, placed.node_id, placed.attempt, tasks
        )
        backlog.place(job, placed.allocation_id, tasks)
        for entry in _of(job, placed.attempt, tasks):
            backlog.take(entry, sets.minus(entry.tasks, tasks))
        queue.cluster.hold(claim(job, placed.allocation_id, placed.node_id, tasks))


def _of(job: Job, attempt: int, tasks: sets.Tasks) -> list[Entry]:
    """The entries that contain these waiting tasks of an attempt."""
    found: list[Entry] = []
    for entry in job.entries.values():
        if not tasks:
            break
        if entry.attempt == attempt and (rest := sets.minus(tasks, entry.tasks)) != tasks:
            found.append(entry)
            tasks = rest
    return found


def claim(job: Job, allocation_id: str, node_id: str, tasks: sets.Tasks) -> Hold:
    """The hold of a job's tasks on a node."""
    return Hold(
        allocation_id,
        job.id,
        node_id,
        tasks,
        job.request.resources,
        job.wish.shape.request,
        job.request.labels,
        job.wish.affinity,
    )


def _dequeued(queue: Queue, event: JobDequeued) -> None:
    job = queue.backlog.jobs.get(event.job_id)
    if job is None:
        return
    tasks = sets.parse(event.tasks)
    for entry in list(job.entries.values()):
        if event.attempt in (0, entry.attempt):
            queue.backlog.take(entry, sets.minus(entry.tasks, tasks))
    queue.backlog.forget(job)


# The view of the pool


def observe(queue: Queue, event: Event, time: datetime) -> Queue:
    """The queue after an event of its pool (the same object)."""
    match event:
        case AllocationEvent():
            _allocation(queue, event, time)
        case NodeRemoved():
            queue.cluster.remove(event.node_id)
            queue.agent_taints.pop(event.node_id, None)
        case PoolEvent():
            _node(queue, event)
    return queue


def _allocation(queue: Queue, event: AllocationEvent, time: datetime) -> None:
    cluster = queue.cluster
    queue.rejected = None
    match event:
        case AllocationBound():
            if event.allocation_id not in cluster.holds:
                tasks = sets.parse(event.tasks)
                cluster.hold(hold_of(event.allocation_id, event.job_id, event.node_id, tasks, event.resources))
            cluster.confirm(event.allocation_id, {share.task: share.gpus for share in event.devices})
        case AllocationRejected():
            cluster.release(event.allocation_id)
            queue.rejected = _forget(queue, event.allocation_id, None)
            node = cluster.nodes.get(event.node_id)
            if node is not None:
                cluster.pass_over(node)
                heapq.heappush(queue.recoveries, (time + RECOVERY, node.id))
        case AllocationReleased():
            cluster.release(event.allocation_id, sets.parse(event.tasks))
            _forget(queue, event.allocation_id, sets.parse(event.tasks))


def _forget(queue: Queue, allocation_id: str, tasks: sets.Tasks | None) -> PlacedTasks | None:
    """Remove tasks (all if None) from a placement; without tasks left, remove the placement."""
    placement = queue.placements.get(allocation_id)
    if placement is None:
        return None
    rest = sets.minus(placement.tasks, tasks) if tasks is not None else sets.NONE
    queue.backlog.unplace(placement.job, allocation_id, rest)
    if rest:
        placement.tasks = rest
        placement.stopping = sets.both(placement.stopping, rest)
    else:
        del queue.placements[allocation_id]
        queue.backlog.forget(placement.job)
    return placement


def _node(queue: Queue, event: PoolEvent) -> None:
    cluster = queue.cluster
    if isinstance(event, NodeRegistered):
        # The events that follow repeat the operators' settings of the node.
        spec = event.spec
        agents = tuple(Taint(key=key, effect=TaintEffect.NO_SCHEDULE) for key in spec.taints)
        queue.agent_taints[event.node_id] = agents
        node = cluster.node(event.node_id)
        cluster.equip(node, of_vector(spec.capacity), spec.gpus)
        cluster.stand(node, status=NodeStatus.READY, labels=dict(spec.labels), taints=agents)
        return
    known = cluster.nodes.get(event.node_id)
    if known is None:
        return
    match event:
        case NodeLabelled():
            labels = {**known.labels, **event.labels}
            cluster.stand(known, labels={key: value for key, value in labels.items() if value is not None})
        case NodeTainted():
            cluster.stand(known, taints=(*queue.agent_taints.get(known.id, ()), *event.taints))
        case _:
            if (status := _STATUS.get(type(event))) is not None:
                cluster.stand(known, status=status)


_STATUS: dict[type[PoolEvent], NodeStatus] = {
    NodeCordoned: NodeStatus.CORDONED,
    NodeUncordoned: NodeStatus.READY,
    NodeDraining: NodeStatus.DRAINING,
    NodeDrained: NodeStatus.DRAINED,
    NodeLost: NodeStatus.LOST,
    NodeRecovered: NodeStatus.READY,
}
