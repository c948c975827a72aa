"""Given a pool, when agents announce, beat and fall silent and operators hold nodes, then this is what happens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from events.language.common import ErrorCode, Refused
from events.language.jobs.spec import TaintEffect, Toleration
from events.language.resources import (
    AllocationReleased,
    AllocationStopRequested,
    CordonNode,
    DrainNode,
    LabelNode,
    NodeCordoned,
    NodeLabelled,
    NodeLost,
    NodeTainted,
    ReleaseReason,
    RemoveNode,
    Taint,
    TaintNode,
    UncordonNode,
)
from services.resources.ending import AT_ONCE
from tests.unit.resources.pools import (
    POOL,
    Pools,
    ended,
    gpu,
    heartbeat,
    placement,
    register,
    said,
    scheduled,
    unscheduled,
)

CORDON = CordonNode(pool=POOL, node_id="n1", reason="bad fan")
UNCORDON = UncordonNode(pool=POOL, node_id="n1")
DRAIN = DrainNode(pool=POOL, node_id="n1", reason="new kernel")
REMOVE = RemoveNode(pool=POOL, node_id="n1")


def refused(action: Callable[[], object], code: ErrorCode) -> str:
    with pytest.raises(Refused) as caught:
        action()
    assert caught.value.code is code
    return caught.value.message


@pytest.fixture
def pool() -> Pools:
    pool = Pools()
    pool.command(register())
    return pool


@pytest.mark.parametrize("command", [CORDON, UNCORDON, DRAIN, REMOVE, heartbeat()])
def test_a_command_for_an_absent_node_is_refused(command: DrainNode) -> None:
    message = refused(lambda: Pools().command(command), ErrorCode.NOT_FOUND)
    assert message == "pool default has no node n1; an agent's start registers it"


class TestRegistering:
    def test_every_start_of_an_agent_is_a_fact(self, pool: Pools) -> None:
        assert said(pool.command(register(agent="agent-2"))) == ["NodeRegistered"]

    def test_a_restarted_agent_finds_its_allocations(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1")))
        assert said(pool.command(register(agent="agent-2"))) == ["NodeRegistered"]
        assert list(pool.state.allocations) == ["a1"]

    def test_the_processes_of_an_earlier_boot_are_gone(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1", tasks="0-1")))
        events = pool.command(register(boot="boot-2"))
        assert said(events) == ["NodeRegistered", "AllocationReleased"]
        assert isinstance(events[1], AllocationReleased)
        assert (events[1].tasks, events[1].rest, events[1].reason) == ("0-1", None, ReleaseReason.NODE_LOST)

    def test_a_device_listed_twice_is_refused(self) -> None:
        message = refused(lambda: Pools().command(register(gpus=[gpu(1), gpu(1)])), ErrorCode.INVALID_ARGUMENT)
        assert message == "gpu 1 is listed more than once"

    def test_more_gpus_than_devices_are_refused(self) -> None:
        message = refused(lambda: Pools().command(register(capacity={"gpus": 2})), ErrorCode.INVALID_ARGUMENT)
        assert message == "the node offers 2 gpus but lists 0"

    def test_a_heartbeat_of_a_replaced_agent_is_refused(self, pool: Pools) -> None:
        pool.command(register(agent="agent-2"))
        assert "agent-2" in refused(lambda: pool.command(heartbeat()), ErrorCode.FAILED_PRECONDITION)


class TestLabelsAndTaints:
    def test_an_operators_label_goes_before_the_agents(self, pool: Pools) -> None:
        pool.command(register(labels={"zone": "a", "disk": "ssd"}))
        pool.command(LabelNode(pool=POOL, node_id="n1", labels={"zone": "b", "disk": None}))
        assert [pool.state.nodes["n1"].label(key) for key in ("zone", "disk")] == ["b", None]

    def test_what_operators_said_is_said_again_when_the_agent_starts(self, pool: Pools) -> None:
        taint = Taint(key="team", value="red")
        pool.command(LabelNode(pool=POOL, node_id="n1", labels={"zone": "b"}))
        pool.command(TaintNode(pool=POOL, node_id="n1", taints=(taint,)))
        pool.command(CORDON)
        events = pool.command(register(agent="agent-2", labels={"zone": "a"}))
        assert events[1:] == [
            NodeLabelled(pool=POOL, node_id="n1", labels={"zone": "b"}),
            NodeTainted(pool=POOL, node_id="n1", taints=(taint,)),
            NodeCordoned(pool=POOL, node_id="n1", reason="bad fan"),
        ]
        assert pool.state.nodes["n1"].label("zone") == "b"

    def test_a_change_that_changes_nothing_is_no_event(self, pool: Pools) -> None:
        pool.command(register(labels={"disk": "ssd"}))
        label = LabelNode(pool=POOL, node_id="n1", labels={"zone": "b", "disk": None, "absent": None})
        (labelled,) = pool.command(label)
        assert isinstance(labelled, NodeLabelled)
        assert labelled.labels == {"zone": "b", "disk": None}
        assert pool.command(label) == []
        taint = TaintNode(pool=POOL, node_id="n1", taints=(Taint(key="team"),))
        assert said(pool.command(taint)) == ["NodeTainted"]
        assert pool.command(taint) == []

    def test_a_no_execute_taint_stops_what_does_not_tolerate_it(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1"), job="plain"))
        pool.event(scheduled(placement("a2"), job="hardy", tolerations=(Toleration(key="team"),)))
        taint = Taint(key="team", value="red", effect=TaintEffect.NO_EXECUTE)
        _, stop = pool.command(TaintNode(pool=POOL, node_id="n1", taints=(taint,)))
        assert isinstance(stop, AllocationStopRequested)
        assert (stop.allocation_id, stop.reason) == ("a1", "taint team=red of node n1 is not tolerated")
        assert said(pool.event(scheduled(placement("a3"), job="plain"))) == ["AllocationRejected"]


class TestHolding:
    def test_cordon_and_uncordon_repeat_to_nothing(self, pool: Pools) -> None:
        assert said(pool.command(CORDON)) == ["NodeCordoned"]
        assert pool.command(CORDON) == []
        assert said(pool.command(UNCORDON)) == ["NodeUncordoned"]
        assert pool.command(UNCORDON) == []

    def test_what_an_operator_does_to_a_node_is_recorded_with_the_reason(self, pool: Pools) -> None:
        for command in (CordonNode, UncordonNode, DrainNode, UncordonNode, RemoveNode):
            said_why = f"{command.__name__} for a test"
            event, *_ = pool.command(command(pool=POOL, node_id="n1", reason=said_why))
            assert getattr(event, "reason", None) == said_why, command

    def test_a_cordon_leaves_what_runs_alone(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1")))
        assert said(pool.command(CORDON)) == ["NodeCordoned"]

    def test_a_drain_stops_all_and_ends_when_all_is_gone(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1", tasks="0-1"), placement("a2", tasks="2")))
        events = pool.command(DRAIN)
        assert said(events) == ["NodeDraining", "AllocationStopRequested", "AllocationStopRequested"]
        assert isinstance(events[1], AllocationStopRequested)
        assert (events[1].tasks, events[1].grace_seconds, events[1].reason) == ("0-1", 10.0, "new kernel")
        assert pool.command(DRAIN) == []
        assert said(pool.command(ended(("a1", "0-1")))) == ["AllocationReleased"]
        assert said(pool.command(ended(("a2", "2")))) == ["AllocationReleased", "NodeDrained"]
        assert said(pool.command(UNCORDON)) == ["NodeUncordoned"]

    def test_an_empty_node_is_drained_at_once(self, pool: Pools) -> None:
        assert said(pool.command(DRAIN)) == ["NodeDraining", "NodeDrained"]

    def test_a_drain_may_set_the_grace(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1")))
        _, stop = pool.command(DrainNode(pool=POOL, node_id="n1", grace_seconds=0))
        assert isinstance(stop, AllocationStopRequested)
        assert (stop.grace_seconds, stop.reason) == (0, "node n1 is being drained")

    def test_a_drain_of_a_crowded_node_goes_on_until_all_are_asked(self, pool: Pools) -> None:
        count = 2 * AT_ONCE + 1
        pool.command(register(capacity={"cpus": 10_000.0, "memory_bytes": 1 << 50}))
        pool.event(scheduled(*(placement(f"a{i}", tasks=str(i)) for i in range(count))))
        assert said(pool.command(DRAIN)) == ["NodeDraining"] + ["AllocationStopRequested"] * count

    def test_a_node_that_runs_something_is_not_removed(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1")))
        message = refused(lambda: pool.command(REMOVE), ErrorCode.FAILED_PRECONDITION)
        assert message == "node n1 still holds 1 allocations of job-1; drain it first"
        pool.command(ended(("a1", "0")))
        assert said(pool.command(REMOVE)) == ["NodeRemoved"]
        refused(lambda: pool.command(heartbeat()), ErrorCode.NOT_FOUND)


class TestLosing:
    def test_a_silent_node_is_lost_with_all_it_held(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1"), placement("a2", tasks="1-2")))
        assert pool.after(14.9) == []
        events = pool.after(0.2)
        assert said(events) == ["NodeLost", "AllocationReleased", "AllocationReleased"]
        assert isinstance(events[0], NodeLost)
        assert events[0].silent_seconds == 15.0
        assert pool.state.allocations == {}
        assert pool.after(100) == []

    def test_heartbeats_leave_no_trace_and_keep_a_node(self, pool: Pools) -> None:
        for _ in range(20):
            pool.after(10)
            assert pool.command(heartbeat()) == []
        assert said(pool.after(15)) == ["NodeLost"]

    def test_how_busy_a_node_is_is_told_until_it_is_lost(self, pool: Pools) -> None:
        def told() -> dict[str, float]:
            measures = [*pool.decider.measured(pool.state)]
            assert all(each.labels == {"pool": POOL, "node": "n1"} for each in measures)
            return {each.name: each.value for each in measures}

        assert told() == {}, "no heartbeat has come"
        beat = heartbeat().model_copy(update={"cpu_percent": 12.5, "memory_used_bytes": 3 << 30, "running_tasks": 7})
        pool.command(beat)
        busy = {
            "forgelog_node_cpu_percent": 12.5,
            "forgelog_node_memory_used_bytes": 3 << 30,
            "forgelog_node_running_tasks": 7,
        }
        assert told() == busy
        assert said(pool.after(15)) == ["NodeLost"]
        assert told() == {}
        pool.command(beat)
        assert told() == busy
        pool.command(register(agent="agent-2"))
        assert told() == {}, "nothing is known of it since another agent has it"

    def test_only_the_silent_node_is_lost(self, pool: Pools) -> None:
        pool.command(register("n2"))
        pool.after(10)
        pool.command(heartbeat("n2"))
        (lost,) = pool.after(10)
        assert lost.subject() == "n1"

    def test_a_lost_nodes_heartbeat_brings_it_back_as_it_was(self, pool: Pools) -> None:
        pool.command(CORDON)
        pool.after(15)
        assert said(pool.command(heartbeat())) == ["NodeRecovered", "NodeCordoned"]
        assert pool.state.nodes["n1"].status == "cordoned"
        assert pool.command(heartbeat()) == []

    def test_a_lost_node_can_be_cordoned_but_not_let_in_again(self, pool: Pools) -> None:
        pool.after(15)
        assert said(pool.command(CORDON)) == ["NodeCordoned"]
        assert pool.state.nodes["n1"].status == "lost"
        assert "is lost" in refused(lambda: pool.command(UNCORDON), ErrorCode.FAILED_PRECONDITION)

    def test_a_node_lost_while_it_drains_is_drained_when_it_is_back(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1")))
        pool.command(DRAIN)
        assert said(pool.after(15)) == ["NodeLost", "AllocationReleased"]
        assert said(pool.command(heartbeat())) == ["NodeRecovered", "NodeDraining", "NodeDrained"]
        pool.after(15)
        assert said(pool.command(heartbeat())) == ["NodeRecovered", "NodeDrained"]

    def test_a_new_writer_gives_every_node_time_to_be_heard(self, pool: Pools) -> None:
        pool.state = pool.replayed()
        pool.now += timedelta(seconds=3600)
        pool.decider.on_resume(pool.state, pool.now)
        assert pool.after(14) == []
        assert said(pool.after(1)) == ["NodeLost"]

    def test_a_writer_that_slept_does_not_take_its_own_deafness_for_silence(self, pool: Pools) -> None:
        pool.decider.due(pool.state)
        pool.now += timedelta(seconds=3600)
        assert pool.after(14) == []
        assert said(pool.after(1)) == ["NodeLost"]

    def test_a_crowded_node_is_released_wholly(self, pool: Pools) -> None:
        count = 2 * AT_ONCE + 1
        pool.command(register(capacity={"cpus": 10_000.0, "memory_bytes": 1 << 50}))
        pool.event(scheduled(*(placement(f"a{i}", tasks=str(i)) for i in range(count))))
        assert said(pool.after(15)) == ["NodeLost"] + ["AllocationReleased"] * count


class TestEnding:
    def test_tasks_end_one_by_one(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1", tasks="0-3", attempt=2)))
        first = pool.command(ended(("a1", "1-2")))
        second = pool.command(ended(("a1", "0-3")))
        assert [(e.tasks, e.rest, e.attempt) for e in first + second if isinstance(e, AllocationReleased)] == [
            ("1-2", "0,3", 2),
            ("0,3", None, 2),
        ]

    def test_a_report_may_name_an_allocation_twice(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1", tasks="0-3")))
        events = pool.command(ended(("a1", "0-1"), ("a1", "1-3")))
        assert [(e.tasks, e.rest) for e in events if isinstance(e, AllocationReleased)] == [
            ("0-1", "2-3"),
            ("2-3", None),
        ]

    def test_a_repeated_report_is_nothing_new(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1", tasks="0-1")))
        pool.command(ended(("a1", "0")))
        assert pool.command(ended(("a1", "0"))) == []
        pool.command(ended(("a1", "1")))
        assert pool.command(ended(("a1", "0-1"))) == []

    def test_an_unknown_allocation_is_refused(self, pool: Pools) -> None:
        message = refused(lambda: pool.command(ended(("a9", "0"))), ErrorCode.NOT_FOUND)
        assert message == "pool default has no allocation a9"

    def test_the_known_part_of_a_report_counts(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1")))
        assert said(pool.command(ended(("a9", "0"), ("a1", "0")))) == ["AllocationReleased"]

    def test_another_nodes_allocation_is_refused(self, pool: Pools) -> None:
        pool.command(register("n2"))
        pool.event(scheduled(placement("a1")))
        message = refused(lambda: pool.command(ended(("a1", "0"), node_id="n2")), ErrorCode.FAILED_PRECONDITION)
        assert message == "allocation a1 is on node n1, not n2"

    def test_tasks_it_never_had_are_refused(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1", tasks="0-1")))
        message = refused(lambda: pool.command(ended(("a1", "1-2"))), ErrorCode.INVALID_ARGUMENT)
        assert message == "allocation a1 never had tasks 2"


class TestUnscheduling:
    def test_bound_tasks_are_asked_to_stop_once(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1", tasks="0-3"), job="job-1"))
        pool.command(ended(("a1", "0")))
        (stop,) = pool.event(unscheduled("a1", tasks="0-1"))
        assert isinstance(stop, AllocationStopRequested)
        assert (stop.tasks, stop.grace_seconds, stop.reason) == ("1", 5.0, "cancelled by owner")
        (rest,) = pool.event(unscheduled("a1"))
        assert isinstance(rest, AllocationStopRequested)
        assert rest.tasks == "2-3"
        assert pool.event(unscheduled("a1")) == []

    def test_what_has_ended_or_never_was_bound_needs_no_stop(self, pool: Pools) -> None:
        pool.event(scheduled(placement("a1"), placement("a2", "nowhere", tasks="1")))
        pool.command(ended(("a1", "0")))
        assert pool.event(unscheduled("a1", "a2", "a3")) == []
