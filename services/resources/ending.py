"""How allocations end: which tasks must stop and why, and the events that stop and release them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from events.language import task_ranges as sets
from events.language.base import Event
from events.language.jobs.spec import TaintEffect
from events.language.resources import AllocationReleased, AllocationStopRequested, ReleaseReason
from events.language.resources.hardware import NodeStatus
from events.language.resources.taints import show, tolerates
from events.language.task_ranges import Tasks
from services.resources.state import Allocation, Node, Pool

AT_ONCE = 1_000
"""Most events of one decision where what is left can follow on its own: one append is bounded in bytes (4 MiB)."""


def why_stop(node: Node, allocation: Allocation) -> str:
    """Why an allocation may not stay on a node, for people; empty when it may."""
    if node.hold is NodeStatus.DRAINING:
        return node.hold_reason or f"node {node.id} is being drained"
    for taint in node.taints:
        if taint.effect is TaintEffect.NO_EXECUTE and not tolerates(allocation.tolerations, taint):
            return f"taint {show(taint)} of node {node.id} is not tolerated"
    return ""


def stop(pool: Pool, allocation: Allocation, tasks: Tasks, grace_seconds: float, reason: str) -> list[Event]:
    """Ask for the stop of those of the tasks that are held and were not asked yet."""
    wanted = sets.minus(sets.both(allocation.held, tasks), allocation.stopping)
    if not wanted or allocation.orphaned:
        return []
    return [
        AllocationStopRequested(
            pool=pool.name,
            allocation_id=allocation.id,
            job_id=allocation.job_id,
            project=allocation.project,
            node_id=allocation.node_id,
            tasks=sets.text(wanted),
            grace_seconds=grace_seconds,
            reason=reason,
        )
    ]


def stops(pool: Pool, node: Node) -> list[Event]:
    """Stop requests, at most `AT_ONCE`, for what may not stay on a node."""
    events: list[Event] = []
    for allocation in pool.on(node):
        if reason := why_stop(node, allocation):
            grace = allocation.grace_seconds if node.drain_grace is None else node.drain_grace
            events += stop(pool, allocation, allocation.held, grace, reason)
        if len(events) >= AT_ONCE:
            break
    return events


def release(pool: Pool, allocation: Allocation, tasks: Tasks, held: Tasks, reason: ReleaseReason) -> AllocationReleased:
    """The release of some of the tasks that an allocation holds."""
    rest = sets.minus(held, tasks)
    return AllocationReleased(
        pool=pool.name,
        allocation_id=allocation.id,
        job_id=allocation.job_id,
        project=allocation.project,
        node_id=allocation.node_id,
        tasks=sets.text(tasks),
        attempt=allocation.attempt,
        rest=sets.text(rest) if rest else None,
        reason=reason,
    )


def releases_of_lost(pool: Pool, allocations: Iterable[Allocation]) -> list[Event]:
    """Releases, at most `AT_ONCE`, of allocations whose processes are gone with their node."""
    events: list[Event] = []
    for allocation in allocations:
        events.append(release(pool, allocation, allocation.held, allocation.held, ReleaseReason.NODE_LOST))
        if len(events) >= AT_ONCE:
            break
    return events


def owes(pool: Pool, node: Node) -> bool:
    """Whether something is still to be said about a node: a release, a stop, the end of a drain."""
    draining = node.status is NodeStatus.DRAINING
    if draining and not node.allocations:
        return True
    evicts = draining or any(taint.effect is TaintEffect.NO_EXECUTE for taint in node.taints)
    return any(
        allocation.orphaned or (evicts and allocation.stopping != allocation.held and why_stop(node, allocation))
        for allocation in pool.on(node)
    )
