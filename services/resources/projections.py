"""The tables of resources: nodes, what they hold, their inventories, allocations. Pure folds of the pool's events.

An allocation's events change two rows: its own, and what its node holds. So a row of `allocations` depends on events of
that allocation alone, while a row of `node_uses` depends on the events of everything that was ever on the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel

from events.language import task_ranges as sets
from events.language.resources import (
    AllocationBound,
    AllocationEvent,
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
from events.language.resources.hardware import NodeSpec, NodeStatus
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Row, Rows, Table
from events.projections.row_models import Int4, table_of

KINDS: Mapping[str, str] = {
    "cpus": "float8",
    "memory_bytes": "bigint",
    "gpus": "bigint",
    "storage_bytes": "bigint",
    "network_mbps": "bigint",
}
"""The counted kinds of resources, as fields of `ResourceVector`, and their column types."""

NODES = Table(
    name="nodes",
    key=("node_id", "pool"),
    columns={
        "node_id": "text",
        "pool": "text",
        "status": "text",
        "hostname": "text",
        "role": "text",
        **{f"capacity_{kind}": column for kind, column in KINDS.items()},
        "gpu_models": "jsonb",
        "labels": "jsonb",
        "agent_labels": "jsonb",
        "operator_labels": "jsonb",
        "taints": "jsonb",
        "agent_taints": "jsonb",
        "hold": "text",
        "hold_reason": "text",
        "registered_at": "timestamptz",
        "lost_at": "timestamptz",
        "boot_id": "text",
        "agent_id": "text",
        "address": "text",
        "port_range": "jsonb",
    },
    indexes=("pool, node_id", "status"),
)
"""What nodes are. `labels` and `taints` are what jobs see."""

USES = Table(
    name="node_uses",
    key=("node_id", "pool"),
    columns={
        "node_id": "text",
        "pool": "text",
        **{f"allocated_{kind}": column for kind, column in KINDS.items()},
        "gpu_holders": "jsonb",
        "allocations": "int",
        "tasks": "int",
        "exclusive_job": "text",
    },
)
"""What nodes hold, a row for each of `nodes`. Every placement changes it twice, so its versions are to be small.
`gpu_holders`: index (as text) → allocation, job and task."""

SPECS = Table(
    name="node_specs",
    key=("node_id", "pool"),
    columns={"node_id": "text", "pool": "text", "spec": "jsonb"},
)
"""Inventories, apart from `nodes`: they are large and change only when an agent starts."""


class AllocationRow(BaseModel):
    """Who holds, held, or was refused what."""

    allocation_id: str
    job_id: str
    project: str
    pool: str
    node_id: str
    status: AllocationStatus = AllocationStatus.PENDING
    tasks: str
    rest: str = ""
    stopping: str = ""
    attempt: Annotated[int, Int4]
    resources: dict[str, Any] | None = None
    devices: list[Row] = []
    created_at: datetime
    stop_requested_at: datetime | None = None
    released_at: datetime | None = None
    reason: str = ""


ALLOCATIONS = table_of(
    AllocationRow,
    "allocations",
    key=("allocation_id",),
    indexes=("job_id, created_at desc", "pool, node_id, created_at desc", "created_at desc, allocation_id desc"),
    born="created_at",
)


class ResourcesProjection(Projection):
    """Folds the pools' events."""

    context: ClassVar[str] = "resources"
    tables: ClassVar[tuple[Table, ...]] = (NODES, USES, SPECS, ALLOCATIONS)
    version: ClassVar[int] = 3

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        event = recorded.data
        if isinstance(event, AllocationEvent):
            yield ALLOCATIONS, (event.allocation_id,)
            if isinstance(event, AllocationBound | AllocationReleased):
                yield USES, (event.node_id, event.pool)
        elif isinstance(event, PoolEvent):
            yield NODES, (event.node_id, event.pool)
            if isinstance(event, NodeRegistered | NodeRemoved):
                yield USES, (event.node_id, event.pool)
                yield SPECS, (event.node_id, event.pool)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event, time = recorded.data, recorded.meta.time
        match event:
            case AllocationBound():
                bound = _bound(event, time)
                rows.put(ALLOCATIONS, bound)
                uses = rows.get(USES, (event.node_id, event.pool))
                if uses is not None:  # else the node was removed
                    rows.put(USES, _take(uses, event, bound))
            case AllocationRejected():
                rows.put(ALLOCATIONS, _rejected(event, time))
            case AllocationStopRequested():
                row = rows.get(ALLOCATIONS, (event.allocation_id,))
                if row is not None:
                    rows.put(ALLOCATIONS, _stopping(row, event, time))
            case AllocationReleased():
                row = rows.get(ALLOCATIONS, (event.allocation_id,))
                if row is not None:
                    rows.put(ALLOCATIONS, _released(row, event, time))
                    uses = rows.get(USES, (event.node_id, event.pool))
                    if uses is not None:
                        rows.put(USES, _give_back(uses, event, row))
            case NodeRegistered():
                key = (event.node_id, event.pool)
                rows.put(NODES, _registered(rows.get(NODES, key), event, time))
                if rows.get(USES, key) is None:
                    rows.put(USES, _unused(event))
                spec = event.spec.model_dump(mode="json")
                rows.put(SPECS, {"node_id": event.node_id, "pool": event.pool, "spec": spec})
            case NodeRemoved():
                for table in (NODES, USES, SPECS):
                    rows.delete(table, (event.node_id, event.pool))
            case PoolEvent():
                node = rows.get(NODES, (event.node_id, event.pool))
                if node is not None:
                    rows.put(NODES, _with_status({**node, **_changes(node, event, time)}))


# Allocations


def _bound(event: AllocationBound, time: datetime) -> Row:
    return {
        **_allocation(event, time),
        "status": AllocationStatus.BOUND.value,
        "rest": event.tasks,
        "resources": event.resources.model_dump(mode="json"),
        "devices": [share.model_dump(mode="json") for share in event.devices],
    }


def _rejected(event: AllocationRejected, time: datetime) -> Row:
    return {**_allocation(event, time), "status": AllocationStatus.REJECTED.value, "reason": event.reason}


def _allocation(event: AllocationBound | AllocationRejected, time: datetime) -> Row:
    return ALLOCATIONS.first(
        allocation_id=event.allocation_id,
        job_id=event.job_id,
        project=event.project,
        pool=event.pool,
        node_id=event.node_id,
        tasks=event.tasks,
        attempt=event.attempt,
        created_at=time,
    )


def _stopping(row: Row, event: AllocationStopRequested, time: datetime) -> Row:
    stopping = sets.union(sets.parse(row["stopping"]), sets.parse(event.tasks))
    return _with_stage(
        {
            **row,
            "stopping": sets.text(stopping),
            "stop_requested_at": row["stop_requested_at"] or time,
            "reason": event.reason,
        }
    )


def _released(row: Row, event: AllocationReleased, time: datetime) -> Row:
    stopping = row["stopping"] and sets.text(sets.minus(sets.parse(row["stopping"]), sets.parse(event.tasks)))
    lost = event.reason is ReleaseReason.NODE_LOST
    changed = {**row, "rest": event.rest or "", "stopping": stopping}
    if event.rest is not None:
        return _with_stage(changed)
    return {
        **changed,
        "status": (AllocationStatus.LOST if lost else AllocationStatus.RELEASED).value,
        "released_at": time,
        "reason": "node lost" if lost else row["reason"],
    }


def _with_stage(row: Row) -> Row:
    """Stopping once no task is left that may run on."""
    stage = AllocationStatus.STOPPING if row["stopping"] == row["rest"] else AllocationStatus.BOUND
    return {**row, "status": stage.value}


# Nodes and what they hold


_SUMS = tuple((kind, f"allocated_{kind}") for kind in KINDS if kind != "cpus")
"""The kinds that are counted in whole numbers, and the columns of their sums."""


def _unused(event: NodeRegistered) -> Row:
    return {
        "node_id": event.node_id,
        "pool": event.pool,
        **{f"allocated_{kind}": 0.0 if kind == "cpus" else 0 for kind in KINDS},
        "gpu_holders": {},
        "allocations": 0,
        "tasks": 0,
        "exclusive_job": "",
    }


def _take(uses: Row, event: AllocationBound, allocation: Row) -> Row:
    tasks = sets.count(sets.parse(event.tasks))
    holders = {
        str(index): {"allocation_id": event.allocation_id, "job_id": event.job_id, "task": share.task}
        for share in event.devices
        for index in share.gpus
    }
    return {
        **uses,
        **_sums(uses, allocation["resources"], tasks),
        "gpu_holders": {**uses["gpu_holders"], **holders} if holders else uses["gpu_holders"],
        "allocations": uses["allocations"] + 1,
        "tasks": uses["tasks"] + tasks,
        "exclusive_job": event.job_id if event.resources.exclusive else uses["exclusive_job"],
    }


def _give_back(uses: Row, event: AllocationReleased, allocation: Row) -> Row:
    gone = sets.parse(event.tasks)
    tasks = sets.count(gone)
    holders = uses["gpu_holders"]
    if allocation["devices"]:
        numbers = set(sets.each(gone))
        indices = {str(i) for share in allocation["devices"] if share["task"] in numbers for i in share["gpus"]}
        holders = {index: held for index, held in holders.items() if index not in indices}
    allocations = uses["allocations"] - (1 if event.rest is None else 0)
    return {
        **uses,
        **_sums(uses, allocation["resources"], -tasks),
        "gpu_holders": holders,
        "allocations": allocations,
        "tasks": uses["tasks"] - tasks,
        "exclusive_job": uses["exclusive_job"] if allocations else "",
    }


def _sums(uses: Row, resources: Mapping[str, Any], tasks: int) -> Row:
    """Those of a node's sums that change, with so many tasks more (or fewer)."""
    sums = {column: uses[column] + amount * tasks for kind, column in _SUMS if (amount := resources[kind])}
    # CPUs are counted in billionths, so that giving back what was taken leaves exactly nothing.
    sums["allocated_cpus"] = round(uses["allocated_cpus"] + round(resources["cpus"], 9) * tasks, 9)
    return sums


def _registered(node: Row | None, event: NodeRegistered, time: datetime) -> Row:
    spec = event.spec
    if node is None:
        node = {
            "node_id": event.node_id,
            "pool": event.pool,
            "operator_labels": {},
            "taints": [],
            "agent_taints": [],
            "hold": "",
            "hold_reason": "",
        }
    operators_taints = node["taints"][len(node["agent_taints"]) :]
    agent_taints = _agent_taints(spec)
    return _with_status(
        {
            **node,
            "hostname": spec.hostname,
            "role": spec.role.value,
            **{f"capacity_{kind}": getattr(spec.capacity, kind) for kind in KINDS},
            "gpu_models": dict(Counter(gpu.name for gpu in spec.gpus)),
            "agent_labels": dict(spec.labels),
            "labels": _labels(spec.labels, node["operator_labels"]),
            "agent_taints": agent_taints,
            "taints": agent_taints + operators_taints,
            "registered_at": time,
            "lost_at": None,
            "boot_id": event.boot_id,
            "agent_id": event.agent_id,
            "address": spec.address,
            "port_range": spec.port_range.model_dump() if spec.port_range is not None else None,
        }
    )


def _agent_taints(spec: NodeSpec) -> list[dict[str, str]]:
    """An agent's taints are plain keys; they keep new work away."""
    return [{"key": key, "value": "", "effect": "no_schedule"} for key in spec.taints]


def _labels(agents: Mapping[str, str], operators: Mapping[str, str | None]) -> dict[str, str]:
    """The labels that jobs see: the operators' word goes before the agent's; None hides one."""
    return {key: value for key, value in {**agents, **operators}.items() if value is not None}


def _changes(node: Row, event: PoolEvent, time: datetime) -> Row:
    match event:
        case NodeLost():
            return {"lost_at": time}
        case NodeRecovered():
            return {"lost_at": None}
        case NodeCordoned():
            return {"hold": NodeStatus.CORDONED.value, "hold_reason": event.reason}
        case NodeDraining():
            return {"hold": NodeStatus.DRAINING.value, "hold_reason": event.reason}
        case NodeDrained():
            return {"hold": NodeStatus.DRAINED.value}
        case NodeUncordoned():
            return {"hold": "", "hold_reason": ""}
        case NodeLabelled():
            operators = {
                key: value
                for key, value in {**node["operator_labels"], **event.labels}.items()
                if value is not None or key in node["agent_labels"]
            }
            return {"operator_labels": operators, "labels": _labels(node["agent_labels"], operators)}
        case NodeTainted():
            operators_taints = [taint.model_dump(mode="json") for taint in event.taints]
            return {"taints": node["agent_taints"] + operators_taints}
        case _:
            raise TypeError(f"no fold for {type(event).__name__}")


def _with_status(node: Row) -> Row:
    status = NodeStatus.LOST.value if node["lost_at"] else node["hold"] or NodeStatus.READY.value
    return {**node, "status": status}


PROJECTION = ResourcesProjection()
