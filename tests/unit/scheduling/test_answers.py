"""Given placements, when resources answers, nodes come and go or users cancel, then no task is lost or placed twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from events.language.base import Event
from events.language.resources import (
    NodeCordoned,
    NodeDrained,
    NodeDraining,
    NodeLost,
    NodeRecovered,
    NodeRemoved,
    NodeUncordoned,
    ReleaseReason,
)
from events.language.scheduling import JobDequeued, JobEnqueued, JobScheduled, JobUnscheduled
from services.scheduling.decide import IDS_AT_ONCE
from tests.unit.scheduling.queues import (
    QUEUE,
    START,
    Queues,
    bound,
    cancel,
    job,
    node,
    places,
    plans,
    rejection,
    released,
    said,
)


@pytest.fixture
def queue() -> Queues:
    queue = Queues()
    queue.event(node())
    return queue


def placed(queue: Queues, id: str = "job-1", tasks: str = "0") -> JobScheduled:
    (plan,) = plans(queue.event(job(id, tasks)))
    return plan


class TestRejected:
    def test_its_tasks_wait_again_with_their_attempt_and_the_node_is_left_alone(self, queue: Queues) -> None:
        (plan,) = plans(queue.event(job("job-1", "0-1", attempt=3)))
        (event,) = queue.event(rejection(plan))
        assert isinstance(event, JobEnqueued)
        assert (event.entry.tasks, event.entry.attempt, event.entry.not_before) == ("0-1", 3, None)
        assert queue.waiting == {"job-1": "0-1"}

    def test_the_node_is_tried_again_after_a_second(self, queue: Queues) -> None:
        plan = placed(queue)
        queue.event(rejection(plan))
        assert places(queue.after(0.99)) == []
        assert places(queue.after(0.01)) == [("job-1", "0", "n1")]

    @pytest.mark.parametrize("news", [node(), NodeUncordoned(pool=QUEUE, node_id="n1")], ids=["agent", "operator"])
    def test_news_of_the_node_ends_its_rest(self, queue: Queues, news: Event) -> None:
        plan = placed(queue)
        queue.event(rejection(plan))
        assert places(queue.event(news)) == [("job-1", "0", "n1")]

    def test_another_node_is_taken_at_once(self, queue: Queues) -> None:
        plan = placed(queue)
        queue.event(node("n2"))
        assert places(queue.event(rejection(plan))) == [("job-1", "0", "n2")]

    def test_a_new_allocation_has_a_new_id(self, queue: Queues) -> None:
        plan = placed(queue)
        queue.event(node("n2"))
        (again,) = plans(queue.event(rejection(plan)))
        assert again.placements[0].allocation_id != plan.placements[0].allocation_id

    def test_one_of_several_placements(self, queue: Queues) -> None:
        queue.event(node("n2", cpus=1.0))
        plan = placed(queue, tasks="0-4")
        assert places([plan]) == [("job-1", "0", "n2"), ("job-1", "1-4", "n1")]
        queue.event(bound(plan, 1), rejection(plan, 0))
        assert queue.waiting == {"job-1": "0"}
        assert places(queue.event(released(plan, 1, tasks="3"))) == [("job-1", "0", "n1")]

    def test_tasks_cancelled_meanwhile_do_not_wait_again(self, queue: Queues) -> None:
        plan = placed(queue, tasks="0-3")
        assert said(queue.event(cancel("job-1", "1-2"))) == ["JobUnscheduled"]
        again, gone = queue.event(rejection(plan))
        assert isinstance(again, JobEnqueued)
        assert isinstance(gone, JobDequeued)
        assert (again.entry.tasks, gone.tasks, gone.attempt) == ("0,3", "1-2", 1)
        assert queue.waiting == {"job-1": "0,3"}


class TestCancelled:
    def test_what_waits_leaves_the_queue(self, queue: Queues) -> None:
        queue.event(job("large", "0-3", cpus=64.0))
        (event,) = queue.event(cancel("large", "1-9"))
        assert isinstance(event, JobDequeued)
        assert (event.tasks, event.attempt, event.reason) == ("1-3", 1, "cancelled by owner")
        assert queue.waiting == {"large": "0"}

    def test_what_backs_off_leaves_the_queue(self, queue: Queues) -> None:
        queue.event(job("job-1", attempt=2, not_before=START + timedelta(seconds=30)))
        assert said(queue.event(cancel("job-1"))) == ["JobDequeued"]
        assert queue.after(60) == []

    @pytest.mark.parametrize("answered", [False, True], ids=["in flight", "bound"])
    def test_what_was_placed_is_told_to_stop_and_keeps_its_share(self, queue: Queues, answered: bool) -> None:
        plan = placed(queue, tasks="0-3")
        if answered:
            queue.event(bound(plan))
        (stop,) = queue.event(cancel("job-1", "0-1", grace=7.0))
        assert isinstance(stop, JobUnscheduled)
        assert (stop.allocations, stop.tasks, stop.grace_seconds) == ((plan.placements[0].allocation_id,), "0-1", 7.0)
        assert queue.state.cluster.nodes["n1"].free[0] == 0
        assert queue.event(cancel("job-1", "0-1")) == []
        assert said(queue.event(cancel("job-1", "0-3"))) == ["JobUnscheduled"]

    def test_some_wait_some_run(self, queue: Queues) -> None:
        plan = placed(queue, tasks="0-9")
        events = queue.event(cancel("job-1"))
        assert [(type(e).__name__, e.tasks) for e in events if isinstance(e, JobDequeued | JobUnscheduled)] == [
            ("JobDequeued", "4-9"),
            ("JobUnscheduled", "0-3"),
        ]
        assert queue.event(released(plan)) == []
        assert queue.state.backlog.jobs == {}

    def test_each_attempt_is_named(self, queue: Queues) -> None:
        queue.event(job("large", "0", cpus=64.0), job("large", "1", attempt=2, cpus=64.0))
        events = queue.event(cancel("large"))
        assert [(e.tasks, e.attempt) for e in events if isinstance(e, JobDequeued)] == [("0", 1), ("1", 2)]

    def test_a_job_it_never_had_or_no_longer_has_is_nothing(self, queue: Queues) -> None:
        assert queue.event(cancel("stranger")) == []
        plan = placed(queue)
        queue.event(released(plan))
        assert queue.event(cancel("job-1")) == []

    def test_many_allocations_are_named_in_several_events(self, queue: Queues) -> None:
        count = IDS_AT_ONCE + 1
        queue.event(*(node(f"m{number}", cpus=1.0) for number in range(count)), NodeRemoved(pool=QUEUE, node_id="n1"))
        queue.event(job("array", f"0-{count - 1}"))
        stops = [event for event in queue.event(cancel("array")) if isinstance(event, JobUnscheduled)]
        assert [len(stop.allocations) for stop in stops] == [IDS_AT_ONCE, 1]
        assert [stop.tasks for stop in stops] == [f"0-{IDS_AT_ONCE - 1}", str(IDS_AT_ONCE)]


class TestTwice:
    """The runtime may hand over again an input that led to no event."""

    def test_an_answer(self, queue: Queues) -> None:
        plan = placed(queue, tasks="0-3")
        assert queue.event(bound(plan), bound(plan)) == []
        assert queue.event(released(plan, tasks="0"), released(plan, tasks="0")) == []
        assert queue.state.cluster.nodes["n1"].free[0] == 10**9
        assert queue.event(released(plan), released(plan)) == []
        assert queue.state.cluster.holds == {}

    def test_a_rejection(self, queue: Queues) -> None:
        plan = placed(queue)
        assert said(queue.event(rejection(plan), rejection(plan))) == ["JobEnqueued"]

    def test_a_cancel(self, queue: Queues) -> None:
        placed(queue, tasks="0-9")
        assert said(queue.event(cancel("job-1"), cancel("job-1"))) == ["JobDequeued", "JobUnscheduled"]


class TestNodes:
    @pytest.mark.parametrize(
        "away",
        [
            NodeCordoned(pool=QUEUE, node_id="n1"),
            NodeDraining(pool=QUEUE, node_id="n1"),
            NodeDrained(pool=QUEUE, node_id="n1"),
            NodeLost(pool=QUEUE, node_id="n1", silent_seconds=15.0),
        ],
        ids=lambda event: type(event).__name__,
    )
    @pytest.mark.parametrize(
        "back",
        [
            NodeUncordoned(pool=QUEUE, node_id="n1"),
            NodeRecovered(pool=QUEUE, node_id="n1", agent_id="agent-1"),
            node(),
        ],
        ids=lambda event: type(event).__name__,
    )
    def test_nothing_goes_to_a_node_that_is_held_until_it_is_back(
        self, queue: Queues, away: Event, back: Event
    ) -> None:
        queue.event(away)
        assert places(queue.event(job("job-1"))) == []
        assert places(queue.event(back)) == [("job-1", "0", "n1")]

    def test_a_removed_node_is_forgotten(self, queue: Queues) -> None:
        queue.event(NodeRemoved(pool=QUEUE, node_id="n1"))
        assert places(queue.event(job("job-1"))) == []
        assert places(queue.event(node())) == [("job-1", "0", "n1")]

    def test_a_lost_nodes_tasks_are_run_elsewhere_by_what_jobs_says(self, queue: Queues) -> None:
        plan = placed(queue)
        queue.event(bound(plan), NodeLost(pool=QUEUE, node_id="n1", silent_seconds=15.0))
        assert queue.event(released(plan, reason=ReleaseReason.NODE_LOST)) == []
        queue.event(node("n2"))
        assert places(queue.event(job("job-1", attempt=2))) == [("job-1", "0", "n2")]

    def test_a_restarted_agents_node_still_has_what_it_holds(self, queue: Queues) -> None:
        placed(queue, tasks="0-2")
        queue.event(node())
        assert places(queue.event(job("job-2", "0-1"))) == [("job-2", "0", "n1")]

    def test_a_node_that_shrank_takes_nothing_until_enough_is_gone(self, queue: Queues) -> None:
        plan = placed(queue, tasks="0-3")
        queue.event(node(cpus=2.0), job("job-2"))
        assert queue.event(released(plan, tasks="0-1")) == []
        assert places(queue.event(released(plan, tasks="2"))) == [("job-2", "0", "n1")]

    @pytest.mark.parametrize("early", [released, rejection])
    def test_an_answer_for_a_node_that_is_gone_still_counts(
        self, queue: Queues, early: Callable[[JobScheduled], Event]
    ) -> None:
        plan = placed(queue)
        queue.event(NodeRemoved(pool=QUEUE, node_id="n1"))
        queue.event(early(plan))
        assert queue.state.cluster.holds == {}
        assert queue.state.cluster.homeless == {}
