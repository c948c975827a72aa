"""A node as the engine counts it: what is free, which devices are, and whose tasks it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from events.language.jobs.spec import JobAffinity, JobResources
from events.language.resources import Taint
from events.language.resources.amounts import CPU_TOLERANCE, Amounts, of_request
from events.language.resources.devices import pick
from events.language.resources.hardware import GPUHealth, GPUResource, NodeStatus
from events.language.task_ranges import Tasks, count, each

Device = tuple[str, int]
"""What tells GPUs apart for a request: name without case, bytes of memory."""

Vector = tuple[int, int, int, int, int]
"""CPUs in billionths, memory, GPUs, storage, network: an `Amounts` for quick sums."""


def vector(amounts: Amounts) -> Vector:
    return amounts.cpus, amounts.memory, amounts.gpus, amounts.storage, amounts.network


@dataclass(slots=True)
class Hold:
    """Tasks of one attempt that have, or are about to get, a share of a node."""

    id: str
    job_id: str
    node_id: str
    tasks: Tasks
    resources: JobResources
    request: Vector
    """Of one task."""
    labels: dict[str, str] = field(default_factory=dict)
    """The job's."""
    affinity: tuple[JobAffinity, ...] = ()
    """The job's rules; its required anti-affinity keeps others away too."""
    gpus: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Task → indices of its GPUs: a guess until `bound`."""
    bound: bool = False
    """Resources has confirmed it."""


def hold_of(id: str, job_id: str, node_id: str, tasks: Tasks, resources: JobResources) -> Hold:
    return Hold(id, job_id, node_id, tasks, resources, vector(of_request(resources)))


class Node:
    """Mutable; changed through `Cluster` alone, which notes each change."""

    __slots__ = (
        "capacity",
        "free",
        "gpus",
        "group",
        "held",
        "holds",
        "id",
        "jobs",
        "kinds",
        "labels",
        "order",
        "passed_over",
        "scale",
        "standing",
        "status",
        "taints",
        "taken",
        "uniform",
        "usable",
        "version",
    )

    def __init__(self, id: str, order: int) -> None:
        self.id = id
        self.order = order
        self.status = NodeStatus.READY
        self.labels: dict[str, str] = {}
        self.taints: tuple[Taint, ...] = ()
        self.capacity: Vector = (0, 0, 0, 0, 0)
        self.scale: tuple[float, ...] = ()
        """Per kind: its weight in the score over the capacity; 0 where there is none."""
        self.free: list[int] = [0, 0, 0, 0, 0]
        self.gpus: Sequence[GPUResource] = ()
        self.group = ""
        """Its make, for people; worked out when it is asked for."""
        self.kinds: dict[Device, int] = {}
        """Free healthy devices by kind."""
        self.usable: list[tuple[int, Device]] = []
        """Healthy devices, free or not: index and kind, by index."""
        self.uniform = True
        """They are all of one kind."""
        self.taken: dict[int, str] = {}
        """Index of a GPU → hold that has it."""
        self.holds: dict[str, Hold] = {}
        self.jobs: dict[str, int] = {}
        """Job → its holds here."""
        self.held: str = ""
        """The job that has the node for itself."""
        self.passed_over = False
        """It rejected a placement; left alone until news of it says why."""
        self.version = 0
        """The cluster's at the last change."""
        self.standing = 0
        """The cluster's at the last change of status, labels, taints or capacity."""

    def equip(self, capacity: Amounts, gpus: Sequence[GPUResource]) -> None:
        """Set what the node has; what is held stays held."""
        self.capacity = vector(capacity)
        self.scale = tuple(
            weight / amount if amount else 0.0 for weight, amount in zip(WEIGHTS, self.capacity, strict=True)
        )
        self.gpus = gpus
        self.usable = sorted(
            (gpu.index, (gpu.name.casefold(), gpu.memory_bytes))
            for gpu in gpus
            if gpu.health is not GPUHealth.UNHEALTHY
        )
        self.uniform = len({kind for _, kind in self.usable}) < 2
        self.group = ""
        self.recount()

    def recount(self) -> None:
        """Work out from the holds what is free."""
        self.free = list(self.capacity)
        self.taken, self.jobs, self.held = {}, {}, ""
        holds, self.holds = list(self.holds.values()), {}
        for hold in sorted(holds, key=lambda hold: not hold.bound):  # guesses last
            self.add(hold)
        self._count_kinds()

    def _count_kinds(self) -> None:
        kinds: dict[Device, int] = {}
        for index, kind in self.usable:
            if index not in self.taken:
                kinds[kind] = kinds.get(kind, 0) + 1
        self.kinds = kinds

    def add(self, hold: Hold) -> None:
        self.holds[hold.id] = hold
        self.jobs[hold.job_id] = self.jobs.get(hold.job_id, 0) + 1
        if hold.resources.exclusive:
            self.held = hold.job_id
        self._take(hold.request, -count(hold.tasks))
        if hold.request[2]:
            if not hold.bound:
                self._guess(hold)
            for indices in hold.gpus.values():
                self.taken.update(dict.fromkeys(indices, hold.id))
            self._count_kinds()

    def _guess(self, hold: Hold) -> None:
        """The devices that resources will pick if it decides on the same view."""
        tasks, need, wanted = list(each(hold.tasks)), hold.request[2], hold.resources
        if self.uniform and not wanted.gpu_type and not wanted.gpu_memory_bytes:
            free = [index for index, _ in self.usable if index not in self.taken]
            if len(free) >= need * len(tasks):  # what `pick` gives, without its search for types
                hold.gpus = {task: tuple(free[at * need : (at + 1) * need]) for at, task in enumerate(tasks)}
                return
        picked = pick(self.gpus, self.taken, wanted, len(tasks))
        hold.gpus = dict(zip(tasks, picked, strict=True)) if picked is not None else {}

    def remove(self, hold: Hold, tasks: Tasks, rest: Tasks) -> None:
        """Tasks of a hold are gone; with the last one so is the hold."""
        self._take(hold.request, count(tasks))
        if hold.request[2]:
            for task in each(tasks):
                for index in hold.gpus.pop(task, ()):
                    if self.taken.get(index) == hold.id:
                        del self.taken[index]
            self._count_kinds()
        hold.tasks = rest
        if not rest:
            del self.holds[hold.id]
            self.jobs[hold.job_id] -= 1
            if not self.jobs[hold.job_id]:
                del self.jobs[hold.job_id]
                if self.held == hold.job_id:
                    self.held = ""

    def _take(self, request: Vector, times: int) -> None:
        free = self.free
        for kind in range(5):
            free[kind] += request[kind] * times

    def room(self, request: Vector) -> int:
        """How many tasks of so large a request fit, devices' types aside."""
        # A shrunk node may have less than nothing free. Written out: it is asked for every node and shape.
        free = self.free
        cpus, memory, gpus, storage, network = request
        most = 1 << 30
        if cpus:
            most = ((free[0] if free[0] > 0 else 0) + CPU_TOLERANCE) // cpus
        if memory and (fitting := free[1] // memory) < most:
            most = fitting
        if gpus and (fitting := free[2] // gpus) < most:
            most = fitting
        if storage and (fitting := free[3] // storage) < most:
            most = fitting
        if network and (fitting := free[4] // network) < most:
            most = fitting
        return most if most > 0 else 0

    def left_over(self, request: Vector) -> float:
        """How much is left once one more task is there, 0 (nothing) to 1 (all of everything)."""
        free, scale = self.free, self.scale
        return (
            (free[0] - request[0]) * scale[0]
            + (free[1] - request[1]) * scale[1]
            + (free[2] - request[2]) * scale[2]
            + (free[3] - request[3]) * scale[3]
            + (free[4] - request[4]) * scale[4]
        )


_PARTS = (1.0, 1.0, 4.0, 0.25, 0.25)
"""GPUs weigh most: a job without GPUs goes where none are idle, if it can."""

WEIGHTS = tuple(part / sum(_PARTS) for part in _PARTS)
