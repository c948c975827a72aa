"""A pool as JSON-ready data, for snapshots, and back. What is volatile (when nodes were last heard of) stays out.

A change here, or in how events fold, needs a higher `Resources.dump_version`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language import task_ranges as sets
from events.language.jobs.spec import JobResources, Toleration
from events.language.resources import Taint
from events.language.resources.hardware import NodeSpec, NodeStatus
from services.resources.state import Allocation, Node, Pool


def dump(pool: Pool) -> dict[str, Any]:
    return {
        "nodes": [_node(node) for node in pool.nodes.values()],
        "allocations": [_allocation(allocation) for allocation in pool.allocations.values()],
        "ended": [[id, node_id] for id, node_id in pool.ended.items()],
        "owing": sorted(pool.owing),
    }


def load(name: str, data: dict[str, Any]) -> Pool:
    pool = Pool(name)
    for node in data["nodes"]:
        loaded = _load_node(node)
        pool.nodes[loaded.id] = loaded
    for allocation in data["allocations"]:
        pool.bind(_load_allocation(allocation))
    pool.ended = dict(data["ended"])
    pool.owing = set(data["owing"])
    return pool


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "spec": node.spec.model_dump(mode="json"),
        "boot_id": node.boot_id,
        "agent_id": node.agent_id,
        "instance_id": node.instance_id,
        "registered_at": node.registered_at.isoformat(),
        "hold": node.hold,
        "hold_reason": node.hold_reason,
        "drain_grace": node.drain_grace,
        "lost": node.lost,
        "labels": dict(node.labels),
        "taints": [taint.model_dump(mode="json") for taint in node.taints],
    }


def _load_node(data: dict[str, Any]) -> Node:
    return Node(
        id=data["id"],
        spec=NodeSpec.model_validate(data["spec"]),
        boot_id=data["boot_id"],
        agent_id=data["agent_id"],
        instance_id=data["instance_id"],
        registered_at=datetime.fromisoformat(data["registered_at"]),
        hold=NodeStatus(data["hold"]) if data["hold"] else None,
        hold_reason=data["hold_reason"],
        drain_grace=data["drain_grace"],
        lost=data["lost"],
        labels=data["labels"],
        taints=tuple(Taint.model_validate(taint) for taint in data["taints"]),
    )


def _allocation(allocation: Allocation) -> dict[str, Any]:
    return {
        "id": allocation.id,
        "job_id": allocation.job_id,
        "project": allocation.project,
        "node_id": allocation.node_id,
        "boot_id": allocation.boot_id,
        "tasks": sets.text(allocation.tasks),
        "held": sets.text(allocation.held),
        "stopping": sets.text(allocation.stopping),
        "attempt": allocation.attempt,
        "resources": allocation.resources.model_dump(mode="json"),
        "gpus": [[task, list(indices)] for task, indices in allocation.gpus.items()],
        "grace_seconds": allocation.grace_seconds,
        "tolerations": [toleration.model_dump(mode="json") for toleration in allocation.tolerations],
        "orphaned": allocation.orphaned,
        "instance_id": allocation.instance_id,
    }


def _load_allocation(data: dict[str, Any]) -> Allocation:
    return Allocation(
        id=data["id"],
        job_id=data["job_id"],
        project=data["project"],
        node_id=data["node_id"],
        boot_id=data["boot_id"],
        tasks=sets.parse(data["tasks"]),
        held=sets.parse(data["held"]),
        stopping=sets.parse(data["stopping"]),
        attempt=data["attempt"],
        resources=JobResources.model_validate(data["resources"]),
        gpus={task: tuple(indices) for task, indices in data["gpus"]},
        grace_seconds=data["grace_seconds"],
        tolerations=tuple(Toleration.model_validate(toleration) for toleration in data["tolerations"]),
        orphaned=data["orphaned"],
        instance_id=data["instance_id"],
    )
