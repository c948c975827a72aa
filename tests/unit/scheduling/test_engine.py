"""The engine's plans, judged by a scheduler without an index (`naive`): for random clusters, jobs and histories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from events.language import task_ranges as sets
from events.language.common import DEFAULT_PROJECT
from events.language.jobs.spec import (
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
from events.language.resources.amounts import NANO, Amounts
from events.language.resources.hardware import GPUHealth, NodeStatus
from services.scheduling.engine.backlog import Backlog
from services.scheduling.engine.candidates import Candidates
from services.scheduling.engine.cluster import Cluster
from services.scheduling.engine.explain import explain
from services.scheduling.engine.node import Node
from services.scheduling.engine.plan import plan, undo
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

    def settle(self, trim: bool = True) -> None:
        while self.plan():
            pass
        if trim:
            self.cluster.trim(self.backlog.ready)
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
    with patch("services.scheduling.engine.cluster._LEAST_LOG", data.draw(st.sampled_from([4, 4096]))):
        play(Trial(), data)


def play(trial: Trial, data: st.DataObject) -> None:
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
            trial.settle(data.draw(st.booleans()))
    trial.settle()


class Fleet:
    """Nodes and jobs without rules, for looking at how the engine keeps its books."""

    def __init__(self, nodes: int) -> None:
        self.trial = Trial()
        for number in range(nodes):
            self.trial.node(f"n{number}", (4, 8, 0, 0), (), {}, ())

    def queue(self, tasks: int = 1, cpus: float = 1.0) -> None:
        wanted = JobResources(cpus=cpus)
        more = {"priority": JobPriority.NORMAL, "max_parallel": None, "tasks": tasks}
        self.trial.queue(wanted, JobScheduling(), {}, **more)

    @property
    def candidates(self) -> Candidates:
        (found,) = self.trial.cluster._shapes.values()
        return found


def test_a_heap_is_mended_not_made_anew_when_a_node_changes() -> None:
    fleet = Fleet(nodes=50)
    fleet.queue()
    fleet.trial.settle()
    looked: list[str] = []
    look = Candidates._entry

    def counted(self: Candidates, node: Node) -> Any:
        looked.append(node.id)
        return look(self, node)

    with patch.object(Candidates, "_entry", counted):
        for _ in range(3):
            fleet.queue()
            fleet.trial.settle()
    assert len(looked) <= 4


def test_a_heap_does_not_grow_with_what_is_placed_and_released() -> None:
    fleet = Fleet(nodes=2)
    fleet.queue()
    fleet.trial.settle()
    for _ in range(500):
        (id,) = fleet.trial.cluster.holds
        fleet.trial.release(id, ((0, 0),))
        fleet.queue()
        fleet.trial.settle()
    assert len(fleet.candidates._heap) <= 4 * 2 + 64 + 2


def test_the_log_of_changes_is_bounded_and_an_old_heap_finds_its_way() -> None:
    with patch("services.scheduling.engine.cluster._LEAST_LOG", 8):
        fleet = Fleet(nodes=3)
        fleet.queue(cpus=4.0)
        fleet.trial.settle()
        for _ in range(50):
            for id in ("n1", "n2"):
                fleet.trial.stand(id, NodeStatus.CORDONED, {}, ())
                fleet.trial.stand(id, NodeStatus.READY, {}, ())
        assert len(fleet.trial.cluster.changes) <= 12 + 1
        fleet.queue(tasks=3, cpus=4.0)
        fleet.trial.settle()
        assert sorted(hold.node_id for hold in fleet.trial.cluster.holds.values()) == ["n0", "n1", "n2"]


def test_a_plan_that_is_undone_leaves_no_trace() -> None:
    fleet = Fleet(nodes=2)
    fleet.queue(tasks=6)
    before = [list(node.free) for node in fleet.trial.cluster.nodes.values()]
    planned = plan(fleet.trial.cluster, fleet.trial.backlog, 1, 1000)
    assert [placed.tasks for placed in planned[0].placements] == [((0, 3),), ((4, 5),)]
    undo(fleet.trial.cluster, planned)
    assert [list(node.free) for node in fleet.trial.cluster.nodes.values()] == before
    assert fleet.trial.cluster.holds == {}


def test_a_plan_is_as_long_as_it_is_asked_to_be() -> None:
    fleet = Fleet(nodes=5)
    for _ in range(5):
        fleet.queue(cpus=4.0)
    planned = plan(fleet.trial.cluster, fleet.trial.backlog, 1, 2)
    assert [item.entry.job.id for item in planned] == ["job-1", "job-2"]
