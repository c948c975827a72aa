"""How a node joins its pool: what its registration must be like, the events it leads to, and what is said of the node
again. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.language import task_ranges as sets
from events.language.base import Event
from events.language.common import ErrorCode, FieldError, Refused
from events.language.resources import (
    HeldTasks,
    NodeCordoned,
    NodeDrained,
    NodeDraining,
    NodeHoldings,
    NodeLabelled,
    NodeRegistered,
    NodeTainted,
    RegisterNode,
)
from events.language.resources.hardware import NodeStatus
from services.resources import ending
from services.resources.state import Node, Pool


def register(pool: Pool, command: RegisterNode, now: datetime, lost_after: timedelta) -> list[Event]:
    """The registration, what operators said of the node before, and the release of what an earlier agent held.
    `lost_after`: silence after which a node is lost. Raises Refused."""
    _check_inventory(command)
    node = pool.nodes.get(command.node_id)
    if node is not None:
        _check_holder(node, command, now, lost_after)
    goes_on = (
        node is not None and node.boot_id == command.boot_id and node.succeeded_by(command.boot_id, command.instance_id)
    )
    events: list[Event] = [
        NodeRegistered(
            pool=pool.name,
            node_id=command.node_id,
            spec=command.spec,
            boot_id=command.boot_id,
            agent_id=command.agent_id,
            instance_id=command.instance_id,
            holds=_holdings(pool, node if goes_on else None),
        )
    ]
    if node is None:
        return events
    events += _say_again(pool, node)
    if not goes_on:
        events += ending.releases_of_lost(pool, pool.on(node))
    return events


def hold_again(pool: Pool, node: Node) -> list[Event]:
    """Once a node is back: an operator's cordon or drain outlives the loss."""
    match node.hold:
        case NodeStatus.CORDONED:
            return [NodeCordoned(pool=pool.name, node_id=node.id, reason=node.hold_reason)]
        case NodeStatus.DRAINING:
            grace = node.drain_grace
            return [NodeDraining(pool=pool.name, node_id=node.id, reason=node.hold_reason, grace_seconds=grace)]
        case NodeStatus.DRAINED:
            return [NodeDrained(pool=pool.name, node_id=node.id)]
        case _:
            return []


def _say_again(pool: Pool, node: Node) -> list[Event]:
    """After a node's registration, what operators said of it before: so a reader may take each event at its word."""
    events: list[Event] = []
    if node.labels:
        events.append(NodeLabelled(pool=pool.name, node_id=node.id, labels=dict(node.labels)))
    if node.taints:
        events.append(NodeTainted(pool=pool.name, node_id=node.id, taints=node.taints))
    return [*events, *hold_again(pool, node)]


def _check_holder(node: Node, command: RegisterNode, now: datetime, lost_after: timedelta) -> None:
    """Refuses a registration that would take a node from an agent that may still run tasks on it."""
    if node.lost or node.succeeded_by(command.boot_id, command.instance_id):
        return
    silent = (now - (node.last_seen or now)).total_seconds()
    raise Refused(
        ErrorCode.FAILED_PRECONDITION,
        f"node {node.id} is held by agent {node.agent_id} on host {node.spec.hostname}, heard of "
        f"{max(0.0, silent):.0f} s ago: give this agent another name (FORGELOG_NODE), or stop that one; once it "
        f"has been silent for {lost_after.total_seconds():g} s, or the node is removed, the node is free",
        [FieldError(field="node_id", problem=f"is held by agent {node.agent_id}")],
    )


def _holdings(pool: Pool, node: Node | None) -> NodeHoldings:
    """What runs on a node, as far as the pool knows; nothing on a new one (None)."""
    held = tuple(
        HeldTasks(
            allocation_id=allocation.id,
            job_id=allocation.job_id,
            project=allocation.project,
            tasks=sets.text(allocation.held),
            attempt=allocation.attempt,
        )
        for allocation in (pool.on(node) if node is not None else ())
        if not allocation.orphaned
    )
    return NodeHoldings(allocations=held)


def _check_inventory(command: RegisterNode) -> None:
    """Refuses an inventory that names a device twice, or has fewer devices than it offers."""
    gpus = command.spec.gpus
    indices = [gpu.index for gpu in gpus]
    if len(set(indices)) < len(indices):
        twice = sorted({index for index in indices if indices.count(index) > 1})
        raise Refused(
            ErrorCode.INVALID_ARGUMENT,
            f"gpu {', '.join(map(str, twice))} is listed more than once",
            [FieldError(field="spec.gpus", problem=f"has index {twice[0]} more than once", hint="list each once")],
        )
    if command.spec.capacity.gpus > len(gpus):
        raise Refused(
            ErrorCode.INVALID_ARGUMENT,
            f"the node offers {command.spec.capacity.gpus} gpus but lists {len(gpus)}",
            [
                FieldError(
                    field="spec.capacity.gpus",
                    problem=f"is {command.spec.capacity.gpus}, but spec.gpus lists {len(gpus)} devices",
                    hint="list every device, or offer fewer",
                )
            ],
        )
