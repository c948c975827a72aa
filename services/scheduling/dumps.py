"""A queue as JSON-ready data, for snapshots, and back, without its volatile part.

A change here, or in how events fold, needs a higher `Scheduling.dump_version`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language import task_ranges as sets
from events.language.jobs.spec import JobLaunch, JobResources, QueueRequest
from events.language.resources import Taint
from events.language.resources.amounts import Amounts
from events.language.resources.hardware import GPUResource, NodeStatus
from events.language.scheduling import PendingReason, QueueStatus, SchedulingPolicy
from services.scheduling import fold
from services.scheduling.engine.backlog import Backlog, Entry, Job
from services.scheduling.engine.node import Hold, Node, hold_of
from services.scheduling.state import PlacedTasks, Queue


def dump(queue: Queue) -> dict[str, Any]:
    void = set(queue.tentative).difference(queue.placements)
    return {
        "made": queue.made,
        "status": queue.status.value,
        "policy": queue.backlog.policy.value,
        "number": queue.number,
        "jobs": [_job(job) for job in queue.backlog.jobs.values()],
        "placements": [_placement(placement) for placement in queue.placements.values()],
        "holds": [_hold(hold) for hold in queue.cluster.holds.values() if hold.id not in void],
        "nodes": [_node(node) for node in queue.cluster.nodes.values()],
        "agent_taints": {
            id: [taint.model_dump(mode="json") for taint in taints] for id, taints in queue.agent_taints.items()
        },
    }


def load(name: str, data: dict[str, Any]) -> Queue:
    queue = Queue(name, QueueStatus(data["status"]), Backlog(SchedulingPolicy(data["policy"])))
    queue.made, queue.number = data["made"], data["number"]
    for item in data["nodes"]:
        _load_node(queue, item)
    queue.agent_taints = {
        id: tuple(Taint.model_validate(taint) for taint in taints) for id, taints in data["agent_taints"].items()
    }
    for item in data["jobs"]:
        _load_job(queue, item)
    for item in data["placements"]:
        job = queue.backlog.jobs[item["job_id"]]
        tasks = sets.parse(item["tasks"])
        queue.placements[item["id"]] = PlacedTasks(
            item["id"], job, item["node_id"], item["attempt"], tasks, sets.parse(item["stopping"])
        )
    for item in data["holds"]:
        hold = _load_hold(queue, item)
        queue.cluster.hold(hold)
    return queue


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "project": job.project,
        "owner": job.owner,
        "request": job.request.model_dump(mode="json"),
        "launch": job.launch.model_dump(mode="json"),
        "placements": {id: sets.text(tasks) for id, tasks in job.placements.items()},
        "entries": [_entry(entry) for entry in job.entries.values()],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "attempt": entry.attempt,
        "tasks": sets.text(entry.tasks),
        "since": entry.since.isoformat(),
        "not_before": entry.not_before.isoformat() if entry.not_before else None,
        "told": [reason.model_dump(mode="json") for reason in entry.told],
    }


def _load_job(queue: Queue, data: dict[str, Any]) -> None:
    backlog = queue.backlog
    request = QueueRequest.model_validate(data["request"])
    job = backlog.job(data["id"], data["project"], data["owner"], request, JobLaunch.model_validate(data["launch"]))
    for id, tasks in data["placements"].items():
        backlog.place(job, id, sets.parse(tasks))
    for item in data["entries"]:
        since = datetime.fromisoformat(item["since"])
        not_before = datetime.fromisoformat(item["not_before"]) if item["not_before"] else None
        entry = backlog.add(job, item["attempt"], sets.parse(item["tasks"]), since, not_before)
        entry.told = tuple(PendingReason.model_validate(reason) for reason in item["told"])
        fold.recheck(queue, entry, since + fold.FIRST_RECHECK)


def _placement(placement: PlacedTasks) -> dict[str, Any]:
    return {
        "id": placement.id,
        "job_id": placement.job.id,
        "node_id": placement.node_id,
        "attempt": placement.attempt,
        "tasks": sets.text(placement.tasks),
        "stopping": sets.text(placement.stopping),
    }


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "id": hold.id,
        "job_id": hold.job_id,
        "node_id": hold.node_id,
        "tasks": sets.text(hold.tasks),
        "resources": hold.resources.model_dump(mode="json"),
        "gpus": [[task, list(indices)] for task, indices in hold.gpus.items()] if hold.bound else [],
        "bound": hold.bound,
    }


def _load_hold(queue: Queue, data: dict[str, Any]) -> Hold:
    tasks = sets.parse(data["tasks"])
    placement = queue.placements.get(data["id"])
    if placement is not None:
        hold = fold.claim(placement.job, data["id"], data["node_id"], tasks)
    else:
        resources = JobResources.model_validate(data["resources"])
        hold = hold_of(data["id"], data["job_id"], data["node_id"], tasks, resources)
    hold.bound = data["bound"]
    hold.gpus = {task: tuple(indices) for task, indices in data["gpus"]}
    return hold


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "status": node.status.value,
        "labels": dict(node.labels),
        "taints": [taint.model_dump(mode="json") for taint in node.taints],
        "capacity": list(node.capacity),
        "gpus": [
            gpu.model_dump(mode="json", include={"index", "uuid", "name", "memory_bytes", "health"})
            for gpu in node.gpus
        ],
    }


def _load_node(queue: Queue, data: dict[str, Any]) -> None:
    node = queue.cluster.node(data["id"])
    queue.cluster.equip(node, Amounts(*data["capacity"]), [GPUResource.model_validate(gpu) for gpu in data["gpus"]])
    queue.cluster.stand(
        node,
        status=NodeStatus(data["status"]),
        labels=data["labels"],
        taints=tuple(Taint.model_validate(taint) for taint in data["taints"]),
    )
