"""Given tasks that wait, when a moment has passed, then the log says why: each reason, which nodes, how many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from events.language.base import Event
from events.language.jobs.spec import JobAffinity, LabelMatch, MatchOperator
from events.language.resources import NodeCordoned, NodeLost, NodeTainted, Taint
from events.language.scheduling import ConfigureQueue, JobDeferred, PendingReason, QueueStatus
from services.scheduling import decide
from services.scheduling.decide import LOOKS_AT_ONCE
from services.scheduling.engine.explain import MOST_REASONS
from tests.unit.scheduling.queues import GIB, QUEUE, START, Queues, cancel, gpu, job, node, plans, rejection, said


@pytest.fixture
def queue() -> Queues:
    return Queues()


def told(events: Sequence[Event]) -> list[JobDeferred]:
    return [event for event in events if isinstance(event, JobDeferred)]


PLAIN = "4 cpus, 8 GiB"


class TestReasons:
    def test_a_pool_without_nodes(self, queue: Queues) -> None:
        queue.event(job("job-1"))
        assert queue.why() == ("the pool has no nodes (start a node agent, or name a queue whose pool has nodes)")

    def test_every_reason_is_told_with_its_nodes(self, queue: Queues) -> None:
        queue.event(node("n1"), node("n2"), node("n3", gpus=[gpu(0), gpu(1)]), node("n4", gpus=[gpu(0), gpu(1)]))
        queue.event(job("runs", "0-1", gpus=1))
        queue.event(NodeCordoned(pool=QUEUE, node_id="n4", reason="bad fan"))
        queue.event(job("job-1", gpus=2))
        (event,) = told(queue.after(0.25))
        assert event.tasks == "0"
        assert event.reasons == (
            PendingReason(
                reason="too small: gpus", detail="needs 2, the node has 0", nodes=2, node_group="4 cpus, 8 GiB"
            ),
            PendingReason(
                reason="insufficient gpus",
                detail="needs 2, at most 0 free",
                nodes=1,
                node_group="2 NVIDIA H200, 4 cpus, 8 GiB",
            ),
            PendingReason(reason="node cordoned", nodes=1, node_group="2 NVIDIA H200, 4 cpus, 8 GiB"),
        )
        assert event.message == (
            "0 of 4 nodes can take a task: 2 too small: gpus, 1 insufficient gpus, 1 node cordoned"
        )

    @pytest.mark.parametrize(
        ("wanted", "reason", "detail"),
        [
            ({"gpus": 1}, "insufficient gpus", "needs 1, at most 0 free"),
            ({"gpus": 1, "gpu_type": "A100"}, "too small: A100 gpus", "needs 1, the node has 0"),
            ({"cpus": 4, "memory_bytes": 9 * GIB}, "too small: memory", "needs 9 GiB, the node has 8 GiB"),
        ],
    )
    def test_what_a_node_will_never_have_goes_before_what_is_taken_now(
        self, queue: Queues, wanted: dict[str, Any], reason: str, detail: str
    ) -> None:
        queue.event(node("n1", gpus=[gpu(0)]), job("runs", gpus=1))
        queue.event(job("job-1", **wanted))
        (event,) = told(queue.after(0.25))
        assert [(told.reason, told.detail) for told in event.reasons] == [(reason, detail)]

    @pytest.mark.parametrize(
        ("wanted", "reason", "detail"),
        [
            ({"cpus": 3.5}, "insufficient cpus", "needs 3.5, at most 3 free"),
            ({"memory_bytes": 8 * GIB}, "insufficient memory", "needs 8 GiB, at most 7.8 GiB free"),
            ({"cpus": 5.0}, "too small: cpus", "needs 5, the node has 4"),
            ({"gpus": 3}, "too small: gpus", "needs 3, the node has 2"),
            ({"gpus": 1, "gpu_type": "A100"}, "too small: A100 gpus", "needs 1, the node has 0"),
            (
                {"gpus": 1, "gpu_memory_bytes": 200 * GIB},
                "too small: gpus of 200 GiB",
                "needs 1, the node has 0",
            ),
            ({"storage_bytes": 200 * GIB}, "too small: storage", "needs 200 GiB, the node has 100 GiB"),
            ({"network_mbps": 2000}, "too small: network", "needs 2000 Mbit/s, the node has 1000 Mbit/s"),
            ({"node_selector": {"zone": "b"}}, "label zone is not b", ""),
            ({"node_affinity": (LabelMatch(key="zone", values=("b", "c")),)}, "label zone in b, c: no", ""),
            (
                {"node_affinity": (LabelMatch(key="zone", operator=MatchOperator.DOES_NOT_EXIST),)},
                "label zone does not exist: no",
                "",
            ),
            ({"exclusive": True}, "runs other jobs, and this one wants a node for itself", ""),
            (
                {"job_affinity": (JobAffinity(labels={"app": "db"}),)},
                "no job app=db on the same hostname",
                "",
            ),
            (
                {"job_affinity": (JobAffinity(labels={"app": "web"}, anti=True, topology_key="zone"),)},
                "job app=web is on the same zone",
                "",
            ),
            (
                {"job_affinity": (JobAffinity(labels={"app": "db"}, topology_key="rack"),)},
                "node has no label rack",
                "",
            ),
        ],
    )
    def test_reason_by_reason(self, queue: Queues, wanted: Any, reason: str, detail: str) -> None:
        queue.event(node(labels={"zone": "a"}, gpus=[gpu(0), gpu(1)]))
        queue.event(job("runs", labels={"app": "web"}))
        queue.event(job("job-1", **wanted))
        (event,) = told(queue.after(0.25))
        assert [(line.reason, line.detail, line.nodes) for line in event.reasons] == [(reason, detail, 1)]
        assert event.message == f"0 of 1 nodes can take a task: 1 {reason}"

    def test_a_taint(self, queue: Queues) -> None:
        queue.event(node(), NodeTainted(pool=QUEUE, node_id="n1", taints=(Taint(key="team", value="red"),)))
        queue.event(job("job-1"))
        assert queue.why() == "0 of 1 nodes can take a task: 1 taint team=red is not tolerated"

    def test_a_node_held_by_another_job(self, queue: Queues) -> None:
        queue.event(node(), job("alone", exclusive=True), job("job-1"))
        assert queue.why() == "0 of 1 nodes can take a task: 1 held by another job for itself"

    def test_a_job_that_keeps_away(self, queue: Queues) -> None:
        away = JobAffinity(labels={"app": "db"}, anti=True)
        queue.event(node())
        queue.event(job("loner", job_affinity=(away,)))
        queue.event(job("job-1", labels={"app": "db"}))
        assert queue.why() == ("0 of 1 nodes can take a task: 1 a job on the same hostname keeps away from job app=db")

    def test_a_node_that_has_just_rejected(self, queue: Queues) -> None:
        queue.event(node())
        (plan,) = plans(queue.event(job("job-1")))
        queue.event(rejection(plan))
        assert queue.why() == "0 of 1 nodes can take a task: 1 rejected the last placement"

    def test_its_own_limit(self, queue: Queues) -> None:
        queue.event(node(), job("array", "0-3", max_parallel=2))
        assert queue.why() == "max_parallel reached (2 of at most 2 tasks run)"

    def test_its_own_back_off(self, queue: Queues) -> None:
        queue.event(node(), job("job-1", attempt=2, not_before=START + timedelta(seconds=30)))
        assert queue.why() == f"backing off (until {START + timedelta(seconds=30):%H:%M:%S} UTC)"

    def test_a_paused_queue(self, queue: Queues) -> None:
        queue.event(node())
        queue.command(ConfigureQueue(queue=QUEUE, status=QueueStatus.PAUSED))
        queue.event(job("job-1"))
        assert queue.why() == "queue paused (an operator must open it)"

    def test_too_many_reasons_are_summed_up(self, queue: Queues) -> None:
        for number in range(MOST_REASONS + 2):
            queue.event(node(f"n{number}", capacity={"memory_bytes": (1 + number) * GIB}))
        queue.event(job("job-1", cpus=64.0))
        (event,) = told(queue.after(0.25))
        assert len(event.reasons) == MOST_REASONS + 1
        assert (event.reasons[-1].reason, event.reasons[-1].detail, event.reasons[-1].nodes) == (
            "other",
            "2 further reasons",
            2,
        )
        assert sum(line.nodes for line in event.reasons) == MOST_REASONS + 2


class TestTelling:
    def test_what_is_placed_at_once_is_not_explained(self, queue: Queues) -> None:
        queue.event(node(), job("job-1"))
        assert queue.after(60) == []

    def test_it_is_said_once_while_nothing_changes(self, queue: Queues) -> None:
        queue.event(node(), job("job-1", cpus=64.0))
        assert said(queue.after(300)) == ["JobDeferred"]

    def test_it_is_said_again_when_the_reasons_change(self, queue: Queues) -> None:
        queue.event(node(), job("job-1", cpus=64.0))
        queue.after(0.25)
        queue.event(NodeLost(pool=QUEUE, node_id="n1", silent_seconds=15.0))
        (event,) = told(queue.after(10))
        assert event.message == "0 of 1 nodes can take a task: 1 node lost"

    def test_after_its_back_off_it_is_said_what_it_waits_for_now(self, queue: Queues) -> None:
        queue.event(node(), job("job-1", cpus=64.0, attempt=2, not_before=START + timedelta(seconds=5)))
        first, second = told(queue.after(30))
        assert first.message.startswith("backing off")
        assert second.message == "0 of 1 nodes can take a task: 1 too small: cpus"

    def test_who_left_the_queue_is_not_explained(self, queue: Queues) -> None:
        queue.event(node(), job("job-1", cpus=64.0))
        queue.event(cancel("job-1"))
        assert queue.after(60) == []

    def test_a_long_queue_is_explained_bit_by_bit(self, queue: Queues) -> None:
        for number in range(2 * LOOKS_AT_ONCE + 1):
            queue.event(job(f"job-{number}", cpus=64.0))
        counts = [len(told(queue.after(seconds))) for seconds in (0.25, 1.0, 1.0, 1.0)]
        assert counts == [LOOKS_AT_ONCE, LOOKS_AT_ONCE, 1, 0]

    def test_looks_at_many_nodes_are_spread_over_time(self, queue: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decide, "NODES_AT_ONCE", 4)
        queue.event(node("n1"), node("n2"))
        for number in range(5):
            queue.event(job(f"job-{number}", cpus=64.0 + number), job(f"same-{number}", cpus=64.0))
        counts = [len(told(queue.after(seconds))) for seconds in (0.25, *[1.0] * 5)]
        assert (counts[0], sum(counts)) == (3, 10)

    def test_jobs_of_one_size_are_told_their_own_reasons(self, queue: Queues) -> None:
        queue.event(node())
        for app in ("db", "web"):
            away = JobAffinity(labels={"app": app}, anti=True)
            queue.event(job(f"no-{app}", job_affinity=(away,)))
            queue.event(job(app, labels={"app": app}))
        reasons = {event.job_id: event.reasons[0].reason for event in told(queue.after(0.25))}
        assert reasons == {app: f"a job on the same hostname keeps away from job app={app}" for app in ("db", "web")}

    def test_a_retry_is_told_again(self, queue: Queues) -> None:
        queue.event(node(), job("job-1", cpus=64.0))
        queue.after(1)
        queue.event(job("job-1", "1", attempt=2, cpus=64.0))
        (event,) = told(queue.after(0.25))
        assert event.tasks == "1"
