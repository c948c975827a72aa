"""Explains why tasks wait: what each node lacks, by reason and group of nodes, with counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from events.language.resources.amounts import CPU_TOLERANCE, NANO
from events.language.scheduling import PendingReason, QueueStatus
from services.scheduling.engine import shape as shapes
from services.scheduling.engine.backlog import Entry
from services.scheduling.engine.cluster import Cluster
from services.scheduling.engine.node import Node
from services.scheduling.engine.shape import Wish

MOST_REASONS = 20
"""Most lines of an explanation; the last one sums up the rest."""

_KINDS = ("cpus", "memory", "gpus", "storage", "network")


@dataclass(slots=True)
class _Line:
    nodes: int = 0
    most: int | None = None
    """The largest free amount on any of these nodes, of the resource that is short."""
    detail: str = ""


def explain(cluster: Cluster, wish: Wish) -> tuple[PendingReason, ...]:
    """Why each node can't take a task now, the most frequent reason first. Empty if a node can."""
    cluster.refresh()
    cluster.presence.ask(wish.affinity, cluster.nodes.values())
    lines: dict[tuple[str, str], _Line] = {}
    for node in cluster.nodes.values():
        reason, most, detail = _obstacle(cluster, wish, node)
        if not reason:
            return ()
        line = lines.setdefault((reason, group_of(node)), _Line())
        line.nodes += 1
        line.detail = line.detail or detail
        if most is not None and (line.most is None or most > line.most):
            line.most = most
            line.detail = detail
    ranked = sorted(lines.items(), key=lambda item: (-item[1].nodes, item[0]))
    reasons = [
        PendingReason(reason=reason, detail=line.detail, nodes=line.nodes, node_group=group)
        for (reason, group), line in ranked[:MOST_REASONS]
    ]
    if rest := ranked[MOST_REASONS:]:
        nodes = sum(line.nodes for _, line in rest)
        reasons.append(PendingReason(reason="other", detail=f"{len(rest)} further reasons", nodes=nodes))
    return tuple(reasons)


def _obstacle(cluster: Cluster, wish: Wish, node: Node) -> tuple[str, int | None, str]:
    """Why a node can't take a task: reason, free amount of the resource that is short, detail. Empty if it can."""
    if reason := shapes.barrier(wish, node):
        return reason, None, ""
    if short := _shortage(wish, node):
        return short
    if node.held and node.held != wish.shape.exclusive_job:
        return "held by another job for itself", None, f"job {node.held}"
    if wish.shape.exclusive_job and any(job != wish.shape.exclusive_job for job in node.jobs):
        return "runs other jobs, and this one wants a node for itself", None, ""
    if reason := cluster.presence.objection(wish.affinity, wish.labels, node):
        return reason, None, ""
    if node.passed_over:
        return "rejected the last placement", None, "waits for news of the node"
    return "", None, ""


def _shortage(wish: Wish, node: Node) -> tuple[str, int, str] | None:
    """The resource that a node has too little of; one that exceeds its capacity before one that is only in use."""
    request = wish.shape.request
    for number, wanted in enumerate(request):
        if wanted > node.capacity[number] + (CPU_TOLERANCE if number == 0 else 0):
            kind, capacity = _KINDS[number], node.capacity[number]
            have = f"the node has {_amount(kind, capacity)}"
            return f"too small: {kind}", _free(node, number), f"needs {_amount(kind, wanted)}, {have}"
    gpus = request[2]
    free_gpus = shapes.free_devices(wish, node) if gpus else 0
    devices = " ".join(filter(None, (wish.resources.gpu_type, "gpus")))
    if wish.shape.gpu_memory_bytes:
        devices += f" of {wish.shape.gpu_memory_bytes / (1 << 30):g} GiB"
    if gpus and (there := shapes.healthy_devices(wish, node)) < gpus:
        return f"too small: {devices}", free_gpus, f"needs {gpus}, the node has {there}"
    for number, wanted in enumerate(request):
        free = _free(node, number)
        if wanted > (free + CPU_TOLERANCE if number == 0 else free):
            kind = _KINDS[number]
            return f"insufficient {kind}", free, f"needs {_amount(kind, wanted)}, at most {_amount(kind, free)} free"
    if free_gpus < gpus:
        return f"insufficient {devices}", free_gpus, f"needs {gpus}, at most {free_gpus} free"
    return None


def _free(node: Node, number: int) -> int:
    return max(0, node.free[number])


def group_of(node: Node) -> str:
    """The name of a group of equal nodes, for people: ``8 H200, 96 cpus, 1024 GiB``."""
    if not node.group:
        models: dict[str, int] = {}
        for gpu in node.gpus:
            models[gpu.name] = models.get(gpu.name, 0) + 1
        parts = [f"{number} {name}" for name, number in sorted(models.items())]
        parts.append(f"{_amount('cpus', node.capacity[0])} cpus")
        parts.append(_amount("memory", node.capacity[1]))
        node.group = ", ".join(parts)
    return node.group


def _amount(kind: str, amount: int) -> str:
    if kind == "cpus":
        return f"{amount / NANO:.3f}".rstrip("0").rstrip(".")
    if kind in ("memory", "storage"):
        return f"{amount / (1 << 30):.1f}".removesuffix(".0") + " GiB"
    return f"{amount} Mbit/s" if kind == "network" else str(amount)


def waiting_for(entry: Entry, cluster: Cluster, status: QueueStatus, now: datetime) -> tuple[PendingReason, ...]:
    """Why an entry waits; its own reasons (back-off, `max_parallel`, the queue) before those of nodes."""
    if status in (QueueStatus.PAUSED, QueueStatus.CLOSED):
        return (PendingReason(reason=f"queue {status.value}", nodes=0, detail="an operator must open it"),)
    if entry.not_before is not None and entry.not_before > now:
        return (PendingReason(reason="backing off", nodes=0, detail=f"until {entry.not_before:%H:%M:%S} UTC"),)
    job = entry.job
    if not job.allowance:
        detail = f"{job.placed} of at most {job.request.max_parallel} tasks run"
        return (PendingReason(reason="max_parallel reached", nodes=0, detail=detail),)
    if not cluster.nodes:
        detail = "start a node agent, or name a queue whose pool has nodes"
        return (PendingReason(reason="the pool has no nodes", nodes=0, detail=detail),)
    return explain(cluster, job.wish)


def summary(reasons: Iterable[PendingReason], nodes: int) -> str:
    """One line: ``0 of 5 nodes can take a task: 3 insufficient gpus, 2 node cordoned``."""
    told = list(reasons)
    if not told:
        return "waits its turn: a node can take it"
    if all(reason.nodes == 0 for reason in told):
        return "; ".join(f"{reason.reason} ({reason.detail})" if reason.detail else reason.reason for reason in told)
    by_reason: dict[str, int] = {}
    for reason in told:
        by_reason[reason.reason] = by_reason.get(reason.reason, 0) + reason.nodes
    return f"0 of {nodes} nodes can take a task: " + ", ".join(f"{n} {reason}" for reason, n in by_reason.items())
