"""Decisions of resources: which nodes a pool has, and who holds what on them. Only its writer gives capacity away.

Scheduling proposes placements; here each is bound or rejected. A node's agent starts what is bound, stops what is asked
to stop, and reports what is gone; a node whose agent falls silent is lost, and with it all it held. Pure: knows no
Kafka, no SQL, no gRPC, no clock but the one in `DecisionContext`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from events.language import task_ranges as sets
from events.language.base import Command, Event
from events.language.common import ErrorCode, FieldError, Refused
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    AllocationReleased,
    AllocationStopRequested,
    CordonNode,
    DrainNode,
    HeartbeatNode,
    LabelNode,
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
    PoolCommand,
    PoolEvent,
    RegisterNode,
    ReleaseReason,
    RemoveNode,
    ReportAllocationsEnded,
    TaintNode,
    UncordonNode,
)
from events.language.resources.hardware import NodeStatus
from events.language.scheduling import JobScheduled, JobUnscheduled
from events.writer.decider import Decider, DecisionContext, Measure, Route
from services.resources import dumps, ending, fold, placing, registering
from services.resources.state import Load, Node, Pool

LOST_AFTER_SECONDS = 15.0
"""Silence of an agent after which its node is lost."""

STALL_SECONDS = 5.0
"""If the pool's writer looks at its nodes so much later than it meant to, then it was itself asleep (a suspended
laptop, say): what it did not hear in that time says nothing about the nodes."""


class Resources(Decider[Pool]):
    """Folds and decides one pool."""

    context: ClassVar[str] = "resources"
    aggregate: ClassVar[str] = "pool"
    commands: ClassVar[tuple[type[Command], ...]] = (
        RegisterNode,
        HeartbeatNode,
        CordonNode,
        UncordonNode,
        DrainNode,
        LabelNode,
        TaintNode,
        RemoveNode,
        ReportAllocationsEnded,
    )
    events: ClassVar[tuple[type[Event], ...]] = (
        NodeRegistered,
        NodeCordoned,
        NodeUncordoned,
        NodeDraining,
        NodeDrained,
        NodeLost,
        NodeRecovered,
        NodeLabelled,
        NodeTainted,
        NodeRemoved,
        AllocationBound,
        AllocationRejected,
        AllocationStopRequested,
        AllocationReleased,
    )
    routes: ClassVar[Mapping[type[Event], Route]] = {
        # A queue schedules onto the pool of the same name.
        JobScheduled: lambda event: (event.queue,),
        JobUnscheduled: lambda event: (event.queue,),
    }

    def __init__(self, lost_after: float = LOST_AFTER_SECONDS) -> None:
        """`lost_after`: seconds of silence after which a node is lost."""
        self._lost_after = timedelta(seconds=lost_after)

    def initial(self, key: str) -> Pool:
        return Pool(key)

    # Commands

    def decide(self, state: Pool, command: Command, context: DecisionContext) -> Sequence[Event]:
        match command:
            case RegisterNode():
                return registering.register(state, command, context.now, self._lost_after)
            case HeartbeatNode():
                return self._heartbeat(state, command)
            case CordonNode():
                return self._cordon(state, command)
            case UncordonNode():
                return self._uncordon(state, command)
            case DrainNode():
                return self._drain(state, command)
            case LabelNode():
                return self._label(state, command)
            case TaintNode():
                return self._taint(state, command)
            case RemoveNode():
                return self._remove(state, command)
            case ReportAllocationsEnded():
                return self._ended(state, command)
            case _:
                raise TypeError(f"{type(command).__name__} is no command of resources")

    def _heartbeat(self, pool: Pool, command: HeartbeatNode) -> list[Event]:
        node = _node(pool, command)
        if command.agent_id != node.agent_id:
            raise Refused(
                ErrorCode.FAILED_PRECONDITION,
                f"node {node.id} is held by agent {node.agent_id} on host {node.spec.hostname}, not by "
                f"{command.agent_id}; stop one of the two agents, or give one another name",
            )
        if not node.lost:
            return []
        recovered = NodeRecovered(pool=pool.name, node_id=node.id, agent_id=command.agent_id)
        return [recovered, *registering.hold_again(pool, node)]

    def _cordon(self, pool: Pool, command: CordonNode) -> list[Event]:
        node = _node(pool, command)
        return [] if node.hold else [_of(node, pool, NodeCordoned, reason=command.reason)]

    def _uncordon(self, pool: Pool, command: UncordonNode) -> list[Event]:
        node = _node(pool, command)
        if node.hold is None:
            return []
        if node.lost:
            raise Refused(
                ErrorCode.FAILED_PRECONDITION,
                f"node {node.id} is lost; uncordon it once its agent is back, or remove it",
            )
        return [_of(node, pool, NodeUncordoned, reason=command.reason)]

    def _drain(self, pool: Pool, command: DrainNode) -> list[Event]:
        node = _node(pool, command)
        if node.hold in (NodeStatus.DRAINING, NodeStatus.DRAINED):
            return []
        draining = _of(node, pool, NodeDraining, reason=command.reason, grace_seconds=command.grace_seconds)
        after = replace(node, hold=NodeStatus.DRAINING, hold_reason=command.reason, drain_grace=command.grace_seconds)
        return [draining, *ending.stops(pool, after)]

    def _taint(self, pool: Pool, command: TaintNode) -> list[Event]:
        node = _node(pool, command)
        if node.taints == command.taints:
            return []
        tainted = _of(node, pool, NodeTainted, taints=command.taints)
        return [tainted, *ending.stops(pool, replace(node, taints=command.taints))]

    def _label(self, pool: Pool, command: LabelNode) -> list[Event]:
        node = _node(pool, command)
        changed = {
            key: value
            for key, value in command.labels.items()
            if (node.label(key) is not None if value is None else node.labels.get(key) != value)
        }
        return [_of(node, pool, NodeLabelled, labels=changed)] if changed else []

    def _remove(self, pool: Pool, command: RemoveNode) -> list[Event]:
        node = _node(pool, command)
        if node.allocations:
            jobs = sorted(set(node.allocations.values()))
            shown = ", ".join(jobs[:3]) + (f" and {len(jobs) - 3} more" if len(jobs) > 3 else "")
            raise Refused(
                ErrorCode.FAILED_PRECONDITION,
                f"node {node.id} still holds {len(node.allocations)} allocations of {shown}; drain it first",
            )
        return [_of(node, pool, NodeRemoved, reason=command.reason)]

    def _ended(self, pool: Pool, command: ReportAllocationsEnded) -> list[Event]:
        """A report says what has happened, so its known parts count even beside parts that are not known."""
        events: list[Event] = []
        unknown: list[str] = []
        held: dict[str, sets.Tasks] = {}
        for number, ended in enumerate(command.ended):
            allocation = pool.allocations.get(ended.allocation_id)
            node_id = allocation.node_id if allocation else pool.ended.get(ended.allocation_id)
            if node_id is None:
                unknown.append(ended.allocation_id)
                continue
            if node_id != command.node_id:
                raise Refused(
                    ErrorCode.FAILED_PRECONDITION,
                    f"allocation {ended.allocation_id} is on node {node_id}, not {command.node_id}",
                    [FieldError(field=f"ended[{number}].allocation_id", problem=f"is on node {node_id}")],
                )
            if allocation is None:
                continue
            if command.instance_id and allocation.instance_id not in ("", command.instance_id):
                raise Refused(
                    ErrorCode.FAILED_PRECONDITION,
                    f"allocation {ended.allocation_id} is bound to another registration of node {node_id}",
                    [FieldError(field=f"ended[{number}].allocation_id", problem="is another agent's")],
                )
            tasks = sets.parse(ended.tasks)
            if strangers := sets.minus(tasks, allocation.tasks):
                raise Refused(
                    ErrorCode.INVALID_ARGUMENT,
                    f"allocation {allocation.id} never had tasks {sets.text(strangers)}",
                    [FieldError(field=f"ended[{number}].tasks", problem=f"it has {sets.text(allocation.tasks)}")],
                )
            before = held.get(allocation.id, allocation.held)
            if gone := sets.both(before, tasks):
                event = ending.release(pool, allocation, gone, before, ReleaseReason.ENDED)
                held[allocation.id] = sets.parse(event.rest)
                events.append(event)
        if unknown and len(unknown) == len(command.ended):
            raise Refused(ErrorCode.NOT_FOUND, f"pool {pool.name} has no allocation {', '.join(unknown[:10])}")
        return events

    # What scheduling says

    def react(self, state: Pool, event: Event, context: DecisionContext) -> Sequence[Event]:
        if isinstance(event, JobScheduled):
            return list(placing.place(state, event))
        if isinstance(event, JobUnscheduled):
            tasks = sets.parse(event.tasks)
            events: list[Event] = []
            for id in dict.fromkeys(event.allocations):
                allocation = state.allocations.get(id)
                # One that was rejected or has ended needs no stop; one that is still to be bound can't be: its
                # JobScheduled stands before this event in the same partition.
                if allocation is not None and allocation.job_id == event.job_id:
                    events += ending.stop(state, allocation, tasks, event.grace_seconds, event.reason)
            return events
        return ()

    # What is owed, and the passing of time

    def after_batch(self, state: Pool, context: DecisionContext) -> Sequence[Event]:
        """What decisions left over: releases after a loss, stops of a drain, the end of a drain."""
        for node_id in sorted(state.owing):
            node = state.nodes[node_id]
            orphans = [allocation for allocation in state.on(node) if allocation.orphaned]
            if events := ending.releases_of_lost(state, orphans) or ending.stops(state, node):
                return events
            if node.status is NodeStatus.DRAINING and not node.allocations:
                return [_of(node, state, NodeDrained)]
        return ()

    def due(self, state: Pool) -> datetime | None:
        if state.look_at is None:
            seen = [node.last_seen for node in state.nodes.values() if not node.lost and node.last_seen is not None]
            # Nodes are heard of later and later, so this stays a lower bound until the next look.
            state.look_at = min(seen) + self._lost_after if seen else None
        return state.look_at

    def wake(self, state: Pool, context: DecisionContext) -> Sequence[Event]:
        due = self.due(state)
        state.look_at = None
        if due is not None and (context.now - due).total_seconds() > STALL_SECONDS:
            self.on_resume(state, context.now)
            return ()
        events: list[Event] = []
        for node in state.nodes.values():
            if node.lost or node.last_seen is None or context.now - node.last_seen < self._lost_after:
                continue
            silent = (context.now - node.last_seen).total_seconds()
            events.append(NodeLost(pool=state.name, node_id=node.id, silent_seconds=silent))
            events += ending.releases_of_lost(state, state.on(node))
            if len(events) >= ending.AT_ONCE:
                break
        return events

    def note_quiet(self, state: Pool, command: Command, time: datetime) -> None:
        if isinstance(command, HeartbeatNode) and (node := state.nodes.get(command.node_id)) is not None:
            node.last_seen = time
            node.load = Load(command.cpu_percent, command.memory_used_bytes, command.running_tasks)

    def measured(self, state: Pool) -> Iterable[Measure]:
        """The loads of nodes that are there. The owner is one process, so each node is told once."""
        for node in state.nodes.values():
            if node.load is None or node.lost:
                continue
            labels = {"pool": state.name, "node": node.id}
            yield Measure(
                "forgelog_node_cpu_percent", "Use of a node's CPUs, all together", labels, node.load.cpu_percent
            )
            used = float(node.load.memory_used_bytes)
            yield Measure("forgelog_node_memory_used_bytes", "Memory of a node in use", labels, used)
            yield Measure("forgelog_node_running_tasks", "Tasks at work on a node", labels, node.load.running_tasks)

    def on_resume(self, state: Pool, now: datetime) -> None:
        state.look_at = None
        for node in state.nodes.values():
            node.last_seen = now

    # State

    def evolve(self, state: Pool, event: Event, time: datetime) -> Pool:
        return fold.evolve(state, event, time)

    def holds(self, state: Pool, aggregate: str, id: str) -> bool:
        """Nodes, and allocations that hold something."""
        return id in (state.nodes if aggregate == "node" else state.allocations)

    dump_version: ClassVar[int] = 3

    def dump(self, state: Pool) -> dict[str, Any]:
        return dumps.dump(state)

    def load(self, key: str, data: dict[str, Any]) -> Pool:
        return dumps.load(key, data)


def _node(pool: Pool, command: PoolCommand) -> Node:
    node = pool.nodes.get(command.node_id)
    if node is None:
        raise Refused(
            ErrorCode.NOT_FOUND,
            f"pool {pool.name} has no node {command.node_id}; an agent's start registers it",
            [FieldError(field="node_id", problem="names no node of the pool")],
        )
    return node


def _of(node: Node, pool: Pool, event: type[PoolEvent], **fields: Any) -> PoolEvent:
    return event(pool=pool.name, node_id=node.id, **fields)
