"""The tables say what the pool knows: checked for random histories, and row by row for a few short ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis.stateful import invariant

from events.language.base import Event
from events.language.resources import CordonNode, LabelNode, RemoveNode, Taint, TaintNode
from events.language.resources.amounts import NANO
from events.language.task_ranges import tasks_in
from events.log.envelope import Meta, Position, Recorded
from events.projections.projection import Key, Row, Table
from services.resources.projections import ALLOCATIONS, KINDS, NODES, SPECS, USES, ResourcesProjection
from tests.unit.resources.pools import (
    POOL,
    START,
    Pools,
    ended,
    gpu,
    heartbeat,
    placement,
    register,
    scheduled,
    unscheduled,
)
from tests.unit.resources.test_machine import PoolMachine


class Memory:
    """Rows in memory; only those that `touches` names may be used."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Key], Row] = {}
        self.projection = ResourcesProjection()
        self._named: set[tuple[str, Key]] = set()
        self._offset = 0

    def get(self, table: Table, key: Key) -> Row | None:
        assert (table.name, key) in self._named
        return self.rows.get((table.name, key))

    def put(self, table: Table, row: Row) -> None:
        key = tuple(row[name] for name in table.key)
        assert (table.name, key) in self._named
        assert set(row) == set(table.columns)
        self.rows[(table.name, key)] = row

    def delete(self, table: Table, key: Key) -> None:
        assert (table.name, key) in self._named
        self.rows.pop((table.name, key), None)

    def fold(self, events: Sequence[Event]) -> None:
        for event in events:
            self._offset += 1
            meta = Meta("e", type(event).type_name(), event.subject(), START, "local/default", "owner")
            recorded = Recorded(event, meta, POOL, Position("events.resources", 0, self._offset))
            self._named = {(table.name, key) for table, key in self.projection.touches(recorded)}
            self.projection.project(recorded, self)

    def all(self, table: Table) -> list[Row]:
        return [row for (name, _), row in self.rows.items() if name == table.name]

    def node(self, node_id: str = "n1") -> dict[str, Any]:
        return self.rows[(NODES.name, (node_id, POOL))]

    def uses(self, node_id: str = "n1") -> dict[str, Any]:
        return self.rows[(USES.name, (node_id, POOL))]

    def allocation(self, id: str) -> dict[str, Any]:
        return self.rows[(ALLOCATIONS.name, (id,))]


class ProjectedMachine(PoolMachine):
    """The same histories, folded into rows."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()

    def note(self, events: list[Event]) -> None:
        super().note(events)
        self.memory.fold(events)

    @invariant()
    def nodes_are_as_the_pool_knows_them(self) -> None:
        known = self.pool.state.nodes
        assert {row["node_id"] for row in self.memory.all(NODES)} == set(known)
        assert {row["node_id"] for row in self.memory.all(SPECS)} == set(known)
        assert {row["node_id"] for row in self.memory.all(USES)} == set(known)
        for row in self.memory.all(NODES):
            assert row["status"] == known[row["node_id"]].status
        for row in self.memory.all(USES):
            node = known[row["node_id"]]
            assert row["allocations"] == len(node.allocations)
            assert round(row["allocated_cpus"] * NANO) == node.used.cpus
            assert (row["allocated_memory_bytes"], row["allocated_gpus"]) == (node.used.memory, node.used.gpus)
            assert {int(i): held["allocation_id"] for i, held in row["gpu_holders"].items()} == node.gpus
            assert row["exclusive_job"] == node.exclusive

    @invariant()
    def allocations_are_as_the_pool_knows_them(self) -> None:
        held = {row["allocation_id"]: row for row in self.memory.all(ALLOCATIONS) if row["rest"]}
        assert set(held) == set(self.pool.state.allocations)
        for id, row in held.items():
            assert row["status"] == self.pool.state.allocations[id].status

    @invariant()
    def a_nodes_sums_equal_those_of_its_allocations(self) -> None:
        for node in self.memory.all(USES):
            held = [r for r in self.memory.all(ALLOCATIONS) if r["rest"] and r["node_id"] == node["node_id"]]
            counts = {row["allocation_id"]: len(list(tasks_in(row["rest"]))) for row in held}
            assert node["tasks"] == sum(counts.values())
            for kind in KINDS:
                wanted = sum(row["resources"][kind] * counts[row["allocation_id"]] for row in held)
                assert abs(node[f"allocated_{kind}"] - wanted) < 1e-6


TestProjectedMachine = ProjectedMachine.TestCase
TestProjectedMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_life_of_an_allocation() -> None:
    pool, memory = Pools(), Memory()
    memory.fold(pool.command(register(gpus=[gpu(0), gpu(1)])))
    memory.fold(pool.event(scheduled(placement("a1", tasks="0-1"), placement("a2", tasks="2"), gpus=1)))
    assert memory.allocation("a1")["devices"] == [{"task": 0, "gpus": [0]}, {"task": 1, "gpus": [1]}]
    assert memory.uses()["gpu_holders"]["1"] == {"allocation_id": "a1", "job_id": "job-1", "task": 1}
    rejected = memory.allocation("a2")
    assert (rejected["status"], rejected["reason"]) == ("rejected", "node n1: needs 1 gpus, 0 are free")
    memory.fold(pool.event(unscheduled("a1", tasks="0")))
    assert memory.allocation("a1")["status"] == "bound"
    memory.fold(pool.command(ended(("a1", "1"))))
    row = memory.allocation("a1")
    assert (row["status"], row["rest"], row["stopping"]) == ("stopping", "0", "0")
    memory.fold(pool.command(ended(("a1", "0"))))
    row = memory.allocation("a1")
    assert (row["status"], row["rest"], row["reason"]) == ("released", "", "cancelled by owner")
    assert memory.uses()["gpu_holders"] == {}


def test_a_lost_node_and_its_return() -> None:
    pool, memory = Pools(), Memory()
    memory.fold(pool.command(register()))
    memory.fold(pool.event(scheduled(placement("a1"))))
    memory.fold(pool.command(CordonNode(pool=POOL, node_id="n1", reason="fan")))
    memory.fold(pool.after(15))
    assert (memory.node()["status"], memory.allocation("a1")["status"]) == ("lost", "lost")
    memory.fold(pool.command(heartbeat()))
    assert (memory.node()["status"], memory.node()["lost_at"], memory.node()["hold_reason"]) == (
        "cordoned",
        None,
        "fan",
    )
    memory.fold(pool.command(RemoveNode(pool=POOL, node_id="n1")))
    assert memory.all(NODES) == memory.all(USES) == memory.all(SPECS) == []


def test_labels_and_taints_as_jobs_see_them() -> None:
    pool, memory = Pools(), Memory()
    memory.fold(pool.command(register(labels={"zone": "a", "disk": "ssd"}, taints=("edge",))))
    memory.fold(pool.command(LabelNode(pool=POOL, node_id="n1", labels={"zone": "b", "disk": None, "x": "y"})))
    memory.fold(pool.command(TaintNode(pool=POOL, node_id="n1", taints=(Taint(key="team"),))))
    assert memory.node()["labels"] == {"zone": "b", "x": "y"}
    memory.fold(pool.command(register(labels={"zone": "c", "new": "1"}, taints=("edge", "far"), agent="agent-2")))
    assert memory.node()["labels"] == {"zone": "b", "x": "y", "new": "1"}
    assert [taint["key"] for taint in memory.node()["taints"]] == ["edge", "far", "team"]
