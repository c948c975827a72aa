"""Given more work than room, when room comes, then the queue's order says who is first; it holds nobody up in vain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from events.language.common import ErrorCode, Refused
from events.language.jobs.spec import JobPriority
from events.language.scheduling import (
    ConfigureQueue,
    JobDequeued,
    JobEnqueued,
    QueueConfigured,
    QueueStatus,
    SchedulingPolicy,
)
from services.scheduling import decide
from services.scheduling.engine.plan import MOST_PLACEMENTS
from tests.unit.scheduling.queues import (
    GIB,
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


def configure(*, policy: SchedulingPolicy | None = None, status: QueueStatus | None = None) -> ConfigureQueue:
    return ConfigureQueue(queue=QUEUE, policy=policy, status=status)


def refused(action: Callable[[], object]) -> ErrorCode:
    with pytest.raises(Refused) as caught:
        action()
    return caught.value.code


@pytest.fixture
def queue() -> Queues:
    return Queues()


def served(queue: Queues, room: int = 100) -> list[str]:
    """Jobs in the order in which they are placed when nodes of one CPU come one by one."""
    order: list[str] = []
    for number in range(room):
        if not queue.waiting:
            break
        order += [place[0] for place in places(queue.event(node(f"late-{number}", cpus=1.0)))]
    return order


class TestPriority:
    def test_seven_priorities_come_in_order(self, queue: Queues) -> None:
        for number, priority in enumerate(sorted(JobPriority)):
            queue.event(job(priority.value.replace("_", "-"), priority=priority, age=number))
        order = ["critical", "urgent", "high", "normal", "low", "best-effort", "scavenger"]
        assert served(queue) == order

    def test_within_a_priority_it_is_first_come_first_served(self, queue: Queues) -> None:
        for id, age in (("second", 2.0), ("third", 1.0), ("first", 3.0)):
            queue.event(job(id, age=age))
        assert served(queue) == ["first", "second", "third"]

    def test_one_plan_serves_many_shapes_in_order(self, queue: Queues) -> None:
        for number in range(6):
            queue.event(job(f"job-{number}", age=-number, memory_bytes=(1 + number % 3) * GIB))
        queue.event(job("late-but-urgent", priority=JobPriority.URGENT, age=-9, memory_bytes=2 * GIB))
        order = [place[0] for place in places(queue.event(node("big", cpus=5.0, capacity={"memory_bytes": 64 * GIB})))]
        assert order == ["late-but-urgent", "job-0", "job-1", "job-2", "job-3"]

    def test_a_retry_keeps_its_jobs_place(self, queue: Queues) -> None:
        queue.event(job("young", age=1))
        queue.event(job("old", attempt=2, age=9))
        assert served(queue) == ["old", "young"]

    def test_fifo_goes_by_age_alone_from_the_moment_it_is_set(self, queue: Queues) -> None:
        queue.event(job("young", priority=JobPriority.CRITICAL, age=1))
        queue.event(job("old", priority=JobPriority.LOW, age=9))
        assert queue.command(configure(policy=SchedulingPolicy.FIFO)) == [
            QueueConfigured(queue=QUEUE, policy=SchedulingPolicy.FIFO, status=QueueStatus.ACTIVE)
        ]
        assert served(queue) == ["old", "young"]


class TestBestEffort:
    def test_one_that_fits_nowhere_delays_nobody(self, queue: Queues) -> None:
        queue.event(job("huge", cpus=64.0, priority=JobPriority.CRITICAL, age=9))
        assert places(queue.event(node(), job("small"))) == [("small", "0", "n1")]
        assert queue.waiting == {"huge": "0"}

    def test_when_room_for_both_comes_the_passed_over_one_is_first(self, queue: Queues) -> None:
        queue.event(node())
        (plan,) = plans(queue.event(job("runs", cpus=3.0)))
        queue.event(job("large", cpus=3.0, age=9), job("small", "0-1"))
        assert queue.waiting == {"large": "0", "small": "1"}
        assert places(queue.event(released(plan))) == [("large", "0", "n1")]

    def test_what_fits_of_an_array_goes(self, queue: Queues) -> None:
        queue.event(node())
        assert places(queue.event(job("array", "0-9"))) == [("array", "0-3", "n1")]

    def test_a_huge_array_is_placed_in_several_events_of_one_settling(self, queue: Queues) -> None:
        count = MOST_PLACEMENTS + 1
        queue.event(*(node(f"n{number}", cpus=1.0) for number in range(count)))
        events = plans(queue.event(job("array", "0-9999")))
        assert [len(event.placements) for event in events] == [MOST_PLACEMENTS, 1]
        assert len({placed.node_id for event in events for placed in event.placements}) == count

    def test_a_batch_is_bounded_and_the_rest_follows(self, queue: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decide, "BYTES_AT_ONCE", 2_000)
        for number in range(20):
            queue.event(job(f"job-{number}"))
        assert len(places(queue.event(node(cpus=64.0)))) == 20
        assert queue.state.cluster.nodes["n1"].free[0] == 44 * 10**9


class TestLimits:
    def test_max_parallel_bounds_what_is_placed_at_once(self, queue: Queues) -> None:
        queue.event(node(cpus=64.0))
        (plan,) = plans(queue.event(job("array", "0-9", max_parallel=3)))
        assert places([plan]) == [("array", "0-2", "n1")]
        assert queue.waiting == {"array": "3-9"}
        assert queue.event(bound(plan)) == []
        assert places(queue.event(released(plan, tasks="1"))) == [("array", "3", "n1")]

    def test_max_parallel_counts_over_attempts_and_nodes(self, queue: Queues) -> None:
        queue.event(node("n1", cpus=1.0), node("n2", cpus=1.0), node("n3", cpus=1.0))
        first = plans(queue.event(job("array", "0-1", max_parallel=2)))
        assert queue.event(job("array", "2", attempt=2, max_parallel=2)) != []
        assert queue.waiting == {"array": "2"}
        assert len(places(queue.event(released(first[0], 1)))) == 1

    def test_others_pass_one_at_its_max_parallel(self, queue: Queues) -> None:
        queue.event(node())
        queue.event(job("array", "0-9", max_parallel=1, age=9))
        assert places(queue.event(job("other"))) == [("other", "0", "n1")]

    def test_a_retry_waits_for_its_time(self, queue: Queues) -> None:
        queue.event(node())
        later = START + timedelta(seconds=30)
        assert said(queue.event(job("job-1", attempt=2, not_before=later))) == ["JobEnqueued"]
        assert places(queue.after(29.9)) == []
        (plan,) = plans(queue.after(0.1))
        assert (places([plan]), plan.waited_seconds) == ([("job-1", "0", "n1")], 0.0)

    def test_tasks_of_one_attempt_each_wait_for_their_own_time(self, queue: Queues) -> None:
        queue.event(node())
        for task, seconds in (("0", 10), ("1", 20), ("2", 20)):
            queue.event(job("array", task, attempt=2, not_before=START + timedelta(seconds=seconds)))
        assert queue.waiting == {"array": "0-2"}
        assert places(queue.after(19.9)) == [("array", "0", "n1")]
        assert places(queue.after(0.1)) == [("array", "1-2", "n1")]

    def test_a_retry_is_not_hurried_by_a_ready_one_of_its_attempt(self, queue: Queues) -> None:
        queue.event(job("array", "0", attempt=2))
        queue.event(job("array", "1", attempt=2, not_before=START + timedelta(seconds=10)))
        assert places(queue.event(node())) == [("array", "0", "n1")]
        assert places(queue.after(10)) == [("array", "1", "n1")]

    def test_a_rejected_task_does_not_wait_for_anothers_time(self, queue: Queues) -> None:
        queue.event(node())
        (plan,) = plans(queue.event(job("array", "0", attempt=2)))
        queue.event(job("array", "1", attempt=2, not_before=START + timedelta(seconds=10)))
        queue.event(rejection(plan))
        assert places(queue.event(node("n2"))) == [("array", "0", "n2")]

    def test_a_retry_of_a_job_at_its_limit_sleeps_on(self, queue: Queues) -> None:
        queue.event(node())
        (plan,) = plans(queue.event(job("array", "0", max_parallel=1)))
        later = START + timedelta(seconds=10)
        queue.event(job("array", "1-2", attempt=2, not_before=later, max_parallel=1), cancel("array", "2"))
        assert places(queue.event(released(plan))) == []
        assert places(queue.after(10)) == [("array", "1", "n1")]

    def test_a_time_that_has_passed_delays_nothing(self, queue: Queues) -> None:
        queue.event(node())
        assert len(places(queue.event(job("job-1", attempt=2, not_before=START)))) == 1


class TestStatus:
    def test_a_paused_queue_takes_jobs_and_starts_none(self, queue: Queues) -> None:
        queue.event(node())
        queue.command(configure(status=QueueStatus.PAUSED))
        assert said(queue.event(job("job-1"))) == ["JobEnqueued"]
        assert said(queue.command(configure(status=QueueStatus.ACTIVE))) == ["QueueConfigured", "JobScheduled"]

    def test_a_draining_queue_starts_what_it_has_and_takes_retries_only(self, queue: Queues) -> None:
        queue.event(job("old"))
        queue.command(configure(status=QueueStatus.DRAINING))
        assert queue.event(job("new")) == [
            JobDequeued(
                queue=QUEUE,
                job_id="new",
                tasks="0",
                attempt=1,
                reason="queue default is draining and takes no new jobs",
            )
        ]
        assert said(queue.event(job("older", attempt=2))) == ["JobEnqueued"]
        assert {place[0] for place in places(queue.event(node()))} == {"old", "older"}

    def test_a_closed_queue_takes_nothing(self, queue: Queues) -> None:
        queue.command(configure(status=QueueStatus.CLOSED))
        assert said(queue.event(job("job-1", attempt=2))) == ["JobDequeued"]
        assert queue.event(node()) == []

    def test_a_change_that_changes_nothing_is_no_event(self, queue: Queues) -> None:
        assert queue.command(configure(policy=SchedulingPolicy.PRIORITY, status=QueueStatus.ACTIVE)) == []
        assert queue.command(configure()) == []

    def test_a_move_that_is_not_allowed_is_refused(self, queue: Queues) -> None:
        queue.command(configure(status=QueueStatus.CLOSED))
        move = configure(status=QueueStatus.DRAINING)
        assert refused(lambda: queue.command(move)) is ErrorCode.FAILED_PRECONDITION


def test_tasks_of_one_attempt_that_come_in_parts_are_one_entry(queue: Queues) -> None:
    queue.event(job("array", "0-1"))
    (event,) = queue.event(job("array", "5"))
    assert isinstance(event, JobEnqueued)
    assert event.entry.tasks == "5"
    assert queue.waiting == {"array": "0-1,5"}
    assert places(queue.event(node())) == [("array", "0-1,5", "n1")]
