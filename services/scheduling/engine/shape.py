"""The shape of a task: its requirements on a node, without its job. Decides whether a node is suitable for it.

Tasks of equal shape are interchangeable, so the engine searches nodes once for each shape, not for each task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from events.language.jobs.spec import JobAffinity, JobResources, JobScheduling, LabelMatch, MatchOperator, TaintEffect
from events.language.resources.amounts import of_request
from events.language.resources.hardware import GPUHealth, NodeStatus
from events.language.resources.taints import show, tolerates
from services.scheduling.engine.node import Device, Node, Vector, vector

PREFERENCE = 1.0
"""The weight of one satisfied preference: the difference between the best and the worst fit."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A class of interchangeable tasks. Equal shapes are equal keys."""

    request: Vector
    gpu_type: str = ""
    gpu_memory_bytes: int = 0
    exclusive_job: str = ""
    """The job, if it requests exclusive nodes."""
    job_id: str = ""
    """The job, if rules about jobs' labels distinguish its tasks from all others."""
    scheduling: str = ""
    """The placement rules as JSON: equal text is an equal rule."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = (self.request, self.gpu_type, self.gpu_memory_bytes, self.exclusive_job, self.job_id, self.scheduling)
        object.__setattr__(self, "_hash", hash(own))

    def __hash__(self) -> int:
        return self._hash


@dataclass(slots=True)
class Wish:
    """A shape with its parsed rules, for comparison with nodes."""

    shape: Shape
    resources: JobResources
    rules: JobScheduling
    labels: Mapping[str, str]
    """The job's labels; used only with rules about jobs."""
    apart: bool = False
    """Whether the job's own tasks keep away from each other; they are then placed one at a time."""

    @property
    def affinity(self) -> tuple[JobAffinity, ...]:
        return self.rules.job_affinity


_PLAIN = JobScheduling()


def wish_of(job_id: str, resources: JobResources, rules: JobScheduling, labels: Mapping[str, str]) -> Wish:
    """The wish of a job's tasks."""
    plain = not (
        rules.node_selector or rules.node_affinity or rules.preferred_nodes or rules.job_affinity or rules.tolerations
    )
    shape = Shape(
        request=vector(of_request(resources)),
        gpu_type=resources.gpu_type.casefold(),
        gpu_memory_bytes=resources.gpu_memory_bytes,
        exclusive_job=job_id if resources.exclusive else "",
        job_id=job_id if rules.job_affinity else "",
        scheduling="" if plain else rules.model_dump_json(include=_PLACING),
    )
    apart = any(rule.anti and rule.labels.items() <= labels.items() for rule in rules.job_affinity)
    return Wish(shape, resources, rules, labels, apart)


_PLACING = {"node_selector", "node_affinity", "preferred_nodes", "job_affinity", "tolerations"}


def suits(wish: Wish, device: Device) -> bool:
    """Whether a GPU has the requested type and memory."""
    name, memory = device
    return wish.shape.gpu_type in name and memory >= wish.shape.gpu_memory_bytes


def healthy_devices(wish: Wish, node: Node) -> int:
    """The number of suitable GPUs of a node, free or not."""
    return sum(
        gpu.health is not GPUHealth.UNHEALTHY and suits(wish, (gpu.name.casefold(), gpu.memory_bytes))
        for gpu in node.gpus
    )


def matches(labels: Mapping[str, str], match: LabelMatch) -> bool:
    """Whether a node's labels satisfy a condition."""
    value = labels.get(match.key)
    match match.operator:
        case MatchOperator.IN:
            return value is not None and value in match.values
        case MatchOperator.NOT_IN:
            return value is None or value not in match.values
        case MatchOperator.EXISTS:
            return value is not None
        case MatchOperator.DOES_NOT_EXIST:
            return value is None


def barrier(wish: Wish, node: Node) -> str:
    """Why a node is unsuitable for these tasks even when idle, for people; empty if it is suitable."""
    if node.status is not NodeStatus.READY:
        return f"node {node.status.value.replace('_', ' ')}"
    for key, value in wish.rules.node_selector.items():
        if node.labels.get(key) != value:
            return f"label {key} is not {value}"
    for match in wish.rules.node_affinity:
        if not matches(node.labels, match):
            return f"label {match.key} {match.operator.value.replace('_', ' ')} {', '.join(match.values)}: no".replace(
                " :", ":"
            )
    for taint in node.taints:
        if taint.effect is not TaintEffect.PREFER_NO_SCHEDULE and not tolerates(wish.rules.tolerations, taint):
            return f"taint {show(taint)} is not tolerated"
    return ""


def liking(wish: Wish, node: Node) -> float:
    """The preference for a node: the number of satisfied preferences, less its taints to avoid."""
    score = 0.0
    for match in wish.rules.preferred_nodes:
        if matches(node.labels, match):
            score += PREFERENCE
    for taint in node.taints:
        if taint.effect is TaintEffect.PREFER_NO_SCHEDULE and not tolerates(wish.rules.tolerations, taint):
            score -= PREFERENCE
    return score


def room(wish: Wish, node: Node) -> int:
    """The number of these tasks that fit onto a node now; 0 for a node that another job has exclusively."""
    shape = wish.shape
    if node.passed_over or (node.held and node.held != shape.exclusive_job):
        return 0
    if shape.exclusive_job and any(job != shape.exclusive_job for job in node.jobs):
        return 0
    most = node.room(shape.request)
    gpus = shape.request[2]
    if gpus and most:
        fitting = free_devices(wish, node) // gpus
        if fitting < most:
            return fitting
    return most


def free_devices(wish: Wish, node: Node) -> int:
    """The number of free, suitable GPUs of a node."""
    free = 0
    if wish.shape.gpu_type or wish.shape.gpu_memory_bytes:
        for device, amount in node.kinds.items():
            if suits(wish, device):
                free += amount
    else:
        for amount in node.kinds.values():
            free += amount
    return free
