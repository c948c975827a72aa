"""The scheduling service beside the real jobs and resources writers: queues, what waits and why, placements, as of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from events.language.base import Command
from events.language.jobs import CancelJob, SubmitJob
from events.language.jobs.spec import JobArray, JobMetadata, JobPriority, JobResources, JobScheduling, JobSpec
from events.language.scheduling import ConfigureQueue, QueueStatus
from events.log import topics
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings
from events.process.tasks import end_all
from events.projections.rebuild import diff
from events.queries.callers import service_channel, services_key
from events.service import run
from events.writer.writer import Writer
from forgelog_pb.jobs.v1 import types_pb2 as job_types
from forgelog_pb.scheduling.v1 import queries_pb2 as pb
from forgelog_pb.scheduling.v1 import types_pb2 as types
from forgelog_pb.scheduling.v1.queries_pb2_grpc import SchedulingQueriesStub
from services.jobs.decide import Jobs
from services.resources.decide import Resources
from services.scheduling.projections import PROJECTION
from services.scheduling.service import SERVICE
from tests import PATIENCE
from tests.unit.resources.pools import ended, register


class Platform:
    """What a test talks to."""

    def __init__(self, publisher: Publisher, outcomes: Outcomes, port: int, key: str) -> None:
        self.publisher = publisher
        self.outcomes = outcomes
        self.channel = service_channel(f"127.0.0.1:{port}", key)
        self.ask: Any = SchedulingQueriesStub(self.channel)
        self._number = 0

    async def command(self, command: Command) -> str:
        """Publish; the position of its outcome."""
        self._number += 1
        id = f"c{self._number}"
        future = self.outcomes.expect(id)
        await self.publisher.publish(command, id=id)
        outcome = await asyncio.wait_for(future, PATIENCE)
        assert outcome.rejected is None, outcome.rejected
        return str(outcome.position)

    async def submit(
        self,
        job_id: str,
        tasks: int = 1,
        *,
        priority: JobPriority = JobPriority.NORMAL,
        selector: Mapping[str, str] | None = None,
        max_parallel: int | None = None,
        **resources: Any,
    ) -> None:
        spec = JobSpec(
            metadata=JobMetadata(name=job_id),
            command="true",
            priority=priority,
            array=JobArray(size=tasks, max_parallel=max_parallel),
            resources=JobResources(**resources),
            scheduling=JobScheduling(node_selector=dict(selector or {})),
        )
        await self.command(SubmitJob(job_id=job_id, spec=spec))

    async def until(self, method: str, request: Any, holds: Callable[[Any], bool]) -> Any:
        """The answer, once it is as wanted."""
        answer: Any = None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        answer = await getattr(self.ask, method)(request)
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.NOT_FOUND:
                            raise
                        answer = error.details()  # what was decided is not in the tables yet
                    else:
                        if holds(answer):
                            return answer
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{method} still says {answer}") from None

    async def explained(self, job_id: str, message: str) -> Any:
        request = pb.ExplainJobRequest(job_id=job_id)
        return await self.until("ExplainJob", request, lambda answer: message in answer.message)

    async def placed(self, job_id: str, status: str, number: int = 1) -> list[Any]:
        request = pb.ListPlacementsRequest(job_id=job_id)
        answer = await self.until(
            "ListPlacements",
            request,
            lambda answer: [placement.status for placement in answer.placements].count(status) == number,
        )
        return list(answer.placements)


@pytest.fixture
async def platform(settings: Settings) -> AsyncIterator[Platform]:
    async with running(settings) as platform:
        yield platform


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Platform]:
    await topics.ensure_topics(settings)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tasks = [
        asyncio.create_task(run([SERVICE], settings, started=port.set_result)),
        asyncio.create_task(Writer(Jobs(), settings).run()),
        asyncio.create_task(Writer(Resources(60.0), settings).run()),
    ]
    try:
        async with Publisher(settings) as publisher, Outcomes(settings) as outcomes:
            platform = Platform(publisher, outcomes, await asyncio.wait_for(port, PATIENCE), services_key(settings))
            yield platform
            await platform.channel.close()
    finally:
        await end_all(tasks)


async def test_from_the_queue_to_a_node_and_why_not(platform: Platform) -> None:
    await platform.submit("early")
    empty = await platform.explained("early", "the pool has no nodes")
    assert [(entry.job_id, entry.tasks, entry.attempt, entry.position) for entry in empty.entries] == [
        ("early", "0", 1, 1)
    ]
    await platform.command(register("n1", labels={"zone": "a"}))
    (placement,) = await platform.placed("early", "bound")
    assert (placement.node_id, placement.tasks, placement.queue) == ("n1", "0", "default")
    assert placement.waited_seconds > 0
    answer = await platform.explained("early", "nothing of it waits")
    assert answer.message == "nothing of it waits; its last placement, on node n1, is bound"
    assert [placed.allocation_id for placed in answer.placements] == [placement.allocation_id]

    await platform.submit("large", cpus=64.0)
    await platform.submit("elsewhere", selector={"zone": "b"})
    large = await platform.explained("large", "too small")
    (reason,) = large.entries[0].reasons
    assert (reason.reason, reason.detail, reason.nodes) == ("too small: cpus", "needs 64, the node has 4", 1)
    assert large.entries[0].resources.cpus == 64.0
    await platform.explained("elsewhere", "1 label zone is not b")

    await platform.command(CancelJob(job_id="large"))
    await platform.explained("large", "nothing of it has come to a queue")
    await platform.command(ended((placement.allocation_id, "0")))
    await platform.placed("early", "released")


async def test_a_queue_is_listed_in_its_order_and_by_pages(platform: Platform) -> None:
    priorities = [JobPriority.LOW, JobPriority.CRITICAL, JobPriority.NORMAL, JobPriority.NORMAL, JobPriority.SCAVENGER]
    for number, priority in enumerate(priorities):
        await platform.submit(f"job-{number}", number + 1, priority=priority)
    await platform.until(
        "GetQueue", pb.GetQueueRequest(queue="default"), lambda answer: answer.queue.waiting_jobs == len(priorities)
    )
    seen: list[tuple[str, int, int]] = []
    cursor = ""
    while True:
        request = pb.ListEntriesRequest(queue="default", page={"limit": 2, "cursor": cursor})
        answer = await platform.ask.ListEntries(request)
        seen += [(entry.job_id, entry.position, entry.task_count) for entry in answer.entries]
        cursor = answer.next_cursor
        if not cursor:
            break
    assert seen == [("job-1", 1, 2), ("job-2", 2, 3), ("job-3", 3, 4), ("job-0", 4, 1), ("job-4", 5, 5)]
    one = await platform.ask.ListEntries(pb.ListEntriesRequest(job_id="job-3"))
    assert [(entry.position, entry.priority) for entry in one.entries] == [(3, job_types.JOB_PRIORITY_NORMAL)]

    await platform.command(ConfigureQueue(queue="default", policy="fifo", status=QueueStatus.PAUSED))
    (queue,) = (
        await platform.until(
            "ListQueues",
            pb.ListQueuesRequest(),
            lambda answer: answer.queues[0].status == types.QUEUE_STATUS_PAUSED,
        )
    ).queues
    assert (queue.queue, queue.policy, queue.waiting_tasks) == ("default", types.SCHEDULING_POLICY_FIFO, 15)
    by_age = await platform.ask.ListEntries(pb.ListEntriesRequest(queue="default"))
    assert [entry.job_id for entry in by_age.entries] == [f"job-{number}" for number in range(5)]
    await platform.explained("job-0", "queue paused")


async def test_pages_of_a_queue_have_each_job_once_while_others_leave_and_come(platform: Platform) -> None:
    for number in range(6):
        await platform.submit(f"job-{number}")
    waiting = lambda count: lambda answer: answer.queue.waiting_jobs == count  # noqa: E731
    await platform.until("GetQueue", pb.GetQueueRequest(queue="default"), waiting(6))
    request = pb.ListEntriesRequest(queue="default", page={"limit": 2})
    answer = await platform.ask.ListEntries(request)
    assert [entry.job_id for entry in answer.entries] == ["job-0", "job-1"]

    for gone in ("job-0", "job-1"):  # also the one that the cursor was made of
        await platform.command(CancelJob(job_id=gone))
    await platform.until("GetQueue", pb.GetQueueRequest(queue="default"), waiting(4))
    request.page.cursor = answer.next_cursor
    answer = await platform.ask.ListEntries(request)
    assert [(entry.job_id, entry.position) for entry in answer.entries] == [("job-2", 1), ("job-3", 2)]

    await platform.submit("urgent", priority=JobPriority.URGENT)
    await platform.until("GetQueue", pb.GetQueueRequest(queue="default"), waiting(5))
    request.page.cursor = answer.next_cursor
    answer = await platform.ask.ListEntries(request)
    assert [(entry.job_id, entry.position) for entry in answer.entries] == [("job-4", 4), ("job-5", 5)]
    assert answer.next_cursor == ""


async def test_placements_are_listed_and_limits_kept(platform: Platform) -> None:
    for number in range(3):
        await platform.command(register(f"n{number}", capacity={"cpus": 1.0}))
    await platform.submit("array", 5, max_parallel=2)
    placed = await platform.placed("array", "bound", 2)
    assert {placement.tasks for placement in placed} == {"0", "1"}
    await platform.explained("array", "max_parallel reached (2 of at most 2 tasks run)")
    first = await platform.ask.ListPlacements(pb.ListPlacementsRequest(queue="default", page={"limit": 1}))
    rest = await platform.ask.ListPlacements(
        pb.ListPlacementsRequest(queue="default", page={"limit": 1, "cursor": first.next_cursor})
    )
    assert [p.allocation_id for p in [*first.placements, *rest.placements]] == [p.allocation_id for p in placed]
    assert rest.next_cursor == ""
    node = placed[0].node_id
    (there,) = (await platform.ask.ListPlacements(pb.ListPlacementsRequest(node_id=node))).placements
    assert there.allocation_id == placed[0].allocation_id
    await platform.command(ended((there.allocation_id, there.tasks), node_id=node))
    queue = await platform.until(
        "GetQueue", pb.GetQueueRequest(queue="default"), lambda answer: answer.queue.waiting_tasks == 2
    )
    assert queue.queue.placed_tasks == 2


async def test_the_queue_of_an_earlier_time(platform: Platform, settings: Settings) -> None:
    await platform.command(register("n1", capacity={"cpus": 1.0}))
    await platform.submit("first")
    await platform.placed("first", "bound")
    await platform.submit("second")
    await platform.explained("second", "1 insufficient cpus")
    then = {"as_of": datetime.now(UTC)}
    (bound,) = await platform.placed("first", "bound")
    await platform.command(ended((bound.allocation_id, "0")))
    await platform.placed("second", "bound")
    assert list((await platform.ask.ListEntries(pb.ListEntriesRequest(queue="default"))).entries) == []

    entries = (await platform.ask.ListEntries(pb.ListEntriesRequest(queue="default", options=then))).entries
    assert [(entry.job_id, entry.position) for entry in entries] == [("second", 1)]
    why = await platform.ask.ExplainJob(pb.ExplainJobRequest(job_id="second", options=then))
    assert "1 insufficient cpus" in why.message
    queue = (await platform.ask.GetQueue(pb.GetQueueRequest(queue="default", options=then))).queue
    assert (queue.waiting_jobs, queue.placed_tasks) == (1, 1)
    placed = await platform.ask.ListPlacements(pb.ListPlacementsRequest(options=then))
    assert [(placement.job_id, placement.status) for placement in placed.placements] == [("first", "bound")]
    long_ago = {"as_of": datetime(2020, 1, 1)}
    queue = (await platform.ask.GetQueue(pb.GetQueueRequest(queue="default", options=long_ago))).queue
    assert (queue.waiting_jobs, queue.placed_tasks) == (0, 0), "the queue `default` has always been there"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await platform.ask.GetQueue(pb.GetQueueRequest(queue="vision", options=long_ago))
    assert "there is no queue 'vision' as of 2020-01-01" in str(caught.value.details())
    assert (await diff(settings, PROJECTION)).equal


@pytest.mark.parametrize(
    ("method", "message", "problem"),
    [
        ("GetQueue", pb.GetQueueRequest(queue="nope"), "there is no queue 'nope'"),
        ("ListEntries", pb.ListEntriesRequest(page={"cursor": "e30="}), "page.cursor: is not one that this list"),
        ("ListPlacements", pb.ListPlacementsRequest(page={"cursor": "e30="}), "page.cursor: is not one that this list"),
        ("ListPlacements", pb.ListPlacementsRequest(page={"limit": -1}), "page.limit: is -1"),
    ],
)
async def test_questions_that_have_no_answer(platform: Platform, method: str, message: Any, problem: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(platform.ask, method)(message)
    assert problem in str(caught.value.details())


async def test_a_restarted_service_knows_what_waits_and_what_is_held(settings: Settings) -> None:
    async with running(settings) as platform:
        await platform.command(register("n1", capacity={"cpus": 2.0}))
        await platform.submit("first", cpus=1.5)
        (held,) = await platform.placed("first", "bound")
        await platform.submit("second", cpus=1.5)
        await platform.explained("second", "1 insufficient cpus")
    async with running(settings) as platform:
        await platform.submit("third", cpus=0.5)
        await platform.placed("third", "bound")
        entries = (await platform.ask.ListEntries(pb.ListEntriesRequest(queue="default"))).entries
        assert [entry.job_id for entry in entries] == ["second"]
        await platform.command(ended((held.allocation_id, "0")))
        await platform.placed("second", "bound")
