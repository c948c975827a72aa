"""A scheduler without an index: looks at every node for every task. Slow, obvious, and the judge of the engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from events.language import task_ranges as sets
from events.language.jobs.spec import JobAffinity, JobResources, LabelMatch, MatchOperator, QueueRequest, TaintEffect
from events.language.resources import Taint
from events.language.resources.amounts import CPU_TOLERANCE, Amounts, of_request
from events.language.resources.devices import pick
from events.language.resources.hardware import GPUResource, NodeStatus
from events.language.resources.taints import tolerates

WEIGHTS = (1.0, 1.0, 4.0, 0.25, 0.25)


@dataclass(slots=True)
class Held:
    """Tasks of a job on a node."""

    job_id: str
    request: QueueRequest
    tasks: sets.Tasks
    gpus: set[int]


@dataclass(slots=True)
class Site:
    """A node and what is on it."""

    id: str
    capacity: Amounts
    gpus: tuple[GPUResource, ...]
    status: NodeStatus = NodeStatus.READY
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    held: dict[str, Held] = field(default_factory=dict)

    def free(self) -> Amounts:
        free = self.capacity
        for held in self.held.values():
            free = free.minus(of_request(held.request.resources).times(sets.count(held.tasks)))
        return free

    def taken(self) -> list[int]:
        return [index for held in self.held.values() for index in held.gpus]

    def part(self, key: str) -> str | None:
        return self.labels.get(key, self.id if key == "hostname" else None)


def fits(site: Site, resources: JobResources, tasks: int = 1) -> bool:
    wanted = of_request(resources).times(tasks)
    if site.free().shortage(wanted):
        return False
    return not resources.gpus or pick(site.gpus, site.taken(), resources, tasks) is not None


def suited(site: Site, request: QueueRequest) -> bool:
    """Whether the node is of the right kind: status, labels, taints."""
    rules = request.scheduling
    return (
        site.status is NodeStatus.READY
        and all(site.labels.get(key) == value for key, value in rules.node_selector.items())
        and all(holds(match, site.labels) for match in rules.node_affinity)
        and all(
            taint.effect is TaintEffect.PREFER_NO_SCHEDULE or tolerates(rules.tolerations, taint)
            for taint in site.taints
        )
    )


def holds(match: LabelMatch, labels: dict[str, str]) -> bool:
    found = labels.get(match.key)
    return {
        MatchOperator.IN: found in match.values,
        MatchOperator.NOT_IN: found not in match.values,
        MatchOperator.EXISTS: found is not None,
        MatchOperator.DOES_NOT_EXIST: found is None,
    }[match.operator]


def near(sites: Iterable[Site], place: str | None, rule: JobAffinity) -> bool:
    """Whether a job that the rule speaks of is in this part."""
    return place is not None and any(
        site.part(rule.topology_key) == place and rule.labels.items() <= held.request.labels.items()
        for site in sites
        for held in site.held.values()
    )


def welcome(sites: list[Site], site: Site, job_id: str, request: QueueRequest) -> bool:
    """Whether the jobs that are there let this one in, and it wants to be near them."""
    others = {held.job_id for held in site.held.values()} - {job_id}
    if others and (request.resources.exclusive or any(h.request.resources.exclusive for h in site.held.values())):
        return False
    for other in sites:
        for held in other.held.values():
            for rule in held.request.scheduling.job_affinity:
                place = site.part(rule.topology_key)
                if (
                    rule.anti
                    and rule.required
                    and place is not None
                    and other.part(rule.topology_key) == place
                    and rule.labels.items() <= request.labels.items()
                ):
                    return False
    for rule in request.scheduling.job_affinity:
        if not rule.required:
            continue
        place = site.part(rule.topology_key)
        if rule.anti:
            if near(sites, place, rule):
                return False
        elif place is None:
            return False
        elif not near(sites, place, rule):
            anywhere = any(near(sites, other.part(rule.topology_key), rule) for other in sites)
            if anywhere or not rule.labels.items() <= request.labels.items():
                return False
    return True


def score(sites: list[Site], site: Site, request: QueueRequest) -> float:
    """Best fit, and what is preferred."""
    left = site.free().minus(of_request(request.resources))
    total = 0.0
    for weight, have, whole in zip(
        WEIGHTS,
        (left.cpus, left.memory, left.gpus, left.storage, left.network),
        (site.capacity.cpus, site.capacity.memory, site.capacity.gpus, site.capacity.storage, site.capacity.network),
        strict=True,
    ):
        total += weight * have / whole if whole else 0.0
    found = 1.0 - total / sum(WEIGHTS)
    rules = request.scheduling
    found += sum(holds(match, site.labels) for match in rules.preferred_nodes)
    found -= sum(
        taint.effect is TaintEffect.PREFER_NO_SCHEDULE and not tolerates(rules.tolerations, taint)
        for taint in site.taints
    )
    for rule in rules.job_affinity:
        if not rule.required:
            found += near(sites, site.part(rule.topology_key), rule) != rule.anti
    return found


def scores(sites: list[Site], job_id: str, request: QueueRequest) -> dict[str, float]:
    """Every node that can take a task of the job now, and how good it is."""
    return {
        site.id: score(sites, site, request)
        for site in sites
        if suited(site, request) and fits(site, request.resources) and welcome(sites, site, job_id, request)
    }


def put(site: Site, id: str, job_id: str, request: QueueRequest, tasks: sets.Tasks) -> None:
    """Give tasks their share; fails if the node has not got it."""
    assert fits(site, request.resources, sets.count(tasks)), f"{id} overcommits {site.id}"
    picked = pick(site.gpus, site.taken(), request.resources, sets.count(tasks)) or []
    site.held[id] = Held(job_id, request, tasks, {index for indices in picked for index in indices})


def sound(site: Site) -> None:
    """No kind is given out twice."""
    free = site.free()
    assert free.cpus >= -CPU_TOLERANCE
    assert min(free.memory, free.gpus, free.storage, free.network) >= 0
    assert len(site.taken()) == len(set(site.taken()))
