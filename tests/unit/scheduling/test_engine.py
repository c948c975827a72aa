"""The engine's plans, judged by a scheduler without an index (`naive`): for random clusters, jobs and histories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from events.language import task_sets as sets
from events.language.amounts import NANO, Amounts
from events.language.common import DEFAULT_PROJECT
from events.language.hardware import GPUHealth, NodeStatus
from events.language.jobspec import (
    JobAffinity,
    JobEnvironment,
    JobLaunch,
    JobPriority,
    JobResources,
    JobScheduling,
    LabelMatch,
    MatchOperator,
    QueueRequest,
    TaintEffect,
    Toleration,
)
from events.language.resources import Taint
from services.scheduling.engine.backlog import Backlog
from services.scheduling.engine.cluster import Cluster
from services.scheduling.engine.explain import explain
from services.scheduling.engine.plan import plan
from tests.unit.scheduling import naive
from tests.unit.scheduling.queues import GIB, START, gpu

ZONES = st.sampled_from([{}, {"zone": "a"}, {"zone": "b"}, {"zone": "b", "disk": "ssd"}])
TAINTS = st.lists(
    st.builds(Taint, key=st.sampled_from(["team", "old"]), effect=st.sampled_from(TaintEffect)), max_size=1
).map(tuple)
DEVICES = st.lists(
    st.builds(
        lambda index, name, health: gpu(index, name, health=health),
        st.integers(0, 3),
        st.sampled_from(["NVIDIA H200", "NVIDIA A10"]),
        st.sampled_from([GPUHealth.HEALTHY, GPUHealth.HEALTHY, GPUHealth.UNHEALTHY]),
    ),
    max_size=3,
    unique_by=lambda device: device.index,
).map(tuple)
CAPACITIES = st.tuples(
    st.sampled_from([1, 2, 4]), st.sampled_from([2, 8]), st.sampled_from([0, 100]), st.sampled_from([0, 1000])
)
APPS = st.sampled_from([{}, {"app": "db"}, {"app": "web"}])


PLAIN = st.builds(JobResources, cpus=st.sampled_from([0.5, 1.0, 2.0]))
"""Few shapes, so that jobs share them."""


@st.composite
def demanding(draw: st.DrawFn) -> JobResources:
    gpus = draw(st.sampled_from([0, 0, 0, 1, 2]))
    return JobResources(
        cpus=draw(st.sampled_from([1 / 3, 1.0, 2.0])),
        memory_bytes=draw(st.sampled_from([1, 3])) * GIB,
        gpus=gpus,
        gpu_type=draw(st.sampled_from(["", "h200", "a10"])) if gpus else "",
        storage_bytes=draw(st.sampled_from([0, 0, 40 << 30])),
        network_mbps=draw(st.sampled_from([0, 0, 400])),
        exclusive=draw(st.sampled_from([False, False, False, True])),
    )


RESOURCES = PLAIN | demanding()
AFFINITY = st.builds(
    JobAffinity,
    labels=st.sampled_from([{"app": "db"}, {"app": "web"}]),
    topology_key=st.sampled_from(["hostname", "zone"]),
    required=st.booleans(),
    anti=st.booleans(),
)
MATCH = st.builds(
    LabelMatch,
    key=st.sampled_from(["zone", "disk"]),
    operator=st.sampled_from(MatchOperator),
    values=st.sampled_from([("a",), ("b", "ssd")]),
)


@st.composite
def rules(draw: st.DrawFn) -> JobScheduling:
    kind = draw(st.sampled_from(["plain", "plain", "jobs", "all"]))
    if kind == "plain":
        return JobScheduling()
    if kind == "jobs":
        return JobScheduling(job_affinity=draw(st.lists(AFFINITY, min_size=1, max_size=1).map(tuple)))
    return JobScheduling(
        node_selector=draw(st.sampled_from([{}, {}, {"zone": "a"}])),
        node_affinity=draw(st.lists(MATCH, max_size=1).map(tuple)),
        preferred_nodes=draw(st.lists(MATCH, max_size=1).map(tuple)),
        job_affinity=draw(st.lists(AFFINITY, max_size=2).map(tuple)),
        tolerations=draw(st.sampled_from([(), (Toleration(),), (Toleration(key="team"),)])),
    )


class Trial:
    """An engine and, beside it, the naive view of the same facts."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.backlog = Backlog()
        self.sites: dict[str, naive.Site] = {}
        self.jobs = 0
        self.number = 1

    def node(self, id: str, capacity: tuple[int, int, int, int], gpus: Any, labels: Any, taints: Any) -> None:
        if id in self.sites and self.sites[id].held:
            return  # a node that shrinks under what it holds has its own tests
        amounts = Amounts(capacity[0] * NANO, capacity[1] * GIB, len(gpus), capacity[2] * GIB, capacity[3])
        node = self.cluster.node(id)
        self.cluster.equip(node, amounts, gpus)
        self.cluster.stand(node, status=NodeStatus.READY, labels=labels, taints=taints)
        self.sites[id] = naive.Site(id, amounts, gpus, labels=labels, taints=taints)

    def stand(self, id: str, status: NodeStatus, labels: Any, taints: Any) -> None:
        self.cluster.stand(self.cluster.nodes[id], status=status, labels=labels, taints=taints)
        site = self.sites[id]
        site.status, site.labels, site.taints = status, labels, taints

    def queue(self, wanted: JobResources, scheduling: JobScheduling, labels: Any, **more: Any) -> None:
        self.jobs += 1
        id = f"job-{self.jobs}"
        request = QueueRequest(
            queue="default",
            priority=more["priority"],
            submitted_at=START + timedelta(seconds=self.jobs),
            name=id,
            labels=labels,
            resources=wanted,
            scheduling=scheduling,
            max_parallel=more["max_parallel"],
        )
        launch = JobLaunch(name=id, command="x", environment=JobEnvironment(), array_size=9, grace_seconds=1)
        job = self.backlog.job(id, DEFAULT_PROJECT, "owner", request, launch)
        self.backlog.add(job, 1, ((0, more["tasks"] - 1),), START, None)

    def release(self, id: str, tasks: sets.Tasks) -> None:
        hold = self.cluster.holds[id]
        job = self.backlog.jobs[hold.job_id]
        site = self.sites[hold.node_id]
        held = site.held[id]
        gone = {index for task in sets.each(tasks) for index in hold.gpus.get(task, ())}
        held.gpus -= gone
        held.tasks = sets.minus(held.tasks, tasks)
        if not held.tasks:
            del site.held[id]
        self.cluster.release(id, tasks)
        self.backlog.unplace(job, id, held.tasks)

    def plan(self) -> bool:
        """One plan, checked entry by entry against a scan of all nodes; whether it placed anything."""
        before = sorted((entry for entries in self.backlog.ready.values() for entry in entries), key=self.backlog.order)
        planned = plan(self.cluster, self.backlog, self.number, 1000)
        found = {item.entry: item.placements for item in planned}
        assert list(found) == [entry for entry in before if entry in found], "not in the queue's order"
        sites = list(self.sites.values())
        for entry in before:
            job, left, allowance = entry.job, entry.tasks, entry.job.allowance
            for placed in found.get(entry, ()):
                best = naive.scores(sites, job.id, job.request)
                assert placed.node_id in best, f"{placed.node_id} can take no task of {job.id}"
                assert abs(best[placed.node_id] - max(best.values())) < 1e-9, "another node is better"
                assert abs(placed.score - best[placed.node_id]) < 1e-5
                assert sets.minus(placed.tasks, left) == sets.NONE
                naive.put(self.sites[placed.node_id], placed.id, job.id, job.request, placed.tasks)
                left = sets.minus(left, placed.tasks)
                allowance -= sets.count(placed.tasks)
            assert allowance >= 0
            assert not left or not allowance or not naive.scores(sites, job.id, job.request), f"{job.id} was forgotten"
        for item in planned:
            for placed in item.placements:
                self.backlog.place(item.entry.job, placed.id, placed.tasks)
                self.number += 1
            rest = item.entry.tasks
            for placed in item.placements:
                rest = sets.minus(rest, placed.tasks)
            self.backlog.take(item.entry, rest)
        return bool(planned)

    def settle(self) -> None:
        while self.plan():
            pass
        sites = list(self.sites.values())
        for entry in self.backlog:
            if entry.job.allowance:
                assert not naive.scores(sites, entry.job.id, entry.job.request)
                reasons = explain(self.cluster, entry.job.wish)
                assert sum(reason.nodes for reason in reasons) == len(sites)
        for site in sites:
            naive.sound(site)
            node = self.cluster.nodes[site.id]
            free = site.free()
            assert tuple(node.free) == (free.cpus, free.memory, free.gpus, free.storage, free.network)
            assert set(node.taken) == set(site.taken())


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_engine_decides_as_a_scan_of_all_nodes_would(data: st.DataObject) -> None:
    trial = Trial()
    names = [f"n{number}" for number in range(data.draw(st.integers(1, 4)))]
    for id in names:
        trial.node(id, data.draw(CAPACITIES), data.draw(DEVICES), data.draw(ZONES), data.draw(TAINTS))
    for _ in range(data.draw(st.integers(2, 16))):
        action = data.draw(st.sampled_from(["queue", "queue", "queue", "release", "release", "stand", "node"]))
        if action == "queue":
            trial.queue(
                data.draw(RESOURCES),
                data.draw(rules()),
                data.draw(APPS),
                priority=data.draw(st.sampled_from(JobPriority)),
                max_parallel=data.draw(st.sampled_from([None, None, 1, 3])),
                tasks=data.draw(st.integers(1, 4)),
            )
        elif action == "release" and trial.cluster.holds:
            id = data.draw(st.sampled_from(sorted(trial.cluster.holds)))
            tasks = trial.cluster.holds[id].tasks
            trial.release(id, data.draw(st.sampled_from([tasks, sets.split(tasks, 1)[0]])))
        elif action == "stand":
            status = data.draw(st.sampled_from([NodeStatus.READY, NodeStatus.READY, NodeStatus.CORDONED]))
            trial.stand(data.draw(st.sampled_from(names)), status, data.draw(ZONES), data.draw(TAINTS))
        elif action == "node":
            spec = [data.draw(strategy) for strategy in (CAPACITIES, DEVICES, ZONES, TAINTS)]
            trial.node(data.draw(st.sampled_from([*names, "late"])), *spec)
        if data.draw(st.booleans()):
            trial.settle()
    trial.settle()
