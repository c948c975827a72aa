"""Whether a placement that scheduling proposes fits, and the events that bind or reject it. Pure.

Scheduling's view of the pool may be a moment old, so everything is checked here again: this is where capacity is
decided. All reasons are for people.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.language import task_ranges as sets
from events.language.resources import AllocationBound, AllocationRejected, DeviceShare
from events.language.resources.amounts import of_request
from events.language.resources.devices import describe, pick
from events.language.resources.hardware import NodeStatus
from events.language.scheduling import JobScheduled, Placement
from services.resources.ending import why_stop
from services.resources.state import Allocation, Node, Pool

LAUNCH_BYTES = 2_500_000
"""Most bytes of launch descriptions in one decision; placements beyond it are sent back to be scheduled again."""


def place(pool: Pool, scheduled: JobScheduled) -> Iterator[AllocationBound | AllocationRejected]:
    """The outcome of every placement that has none yet, each checked on top of the ones before it."""
    tried: dict[str, Node] = {}
    seen: set[str] = set()
    launch_bytes = len(scheduled.launch.model_dump_json())
    budget = LAUNCH_BYTES
    for placement in scheduled.placements:
        if placement.allocation_id in seen or pool.known(placement.allocation_id):
            continue
        seen.add(placement.allocation_id)
        node = tried.get(placement.node_id)
        if node is None and placement.node_id in pool.nodes:
            node = tried[placement.node_id] = pool.nodes[placement.node_id].copy()
        if node is None:
            yield _reject(pool, scheduled, placement, f"node {placement.node_id} is not in pool {pool.name}")
            continue
        allocation = allocation_of(scheduled, placement, node)
        tasks = sets.count(allocation.tasks)
        reason = why_not(node, allocation)
        if not reason and budget < launch_bytes:
            reason = "too many placements of so long a command at once; the next decision takes these"
        devices = None if reason else pick(node.spec.gpus, node.gpus, allocation.resources, tasks)
        if devices is None:
            reason = reason or f"node {node.id} has too few free devices: needs {describe(allocation.resources, tasks)}"
            yield _reject(pool, scheduled, placement, reason)
            continue
        budget -= launch_bytes
        if allocation.resources.gpus:
            allocation.gpus = dict(zip(sets.each(allocation.tasks), devices, strict=True))
        node.take(allocation)
        yield AllocationBound(
            pool=pool.name,
            allocation_id=placement.allocation_id,
            job_id=scheduled.job_id,
            project=scheduled.project,
            node_id=node.id,
            tasks=placement.tasks,
            attempt=placement.attempt,
            resources=allocation.resources,
            devices=tuple(DeviceShare(task=task, gpus=gpus) for task, gpus in allocation.gpus.items()),
            launch=scheduled.launch,
            tolerations=allocation.tolerations,
            instance_id=allocation.instance_id,
        )


def allocation_of(scheduled: JobScheduled, placement: Placement, node: Node) -> Allocation:
    """What a placement would hold, its devices still to be picked."""
    tasks = sets.parse(placement.tasks)
    return Allocation(
        id=placement.allocation_id,
        job_id=scheduled.job_id,
        project=scheduled.project,
        node_id=node.id,
        boot_id=node.boot_id,
        tasks=tasks,
        held=tasks,
        stopping=sets.NONE,
        attempt=placement.attempt,
        resources=scheduled.request.resources,
        gpus={},
        grace_seconds=scheduled.launch.grace_seconds,
        tolerations=scheduled.request.scheduling.tolerations,
        instance_id=node.instance_id,
    )


def why_not(node: Node, allocation: Allocation) -> str:
    """Why a node can't take an allocation now; empty when it can."""
    if node.status is not NodeStatus.READY:
        return f"node {node.id} is {node.status.value.replace('_', ' ')}"
    if node.exclusive and node.exclusive != allocation.job_id:
        return f"node {node.id} is held by job {node.exclusive} for itself"
    if allocation.resources.exclusive and any(job != allocation.job_id for job in node.allocations.values()):
        return f"node {node.id} runs other jobs and this one wants a node for itself"
    if reason := why_stop(node, allocation):
        return reason
    shortage = node.free.shortage(of_request(allocation.resources).times(sets.count(allocation.tasks)))
    return f"node {node.id}: {shortage}" if shortage else ""


def _reject(pool: Pool, scheduled: JobScheduled, placement: Placement, reason: str) -> AllocationRejected:
    return AllocationRejected(
        pool=pool.name,
        allocation_id=placement.allocation_id,
        job_id=scheduled.job_id,
        project=scheduled.project,
        node_id=placement.node_id,
        tasks=placement.tasks,
        attempt=placement.attempt,
        reason=reason,
    )


def bound(event: AllocationBound, boot_id: str) -> Allocation:
    """The allocation an event speaks of."""
    tasks = sets.parse(event.tasks)
    return Allocation(
        id=event.allocation_id,
        job_id=event.job_id,
        project=event.project,
        node_id=event.node_id,
        boot_id=boot_id,
        tasks=tasks,
        held=tasks,
        stopping=sets.NONE,
        attempt=event.attempt,
        resources=event.resources,
        gpus={share.task: share.gpus for share in event.devices},
        grace_seconds=event.launch.grace_seconds,
        tolerations=event.tolerations,
        instance_id=event.instance_id,
    )
