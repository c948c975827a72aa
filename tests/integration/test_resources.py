"""The resources service on a real broker and database: its commands, its reaction to scheduling, its queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import grpc
import pytest

from events.language.base import Command, Event
from events.language.resources import CordonNode, LabelNode
from events.language.scheduling import ConfigureQueue, JobEnqueued, JobScheduled
from events.log import topics
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings
from events.process.tasks import end_all
from events.queries.callers import service_channel, services_key
from events.service import run
from events.writer.decider import Decider, DecisionContext
from events.writer.writer import Writer
from forgelog_pb.resources.v1 import queries_pb2 as pb
from forgelog_pb.resources.v1 import types_pb2 as types
from forgelog_pb.resources.v1.queries_pb2_grpc import ResourceQueriesStub
from services.resources.decide import Resources
from services.resources.service import SERVICE
from tests import PATIENCE
from tests.unit.resources.pools import GIB, POOL, ended, gpu, heartbeat, placement, register, scheduled


class Planner(Decider[None]):
    """Stands in for scheduling: any command to a queue makes the next prepared plan a fact."""

    context: ClassVar[str] = "scheduling"
    aggregate: ClassVar[str] = "queue"
    commands: ClassVar[tuple[type[Command], ...]] = (ConfigureQueue,)
    events: ClassVar[tuple[type[Event], ...]] = (JobEnqueued, JobScheduled)

    def __init__(self) -> None:
        self.plans: list[Event] = []

    def initial(self, key: str) -> None:
        return None

    def evolve(self, state: None, event: Event, time: datetime) -> None:
        return None

    def holds(self, state: None, aggregate: str, id: str) -> bool:
        return False

    def decide(self, state: None, command: Command, context: DecisionContext) -> Sequence[Event]:
        return [self.plans.pop(0)]


class Platform:
    """What a test talks to."""

    def __init__(self, publisher: Publisher, outcomes: Outcomes, planner: Planner, port: int, key: str) -> None:
        self.publisher = publisher
        self.outcomes = outcomes
        self.planner = planner
        self.channel = service_channel(f"127.0.0.1:{port}", key)
        self.ask: Any = ResourceQueriesStub(self.channel)
        self._number = 0

    async def command(self, command: Command) -> str:
        """Publish; the position of its outcome."""
        self._number += 1
        future = self.outcomes.expect(f"c{self._number}")
        await self.publisher.publish(command, id=f"c{self._number}")
        outcome = await asyncio.wait_for(future, PATIENCE)
        assert outcome.rejected is None, outcome.rejected
        return str(outcome.position)

    async def plan(self, plan: JobScheduled) -> None:
        self.planner.plans.append(plan)
        await self.command(ConfigureQueue(queue=POOL))

    async def allocation(self, id: str, status: int) -> Any:
        """The allocation, once it has this status."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    found = await self.ask.GetAllocation(pb.GetAllocationRequest(allocation_id=id))
                    if found.allocation.status == status:
                        return found.allocation
                await asyncio.sleep(0.02)


@pytest.fixture
async def platform(settings: Settings) -> AsyncIterator[Platform]:
    async with running(settings, lost_after=60.0) as platform:
        yield platform


@asynccontextmanager
async def running(settings: Settings, lost_after: float) -> AsyncIterator[Platform]:
    await topics.ensure_topics(settings)
    planner = Planner()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    service = run([replace(SERVICE, deciders=lambda: Resources(lost_after))], settings, started=port.set_result)
    tasks = [asyncio.create_task(service), asyncio.create_task(Writer(planner, settings).run())]
    try:
        async with Publisher(settings) as publisher, Outcomes(settings) as outcomes:
            platform = Platform(publisher, outcomes, planner, await asyncio.wait_for(port, 20), services_key(settings))
            yield platform
            await platform.channel.close()
    finally:
        await end_all(tasks)


async def test_from_a_plan_to_an_allocation_and_back(platform: Platform) -> None:
    await platform.command(register(gpus=[gpu(0), gpu(1)], labels={"zone": "a"}))
    await platform.plan(scheduled(placement("a1", tasks="0-1"), placement("a2", "n9", tasks="2"), gpus=1, cpus=0.5))
    bound = await platform.allocation("a1", types.ALLOCATION_STATUS_BOUND)
    assert (bound.job_id, bound.tasks, bound.rest, bound.resources.gpus) == ("job-1", "0-1", "0-1", 1)
    rejected = await platform.allocation("a2", types.ALLOCATION_STATUS_REJECTED)
    assert rejected.reason == "node n9 is not in pool default"
    assert not rejected.HasField("resources")

    answer = await platform.ask.GetNode(pb.GetNodeRequest(node_id="n1"))
    assert answer.node.status == types.NODE_STATUS_READY
    assert (answer.node.allocated.cpus, answer.node.free.cpus, answer.node.free.gpus) == (1.0, 3.0, 0)
    assert [(device.gpu.index, device.allocation_id, device.task) for device in answer.gpus] == [
        (0, "a1", 0),
        (1, "a1", 1),
    ]
    assert [allocation.allocation_id for allocation in answer.allocations] == ["a1"]
    assert answer.spec.hostname == "n1"

    position = await platform.command(ended(("a1", "0-1")))
    options = {"at_least": [position]}
    released = await platform.ask.GetAllocation(pb.GetAllocationRequest(allocation_id="a1", options=options))
    assert released.allocation.status == types.ALLOCATION_STATUS_RELEASED
    earlier = {"as_of": bound.created_at}
    then = await platform.ask.GetAllocation(pb.GetAllocationRequest(allocation_id="a1", options=earlier))
    assert then.allocation.status == types.ALLOCATION_STATUS_BOUND
    node_then = await platform.ask.GetNode(pb.GetNodeRequest(node_id="n1", options=earlier))
    assert node_then.node.running_tasks == 2


async def test_lists_are_filtered_and_paged(platform: Platform) -> None:
    for number in range(5):
        position = await platform.command(register(f"n{number}", labels={"zone": "ab"[number % 2]}))
    position = await platform.command(CordonNode(pool=POOL, node_id="n0"))
    options = {"at_least": [position]}
    seen: list[str] = []
    cursor = ""
    while True:
        request = pb.ListNodesRequest(options=options, page={"limit": 2, "cursor": cursor}, pool=POOL)
        answer = await platform.ask.ListNodes(request)
        seen += [node.node_id for node in answer.nodes]
        cursor = answer.next_cursor
        if not cursor:
            break
    assert seen == [f"n{number}" for number in range(5)]
    ready_in_a = await platform.ask.ListNodes(
        pb.ListNodesRequest(statuses=[types.NODE_STATUS_READY], labels={"zone": "a"}, options=options)
    )
    assert [node.node_id for node in ready_in_a.nodes] == ["n2", "n4"]

    await platform.plan(scheduled(*(placement(f"a{i}", f"n{i}", str(i)) for i in range(1, 5))))
    await platform.allocation("a4", types.ALLOCATION_STATUS_BOUND)
    first = await platform.ask.ListAllocations(pb.ListAllocationsRequest(job_id="job-1", page={"limit": 3}))
    rest = await platform.ask.ListAllocations(
        pb.ListAllocationsRequest(job_id="job-1", page={"limit": 3, "cursor": first.next_cursor})
    )
    assert sorted(a.allocation_id for a in [*first.allocations, *rest.allocations]) == ["a1", "a2", "a3", "a4"]
    assert rest.next_cursor == ""
    summary = (await platform.ask.GetPoolSummary(pb.GetPoolSummaryRequest(pool=POOL))).summary
    assert (summary.nodes, summary.running_tasks, summary.total.cpus, summary.allocated.cpus) == (5, 4, 20.0, 4.0)
    assert summary.free.memory_bytes == 4 * (8 * GIB - (256 << 20))
    assert {count.status: count.nodes for count in summary.by_status} == {
        types.NODE_STATUS_READY: 4,
        types.NODE_STATUS_CORDONED: 1,
    }
    pools = await platform.ask.ListPools(pb.ListPoolsRequest())
    assert [pool.pool for pool in pools.pools] == [POOL]


@pytest.mark.parametrize(
    ("method", "message", "problem"),
    [
        ("GetNode", pb.GetNodeRequest(node_id="n9"), "there is no node 'n9'"),
        ("GetAllocation", pb.GetAllocationRequest(allocation_id="a9"), "there is no allocation 'a9'"),
        ("GetPoolSummary", pb.GetPoolSummaryRequest(pool="nope"), "there is no pool 'nope'"),
        ("ListNodes", pb.ListNodesRequest(page={"cursor": "e30="}), "page.cursor: is not one that this list returned"),
        ("ListAllocations", pb.ListAllocationsRequest(page={"limit": -1}), "page.limit: is -1"),
        ("ListNodes", pb.ListNodesRequest(statuses=[99]), "99 is no NodeStatus"),
    ],
)
async def test_questions_that_have_no_answer(platform: Platform, method: str, message: Any, problem: str) -> None:
    await platform.command(register())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(platform.ask, method)(message)
    assert problem in str(caught.value.details())


async def test_a_silent_node_is_lost_and_comes_back(settings: Settings) -> None:
    async with running(settings, lost_after=1.0) as platform:
        await platform.command(register())
        await platform.plan(scheduled(placement("a1")))
        await platform.allocation("a1", types.ALLOCATION_STATUS_LOST)
        node = (await platform.ask.GetNode(pb.GetNodeRequest(node_id="n1"))).node
        assert node.status == types.NODE_STATUS_LOST
        assert node.HasField("lost_at")
        position = await platform.command(heartbeat())
        request = pb.GetNodeRequest(node_id="n1", options={"at_least": [position]})
        assert (await platform.ask.GetNode(request)).node.status == types.NODE_STATUS_READY


async def test_a_restarted_service_knows_its_pool(settings: Settings) -> None:
    async with running(settings, lost_after=60.0) as platform:
        await platform.command(register())
        await platform.command(LabelNode(pool=POOL, node_id="n1", labels={"zone": "b"}))
        await platform.plan(scheduled(placement("a1"), job="first", exclusive=True))
        await platform.allocation("a1", types.ALLOCATION_STATUS_BOUND)
    async with running(settings, lost_after=60.0) as platform:
        await platform.plan(scheduled(placement("a2"), job="second"))
        rejected = await platform.allocation("a2", types.ALLOCATION_STATUS_REJECTED)
        assert rejected.reason == "node n1 is held by job first for itself"
