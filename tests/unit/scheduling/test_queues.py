"""Given a queue, when it is made, deleted, changed or sent a job, then this is what it says."""

from __future__ import annotations

import pytest

from events.language.base import Command
from events.language.common import ErrorCode, Refused
from events.language.resources import NodeRemoved
from events.language.scheduling import (
    ConfigureQueue,
    CreateQueue,
    DeleteQueue,
    JobDequeued,
    QueueCreated,
    QueueDeleted,
    QueueStatus,
    SchedulingPolicy,
)
from tests.unit.scheduling.queues import Queues, bound, cancel, job, node, plans, released, said

QUEUE = "vision"


def a_queue(name: str = QUEUE) -> Queues:
    queue = Queues()
    queue.state = queue.decider.initial(name)
    return queue


def refusal(queue: Queues, command: Command) -> Refused:
    with pytest.raises(Refused) as caught:
        queue.command(command)
    return caught.value


def make(queue: Queues) -> None:
    queue.command(CreateQueue(queue=QUEUE))


def test_a_queue_is_made_once_with_its_policy() -> None:
    queue = a_queue()
    made = queue.command(CreateQueue(queue=QUEUE, policy=SchedulingPolicy.FIFO))
    assert made == [QueueCreated(queue=QUEUE, policy=SchedulingPolicy.FIFO)]
    assert queue.state.exists
    assert queue.state.backlog.policy is SchedulingPolicy.FIFO
    refused = refusal(queue, CreateQueue(queue=QUEUE))
    assert (refused.code, refused.errors[0].field) == (ErrorCode.ALREADY_EXISTS, "queue")


def test_the_default_queue_is_always_there() -> None:
    queue = a_queue("default")
    assert said(queue.event(job("job-1"))) == ["JobEnqueued"]
    assert refusal(queue, CreateQueue(queue="default")).code is ErrorCode.ALREADY_EXISTS
    refused = refusal(queue, DeleteQueue(queue="default"))
    assert (refused.code, refused.message) == (ErrorCode.FAILED_PRECONDITION, "queue default is always there")


def test_a_job_of_a_queue_that_does_not_exist_is_sent_back_with_what_to_do() -> None:
    (sent_back,) = a_queue().event(job("job-1", "0-3", queue=QUEUE))
    assert isinstance(sent_back, JobDequeued)
    assert (sent_back.job_id, sent_back.tasks) == ("job-1", "0-3")
    assert sent_back.reason == (
        "there is no queue vision; 'forgelog queue' lists those there are, 'forgelog queue create vision' makes it"
    )


@pytest.mark.parametrize("command", [ConfigureQueue(queue=QUEUE, status=QueueStatus.PAUSED), DeleteQueue(queue=QUEUE)])
def test_what_does_not_exist_is_neither_changed_nor_deleted(command: Command) -> None:
    refused = refusal(a_queue(), command)
    assert (refused.code, refused.errors[0].field) == (ErrorCode.NOT_FOUND, "queue")


def test_nodes_of_a_pool_are_a_queue_while_there_are_any() -> None:
    queue = a_queue()
    joined = node().model_copy(update={"pool": QUEUE})
    queue.event(joined)
    assert queue.state.exists
    refused = refusal(queue, DeleteQueue(queue=QUEUE))
    assert refused.message == "queue vision has nodes (n1); remove them, or end their agents, first"
    queue.event(NodeRemoved(pool=QUEUE, node_id="n1"))
    assert not queue.state.exists


def test_a_queue_with_jobs_is_not_deleted() -> None:
    queue = a_queue()
    make(queue)
    queue.event(job("job-1", "0-2", queue=QUEUE))
    refused = refusal(queue, DeleteQueue(queue=QUEUE))
    assert refused.code is ErrorCode.FAILED_PRECONDITION
    assert refused.message == "queue vision has 1 job (job-1); let it end, or cancel it, first"
    queue.event(cancel("job-1").model_copy(update={"queue": QUEUE}))
    assert queue.command(DeleteQueue(queue=QUEUE)) == [QueueDeleted(queue=QUEUE)]
    assert not queue.state.exists


def test_a_queue_whose_jobs_run_is_not_deleted() -> None:
    queue = a_queue()
    make(queue)
    queue.event(node())
    (plan,) = plans(queue.event(job("job-1", queue=QUEUE)))
    queue.event(bound(plan))
    queue.event(NodeRemoved(pool=QUEUE, node_id="n1"))
    assert "1 job" in refusal(queue, DeleteQueue(queue=QUEUE)).message
    queue.event(released(plan))
    queue.command(DeleteQueue(queue=QUEUE))


def test_a_queue_that_is_made_again_is_as_new() -> None:
    queue = a_queue()
    queue.command(CreateQueue(queue=QUEUE, policy=SchedulingPolicy.FIFO))
    queue.command(ConfigureQueue(queue=QUEUE, status=QueueStatus.PAUSED))
    queue.command(DeleteQueue(queue=QUEUE))
    make(queue)
    assert (queue.state.status, queue.state.backlog.policy) == (QueueStatus.ACTIVE, SchedulingPolicy.PRIORITY)


def test_a_queue_of_before_queues_were_made_is_there() -> None:
    """Its history begins with a job or a change."""
    queue = a_queue()
    state = queue.decider.initial(QUEUE)
    (enqueued,) = Queues().event(job("job-1"))
    assert queue.decider.evolve(state, enqueued, queue.now).exists


def test_a_snapshot_keeps_it() -> None:
    queue = a_queue()
    make(queue)
    assert queue.decider.load(QUEUE, queue.decider.dump(queue.state)).exists
    assert not queue.decider.load("other", queue.decider.dump(queue.decider.initial("other"))).exists
