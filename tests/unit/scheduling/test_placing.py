"""Given a pool's nodes, when tasks are queued, then each goes to the node that fits it best, or waits."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.jobs.spec import JobAffinity, LabelMatch, MatchOperator, TaintEffect, Toleration
from events.language.resources import NodeLabelled, NodeTainted, Taint
from events.language.resources.hardware import GPUHealth
from services.scheduling.engine.cluster import MOST_SPARE
from tests.unit.scheduling.queues import GIB, QUEUE, Queues, gpu, job, node, places, plans, released, said


@pytest.fixture
def queue() -> Queues:
    return Queues()


def where(queue: Queues, **wanted: Any) -> str:
    """The node a task goes to; empty if it waits."""
    placed = places(queue.event(job(f"job-{len(queue.foreign)}", **wanted)))
    return placed[0][2] if placed else ""


class TestFitting:
    def test_a_queued_job_is_enqueued_and_placed_in_one_go(self, queue: Queues) -> None:
        queue.event(node())
        enqueued, plan = queue.event(job("job-1", "0-3"))
        assert said([enqueued, plan]) == ["JobEnqueued", "JobScheduled"]
        assert places([plan]) == [("job-1", "0-3", "n1")]
        assert queue.waiting == {}

    def test_without_nodes_it_waits_for_the_first(self, queue: Queues) -> None:
        assert said(queue.event(job("job-1"))) == ["JobEnqueued"]
        assert places(queue.event(node())) == [("job-1", "0", "n1")]

    @pytest.mark.parametrize(
        "wanted",
        [
            {"cpus": 4.5},
            {"memory_bytes": 9 * GIB},
            {"gpus": 3},
            {"gpus": 1, "gpu_type": "a100"},
            {"gpus": 1, "gpu_memory_bytes": 142 * GIB},
            {"storage_bytes": 101 * GIB},
            {"network_mbps": 1001},
        ],
        ids=lambda wanted: " ".join(wanted),
    )
    def test_a_task_that_is_larger_than_the_node_in_any_way_waits(self, queue: Queues, wanted: Any) -> None:
        queue.event(node(gpus=[gpu(0), gpu(1)]))
        assert where(queue, **wanted) == ""

    @pytest.mark.parametrize(
        "wanted",
        [
            {"cpus": 4.0},
            {"memory_bytes": 8 * GIB},
            {"gpus": 2},
            {"gpus": 2, "gpu_type": "h200", "gpu_memory_bytes": 141 * GIB},
            {"storage_bytes": 100 * GIB},
            {"network_mbps": 1000},
        ],
        ids=lambda wanted: " ".join(wanted),
    )
    def test_all_of_a_node_can_be_had_once(self, queue: Queues, wanted: Any) -> None:
        queue.event(node(gpus=[gpu(0), gpu(1)]))
        assert where(queue, **wanted) == "n1"
        assert where(queue, **wanted) == ""

    def test_thirds_of_a_cpu_fill_it(self, queue: Queues) -> None:
        queue.event(node(cpus=1.0))
        assert places(queue.event(job("job-1", "0-3", cpus=1 / 3))) == [("job-1", "0-2", "n1")]
        assert queue.waiting == {"job-1": "3"}

    def test_a_broken_gpu_counts_for_nothing(self, queue: Queues) -> None:
        queue.event(node(gpus=[gpu(0, health=GPUHealth.UNHEALTHY), gpu(1)]))
        assert where(queue, gpus=2) == ""
        assert where(queue, gpus=1) == "n1"

    def test_an_array_spreads_when_one_node_is_full(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"))
        assert places(queue.event(job("job-1", "0-9"))) == [("job-1", "0-3", "n1"), ("job-1", "4-7", "n2")]
        assert queue.waiting == {"job-1": "8-9"}

    def test_what_is_given_back_is_given_out_again(self, queue: Queues) -> None:
        queue.event(node())
        (plan,) = plans(queue.event(job("job-1", "0-5")))
        assert places(queue.event(released(plan, tasks="1-2"))) == [("job-1", "4-5", "n1")]

    def test_an_exclusive_job_wants_an_idle_node_and_keeps_it(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2", cpus=2.0))
        assert where(queue) == "n2"
        (plan,) = plans(queue.event(job("alone", exclusive=True)))
        assert plan.placements[0].node_id == "n1"
        assert where(queue) == "n2"
        assert where(queue) == ""
        assert [place[2] for place in places(queue.event(released(plan)))] == ["n1"]

    def test_tasks_of_an_exclusive_job_share_its_node(self, queue: Queues) -> None:
        queue.event(node())
        assert places(queue.event(job("alone", "0-1", exclusive=True))) == [("alone", "0-1", "n1")]


class TestBestFit:
    def test_the_fuller_node_is_filled_first(self, queue: Queues) -> None:
        queue.event(node("large", cpus=64.0), node("small", cpus=2.0))
        assert where(queue) == "small"

    def test_the_score_is_over_every_kind(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"))
        queue.event(job("filler", cpus=0.1, memory_bytes=6 * GIB))
        filled = plans([event for event, _ in queue.history])[0].placements[0].node_id
        assert where(queue) == filled

    def test_idle_gpus_are_left_to_jobs_that_use_them(self, queue: Queues) -> None:
        queue.event(node("gpus", cpus=2.0, gpus=[gpu(0)]), node("plain", cpus=64.0))
        assert where(queue) == "plain"
        assert where(queue, gpus=1) == "gpus"

    def test_equal_nodes_are_taken_in_the_order_they_came(self, queue: Queues) -> None:
        queue.event(node("n2"), node("n1"))
        assert where(queue) == "n2"

    def test_a_plan_tells_its_score_and_the_time_waited(self, queue: Queues) -> None:
        queue.event(job("job-1", cpus=4.0, memory_bytes=8 * GIB, storage_bytes=100 * GIB, network_mbps=1000))
        queue.after(3)
        (plan,) = plans(queue.event(node()))
        assert (plan.placements[0].score, plan.waited_seconds) == (1.0, 3.0)


class TestNodeRules:
    def test_a_selector_names_labels_a_node_must_have(self, queue: Queues) -> None:
        queue.event(node("n1", labels={"zone": "a"}), node("n2", labels={"zone": "b"}), node("n3"))
        assert where(queue, node_selector={"zone": "b"}) == "n2"
        assert where(queue, node_selector={"zone": "c"}) == ""

    @pytest.mark.parametrize(
        ("operator", "values", "expected"),
        [
            (MatchOperator.IN, ("b", "c"), "n2"),
            (MatchOperator.NOT_IN, ("a", "b"), "n3"),
            (MatchOperator.EXISTS, (), "n1"),
            (MatchOperator.DOES_NOT_EXIST, (), "n3"),
        ],
    )
    def test_affinity_compares_a_label(
        self, queue: Queues, operator: MatchOperator, values: tuple[str, ...], expected: str
    ) -> None:
        queue.event(node("n1", labels={"zone": "a"}), node("n2", labels={"zone": "b"}), node("n3"))
        assert where(queue, node_affinity=(LabelMatch(key="zone", operator=operator, values=values),)) == expected

    def test_a_preference_goes_before_the_fit_but_excludes_nothing(self, queue: Queues) -> None:
        queue.event(node("n1", cpus=1.0), node("n2", cpus=1.0, labels={"disk": "ssd"}, capacity={"memory_bytes": GIB}))
        fast = (LabelMatch(key="disk", values=("ssd",)),)
        assert where(queue, preferred_nodes=fast) == "n2"
        assert where(queue, preferred_nodes=fast) == "n1"

    @pytest.mark.parametrize("effect", [TaintEffect.NO_SCHEDULE, TaintEffect.NO_EXECUTE])
    def test_a_taint_keeps_out_whoever_does_not_tolerate_it(self, queue: Queues, effect: TaintEffect) -> None:
        taint = Taint(key="team", value="red", effect=effect)
        queue.event(node(), NodeTainted(pool=QUEUE, node_id="n1", taints=(taint,)))
        assert where(queue) == ""
        assert where(queue, tolerations=(Toleration(key="team", value="blue"),)) == ""
        assert where(queue, tolerations=(Toleration(key="team", value="red", effect=effect),)) == "n1"
        assert where(queue, tolerations=(Toleration(),)) == "n1"

    def test_a_node_to_be_avoided_is_taken_last(self, queue: Queues) -> None:
        taint = Taint(key="old", effect=TaintEffect.PREFER_NO_SCHEDULE)
        queue.event(node("n1", cpus=1.0), NodeTainted(pool=QUEUE, node_id="n1", taints=(taint,)))
        queue.event(node("n2", cpus=1.0))
        assert [where(queue), where(queue), where(queue)] == ["n2", "n1", ""]

    def test_taints_of_the_agent_stay_when_operators_change_theirs(self, queue: Queues) -> None:
        queue.event(node(taints=("edge",)))
        queue.event(NodeTainted(pool=QUEUE, node_id="n1", taints=(Taint(key="team"),)))
        queue.event(NodeTainted(pool=QUEUE, node_id="n1", taints=()))
        assert where(queue) == ""
        assert where(queue, tolerations=(Toleration(key="edge"),)) == "n1"

    def test_a_label_that_is_set_lets_waiting_tasks_in(self, queue: Queues) -> None:
        queue.event(node(labels={"zone": "a"}))
        queue.event(job("job-1", node_selector={"zone": "b"}))
        assert places(queue.event(NodeLabelled(pool=QUEUE, node_id="n1", labels={"zone": "b"}))) == [
            ("job-1", "0", "n1")
        ]
        queue.event(NodeLabelled(pool=QUEUE, node_id="n1", labels={"zone": None}))
        assert where(queue, node_selector={"zone": "b"}) == ""


DB = {"app": "db"}
WEB = {"app": "web"}


def near(labels: dict[str, str], **more: Any) -> Any:
    return (JobAffinity(labels=labels, **more),)


class TestJobRules:
    def test_affinity_goes_where_the_other_job_is(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"))
        queue.event(job("db", labels=DB, cpus=0.5))
        (there,) = {hold.node_id for hold in queue.state.cluster.holds.values()}
        queue.event(node("n3", cpus=0.6))
        assert where(queue, labels=WEB, cpus=0.5, job_affinity=near(DB)) == there

    def test_the_first_of_jobs_that_want_to_be_together_may_go_anywhere(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"))
        first = where(queue, labels=DB, job_affinity=near(DB))
        assert [where(queue, labels=DB, job_affinity=near(DB)) for _ in range(4)] == [first] * 3 + [""]

    def test_affinity_waits_for_the_other_job(self, queue: Queues) -> None:
        queue.event(node())
        queue.event(job("web", labels=WEB, job_affinity=near(DB)))
        assert queue.waiting == {"web": "0"}
        assert places(queue.event(job("db", labels=DB))) == [("db", "0", "n1"), ("web", "0", "n1")]

    def test_anti_affinity_keeps_apart_and_works_both_ways(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"))
        (plan,) = plans(queue.event(job("loner", labels=WEB, job_affinity=near(DB, anti=True))))
        home = plan.placements[0].node_id
        other = {"n1": "n2", "n2": "n1"}[home]
        assert where(queue, labels=DB) == other
        assert where(queue, labels=DB, cpus=4.0) == ""
        assert where(queue, labels=WEB, job_affinity=near(DB, anti=True)) == home
        assert where(queue, cpus=2.0) != ""

    def test_who_was_kept_away_comes_when_the_other_is_gone(self, queue: Queues) -> None:
        queue.event(node())
        (plan,) = plans(queue.event(job("loner", job_affinity=near(DB, anti=True))))
        queue.event(job("db", labels=DB))
        assert queue.waiting == {"db": "0"}
        assert places(queue.event(released(plan))) == [("db", "0", "n1")]

    def test_tasks_that_keep_away_from_each_other_get_a_node_each(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"))
        placed = places(queue.event(job("ring", "0-2", labels=DB, job_affinity=near(DB, anti=True))))
        assert sorted(placed) == [("ring", "0", "n1"), ("ring", "1", "n2")]
        assert queue.waiting == {"ring": "2"}

    def test_a_topology_key_makes_nodes_one_place(self, queue: Queues) -> None:
        for number in range(4):
            queue.event(node(f"n{number}", cpus=1.0, labels={"zone": "ab"[number // 2]}))
        rule = near(DB, topology_key="zone", anti=True)
        placed = places(queue.event(job("ring", "0-2", labels=DB, job_affinity=rule)))
        assert len(placed) == 2
        assert {"n0", "n1"} & {place[2] for place in placed}
        assert {"n2", "n3"} & {place[2] for place in placed}

    def test_a_preference_about_jobs_only_orders(self, queue: Queues) -> None:
        queue.event(node("n1", cpus=2.0), node("n2", cpus=2.0))
        there = where(queue, labels=DB)
        other = {"n1": "n2", "n2": "n1"}[there]
        away = near(DB, anti=True, required=False)
        assert [where(queue, job_affinity=away) for _ in range(4)] == [other, other, there, ""]

    def test_who_is_kept_away_keeps_nobody_else_of_its_size_waiting(self, queue: Queues) -> None:
        queue.event(node("n1", cpus=1.0), job("db", labels=DB, cpus=3.0), job("huge", cpus=64.0))
        queue.event(job("loner", job_affinity=near(DB, anti=True)))
        queue.event(node("n1", cpus=4.0))
        assert queue.waiting == {"db": "0", "huge": "0"}
        assert where(queue, cpus=3.0) == "n1"

    def test_two_rules_about_the_same_jobs_count_them_once(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"))
        (plan,) = plans(queue.event(job("db", labels=DB)))
        rules = (*near(DB), *near(DB, required=False))
        home = plan.placements[0].node_id
        assert places(queue.event(job("web", "0-9", job_affinity=rules))) == [("web", "0-2", home)]
        assert places(queue.event(released(plan))) == []

    def test_rules_that_nobody_has_any_more_are_not_counted_any_more(self, queue: Queues) -> None:
        queue.event(node())
        for number in range(20):
            rule = near({"app": f"app-{number}"}, anti=True)
            (plan,) = plans(queue.event(job(f"ring-{number}", job_affinity=rule)))
            queue.event(released(plan))
        assert len(queue.state.cluster.presence.asked) <= 2


class TestHeaps:
    """An engine that forgot its nodes whenever nothing waits would look at all of them for every job."""

    def test_common_shapes_are_remembered_while_nothing_waits(self, queue: Queues) -> None:
        queue.event(node(cpus=64.0))
        for number in range(4):
            queue.event(job(f"job-{number}", cpus=1.0 + number))
        assert (queue.waiting, queue.state.cluster.shapes) == ({}, 4)

    def test_those_asked_for_longest_ago_are_forgotten_first(self, queue: Queues) -> None:
        queue.event(node(cpus=10_000.0, capacity={"memory_bytes": 1 << 50}))
        for number in range(MOST_SPARE + 2):
            queue.event(job(f"job-{number}", cpus=1.0 + number))
            queue.event(job(f"again-{number}", cpus=1.0))
        assert queue.state.cluster.shapes == MOST_SPARE
        assert {2.0, 3.0}.isdisjoint(wanted[0] / 10**9 for wanted in queue.state.cluster.requests())
