"""With any events of a pool in any order, capacity is never given twice, and what is given comes back once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from events.language.base import Command, Event
from events.language.common import Refused
from events.language.jobs.spec import TaintEffect
from events.language.resources import (
    AllocationBound,
    AllocationReleased,
    CordonNode,
    DrainNode,
    RemoveNode,
    Taint,
    TaintNode,
    UncordonNode,
)
from events.language.resources.amounts import CPU_TOLERANCE
from events.language.resources.hardware import NodeStatus
from events.language.task_ranges import tasks_in
from tests.unit.resources.pools import (
    GIB,
    POOL,
    Pools,
    ended,
    gpu,
    heartbeat,
    placement,
    register,
    scheduled,
    unscheduled,
)

nodes = st.sampled_from(["n1", "n2"])
jobs = st.sampled_from(["job-1", "job-2", "job-3"])


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = Pools()
        self.given: Counter[tuple[str, int]] = Counter()
        """Allocation and task → how often it was given out and not yet taken back."""
        self.released: Counter[tuple[str, int]] = Counter()
        self.jobs: dict[str, str] = {}
        self.capacity_shrank = False
        self.exclusive: dict[str, bool] = {}
        self.allocation_number = 0

    def note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, AllocationBound):
                self.jobs[event.allocation_id] = event.job_id
                self.given.update((event.allocation_id, task) for task in tasks_in(event.tasks))
            elif isinstance(event, AllocationReleased):
                self.released.update((event.allocation_id, task) for task in tasks_in(event.tasks))

    def command(self, command: Command) -> None:
        try:
            self.note(self.pool.command(command))
        except Refused:
            pass  # a refusal is an answer; the invariants say whether the pool is sound

    @rule(
        node=nodes,
        boot=st.sampled_from(["b1", "b2"]),
        instance=st.sampled_from(["", "folder-1", "folder-2"]),
        gpus=st.integers(0, 4),
        cpus=st.sampled_from([1.0, 4.0]),
    )
    def register(self, node: str, boot: str, instance: str, gpus: int, cpus: float) -> None:
        devices = [gpu(i, "NVIDIA A10" if i % 2 else "NVIDIA H200") for i in range(gpus)]
        self.capacity_shrank = self.capacity_shrank or bool(self.pool.state.nodes.get(node))
        self.command(register(node, boot=boot, instance=instance, gpus=devices, capacity={"cpus": cpus}))

    @rule(node=nodes)
    def heartbeat(self, node: str) -> None:
        self.command(heartbeat(node))

    @rule(node=nodes, kind=st.sampled_from([CordonNode, UncordonNode, DrainNode, RemoveNode]))
    def hold(self, node: str, kind: Any) -> None:
        self.command(kind(pool=POOL, node_id=node))

    @rule(node=nodes, effects=st.lists(st.sampled_from(TaintEffect), max_size=1))
    def taint(self, node: str, effects: list[TaintEffect]) -> None:
        self.command(
            TaintNode(pool=POOL, node_id=node, taints=tuple(Taint(key="team", effect=effect) for effect in effects))
        )

    @rule(
        job=jobs,
        spots=st.lists(
            st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.sampled_from(["0", "1-2", "4,6-7"])),
            min_size=1,
            max_size=4,
        ),
        wanted=st.fixed_dictionaries(
            {
                "cpus": st.sampled_from([0.1, 1 / 3, 1.0, 2.5]),
                "memory_bytes": st.sampled_from([1 << 20, GIB, 3 * GIB]),
                "gpus": st.integers(0, 2),
                "typed": st.booleans(),
                "storage_bytes": st.sampled_from([0, 40 * GIB]),
                "network_mbps": st.sampled_from([0, 400]),
                "exclusive": st.booleans(),
            }
        ),
    )
    def schedule(self, job: str, spots: list[tuple[str, str]], wanted: dict[str, Any]) -> None:
        places = []
        for node, tasks in spots:
            self.allocation_number += 1
            places.append(placement(f"a{self.allocation_number}", node, tasks))
        # What a job asks for does not change in its life; of the amounts none cares.
        wanted["exclusive"] = self.exclusive.setdefault(job, wanted["exclusive"])
        typed = {"gpu_type": "a10"} if wanted.pop("typed") and wanted["gpus"] else {}
        event = scheduled(*places, job=job, **wanted, **typed)
        self.note(self.pool.event(event))
        assert self.pool.event(event) == []

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), tasks=st.sampled_from(["0-9", "1", "6-7"]))
    def unschedule(self, data: st.DataObject, tasks: str) -> None:
        allocation = data.draw(st.sampled_from(sorted(self.jobs)))
        self.note(self.pool.event(unscheduled(allocation, job=self.jobs[allocation], tasks=tasks)))

    @precondition(lambda self: self.pool.state.allocations)
    @rule(data=st.data(), whole=st.booleans())
    def end(self, data: st.DataObject, whole: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.pool.state.allocations)))
        allocation = self.pool.state.allocations[id]
        low, high = allocation.tasks[0]
        tasks = ",".join(f"{a}-{b}" for a, b in allocation.tasks) if whole else f"{low}-{high}"
        report = ended((id, tasks), node_id=allocation.node_id)
        self.note(self.pool.command(report))
        assert self.pool.command(report) == []

    @rule(seconds=st.sampled_from([1.0, 10.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.note(self.pool.after(seconds))

    @rule()
    def snapshot(self) -> None:
        decider = self.pool.decider
        dumped = decider.dump(self.pool.state)
        loaded = decider.load(POOL, dumped)
        assert decider.dump(loaded) == dumped
        for id, node in loaded.nodes.items():
            assert (node.used, node.gpus, node.exclusive) == (
                self.pool.state.nodes[id].used,
                self.pool.state.nodes[id].gpus,
                self.pool.state.nodes[id].exclusive,
            )
        decider.on_resume(loaded, self.pool.now)
        self.pool.state = loaded

    @invariant()
    def the_log_tells_all(self) -> None:
        assert self.pool.decider.dump(self.pool.replayed()) == self.pool.decider.dump(self.pool.state)

    @invariant()
    def what_runs_belongs_to_the_registration(self) -> None:
        for node in self.pool.state.nodes.values():
            for allocation in self.pool.state.on(node):
                assert allocation.instance_id in ("", node.instance_id)

    @invariant()
    def nothing_is_given_twice(self) -> None:
        for node in self.pool.state.nodes.values():
            held = [index for a in self.pool.state.on(node) for indices in a.gpus.values() for index in indices]
            assert len(held) == len(set(held))
            assert sorted(held) == sorted(node.gpus)
            if not self.capacity_shrank:
                free = node.free
                assert free.cpus >= -CPU_TOLERANCE
                assert min(free.memory, free.gpus, free.storage, free.network) >= 0
            if node.exclusive:
                assert set(node.allocations.values()) == {node.exclusive}

    @invariant()
    def what_is_held_is_what_was_given_and_not_released(self) -> None:
        assert all(count == 1 for count in self.given.values())
        assert all(count == 1 for count in self.released.values())
        held = {
            (allocation.id, task)
            for allocation in self.pool.state.allocations.values()
            for low, high in allocation.held
            for task in range(low, high + 1)
        }
        assert held == set(self.given) - set(self.released)

    @invariant()
    def nothing_is_owed(self) -> None:
        assert self.pool.state.owing == set()
        for node in self.pool.state.nodes.values():
            if node.status in (NodeStatus.LOST, NodeStatus.DRAINED):
                assert not node.allocations
            if node.status is NodeStatus.DRAINING:
                assert all(a.stopping == a.held for a in self.pool.state.on(node))


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
