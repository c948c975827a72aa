"""How each event of resources changes a pool. Every status change is checked against the language's table of moves."""

from __future__ import annotations

from datetime import datetime

from events.language import task_ranges as sets
from events.language.base import Event
from events.language.moves import check_move
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    AllocationReleased,
    AllocationStatus,
    AllocationStopRequested,
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
    ReleaseReason,
)
from events.language.resources.hardware import NodeStatus
from events.language.resources.moves import ALLOCATION_MOVES, NODE_MOVES
from services.resources import ending
from services.resources.placing import bound
from services.resources.state import Node, Pool


def evolve(pool: Pool, event: Event, time: datetime) -> Pool:
    """The pool after an event (the same object). Raises `IllegalMove` for a history that can't be."""
    match event:
        case AllocationBound():
            pool.bind(bound(event, pool.nodes[event.node_id].boot_id))
        case AllocationRejected():
            pool.remember(event.allocation_id, event.node_id)
        case AllocationStopRequested():
            _stop(pool, event)
        case AllocationReleased():
            _release(pool, event)
        case NodeRegistered() if event.node_id not in pool.nodes:
            pool.nodes[event.node_id] = Node(
                event.node_id,
                event.spec,
                event.boot_id,
                event.agent_id,
                instance_id=event.instance_id,
                registered_at=time,
                last_seen=time,
            )
            pool.look_at = None
        case NodeRemoved():
            del pool.nodes[event.node_id]
            pool.owing.discard(event.node_id)
        case PoolEvent():
            node = pool.nodes[event.node_id]
            before = node.status
            _change(pool, node, event, time)
            if node.status is not before:
                check_move(NODE_MOVES, before, node.status, f"node {node.id}")
            _reckon(pool, node)
    return pool


def _stop(pool: Pool, event: AllocationStopRequested) -> None:
    allocation = pool.allocations[event.allocation_id]
    before = allocation.status
    allocation.stopping = sets.union(allocation.stopping, sets.parse(event.tasks))
    if allocation.status is not before:
        check_move(ALLOCATION_MOVES, before, allocation.status, f"allocation {allocation.id}")
    if event.node_id in pool.owing:
        _reckon(pool, pool.nodes[event.node_id])


def _release(pool: Pool, event: AllocationReleased) -> None:
    allocation = pool.allocations[event.allocation_id]
    before = allocation.status
    pool.release(event.allocation_id, sets.parse(event.tasks))
    if not allocation.held:
        lost = event.reason is ReleaseReason.NODE_LOST
        after = AllocationStatus.LOST if lost else AllocationStatus.RELEASED
        check_move(ALLOCATION_MOVES, before, after, f"allocation {allocation.id}")
    node = pool.nodes[event.node_id]
    if event.node_id in pool.owing or node.hold is NodeStatus.DRAINING:
        _reckon(pool, node)


def _change(pool: Pool, node: Node, event: PoolEvent, time: datetime) -> None:
    match event:
        case NodeRegistered():
            if event.boot_id != node.boot_id or not node.succeeded_by(event.boot_id, event.instance_id):
                _orphan(pool, node)
            node.spec, node.boot_id, node.agent_id = event.spec, event.boot_id, event.agent_id
            node.instance_id = event.instance_id
            node.registered_at = node.last_seen = time
            node.load = None
            node.lost = False
            pool.look_at = None
        case NodeRecovered():
            node.lost = False
            node.last_seen = time
            pool.look_at = None
        case NodeLost():
            node.lost = True
            _orphan(pool, node)
        case NodeCordoned():
            node.hold, node.hold_reason = NodeStatus.CORDONED, event.reason
        case NodeUncordoned():
            node.hold, node.hold_reason, node.drain_grace = None, "", None
        case NodeDraining():
            node.hold, node.hold_reason = NodeStatus.DRAINING, event.reason
            node.drain_grace = event.grace_seconds
        case NodeDrained():
            node.hold = NodeStatus.DRAINED
        case NodeLabelled():
            for key, value in event.labels.items():
                if value is None and key not in node.spec.labels:
                    node.labels.pop(key, None)
                else:
                    node.labels[key] = value
        case NodeTainted():
            node.taints = event.taints


def _orphan(pool: Pool, node: Node) -> None:
    """The node's processes are gone or not this registration's: release of all its allocations is owed."""
    for allocation in pool.on(node):
        allocation.orphaned = True


def _reckon(pool: Pool, node: Node) -> None:
    """Note whether something is owed on a node."""
    if ending.owes(pool, node):
        pool.owing.add(node.id)
    else:
        pool.owing.discard(node.id)
