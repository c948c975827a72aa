"""Given a node that an agent holds, when another agent claims it, then no two agents ever start the same allocation."""

from __future__ import annotations

import pytest

from events.language.common import ErrorCode
from events.language.resources import AllocationBound, NodeRegistered, RemoveNode
from tests.unit.resources.pools import POOL, Pools, ended, heartbeat, placement, register, said, scheduled
from tests.unit.resources.test_nodes import refused

LOST_AFTER = 15.0


@pytest.fixture
def pool() -> Pools:
    pool = Pools(LOST_AFTER)
    pool.command(register(instance="folder-1"))
    return pool


def bound(pool: Pools, allocation: str = "a1") -> AllocationBound:
    (event,) = pool.event(scheduled(placement(allocation), job=f"job-of-{allocation}"))
    assert isinstance(event, AllocationBound)
    return event


class TestWhileTheHolderIsHeardOf:
    def test_an_agent_with_another_folder_is_refused_and_told_who_holds_the_node(self, pool: Pools) -> None:
        pool.after(4)
        claim = register(agent="agent-2", instance="folder-2")
        message = refused(lambda: pool.command(claim), ErrorCode.FAILED_PRECONDITION)
        assert message == (
            "node n1 is held by agent agent-1 on host n1, heard of 4 s ago: give this agent another name "
            "(FORGELOG_NODE), or stop that one; once it has been silent for 15 s, or the node is removed, the node is "
            "free"
        )

    def test_an_agent_that_names_no_instance_is_refused(self, pool: Pools) -> None:
        refused(lambda: pool.command(register(agent="agent-2")), ErrorCode.FAILED_PRECONDITION)

    def test_the_same_instance_on_another_boot_may_be_a_clone_of_the_machine_and_is_refused(self, pool: Pools) -> None:
        claim = register(agent="agent-2", instance="folder-1", boot="boot-2")
        refused(lambda: pool.command(claim), ErrorCode.FAILED_PRECONDITION)

    def test_a_refused_claim_leaves_the_holder_and_what_it_holds(self, pool: Pools) -> None:
        bound(pool)
        refused(lambda: pool.command(register(agent="agent-2", instance="folder-2")), ErrorCode.FAILED_PRECONDITION)
        assert pool.command(heartbeat()) == []
        assert list(pool.state.allocations) == ["a1"]

    def test_an_agent_started_again_on_its_folder_is_the_same_registration(self, pool: Pools) -> None:
        bound(pool)
        assert said(pool.command(register(agent="agent-2", instance="folder-1"))) == ["NodeRegistered"]
        assert list(pool.state.allocations) == ["a1"]


class TestOnceTheHolderIsGone:
    def test_a_lost_node_may_be_taken(self, pool: Pools) -> None:
        bound(pool)
        assert said(pool.after(LOST_AFTER)) == ["NodeLost", "AllocationReleased"]
        (registered,) = pool.command(register(agent="agent-2", instance="folder-2"))
        assert isinstance(registered, NodeRegistered)
        assert registered.instance_id == "folder-2"
        message = refused(lambda: pool.command(heartbeat()), ErrorCode.FAILED_PRECONDITION)
        assert message == (
            "node n1 is held by agent agent-2 on host n1, not by agent-1; stop one of the two agents, or give one "
            "another name"
        )

    def test_a_removed_node_may_be_taken(self, pool: Pools) -> None:
        pool.command(RemoveNode(pool=POOL, node_id="n1"))
        assert said(pool.command(register(agent="agent-2", instance="folder-2"))) == ["NodeRegistered"]

    def test_the_earlier_holder_is_refused_in_turn(self, pool: Pools) -> None:
        pool.after(LOST_AFTER)
        pool.command(register(agent="agent-2", instance="folder-2"))
        refused(lambda: pool.command(register(instance="folder-1")), ErrorCode.FAILED_PRECONDITION)


class TestAllocations:
    def test_bind_to_the_registration_that_holds_the_node(self, pool: Pools) -> None:
        assert bound(pool).instance_id == "folder-1"
        pool.after(LOST_AFTER)
        pool.command(register(agent="agent-2", instance="folder-2"))
        assert bound(pool, "a2").instance_id == "folder-2"

    def test_are_not_reported_ended_by_another_registrations_agent(self, pool: Pools) -> None:
        bound(pool)
        report = ended(("a1", "0"), instance="folder-2")
        message = refused(lambda: pool.command(report), ErrorCode.FAILED_PRECONDITION)
        assert message == "allocation a1 is bound to another registration of node n1"
        assert said(pool.command(ended(("a1", "0"), instance="folder-1"))) == ["AllocationReleased"]

    def test_outlive_an_agent_that_learns_to_name_its_instance(self) -> None:
        pool = Pools()
        pool.command(register())
        assert bound(pool).instance_id == ""
        assert said(pool.command(register(agent="agent-2", instance="folder-1"))) == ["NodeRegistered"]
        assert said(pool.command(ended(("a1", "0"), instance="folder-1"))) == ["AllocationReleased"]


class TestWhatTheNodeHolds:
    """The answer to a registration says what the pool believes to run on the node."""

    def holds(self, pool: Pools, **agent: str) -> list[tuple[str, str, str]]:
        registered = pool.command(register(**agent))[0]
        assert isinstance(registered, NodeRegistered)
        assert registered.holds is not None
        return [(held.allocation_id, held.job_id, held.tasks) for held in registered.holds.allocations]

    def test_a_new_node_holds_nothing(self) -> None:
        assert self.holds(Pools(LOST_AFTER), instance="folder-1") == []

    def test_an_agent_that_goes_on_is_told_what_is_bound_and_not_ended(self, pool: Pools) -> None:
        bound(pool, "a1")
        bound(pool, "a2")
        pool.command(ended(("a1", "0")))
        assert self.holds(pool, agent="agent-2", instance="folder-1") == [("a2", "job-of-a2", "0")]

    def test_a_node_that_booted_anew_or_was_lost_holds_nothing(self, pool: Pools) -> None:
        bound(pool)
        pool.after(LOST_AFTER)
        assert self.holds(pool, agent="agent-2", instance="folder-1") == []
        bound(pool, "a2")
        pool.after(LOST_AFTER)
        assert self.holds(pool, agent="agent-3", instance="folder-1", boot="boot-2") == []
