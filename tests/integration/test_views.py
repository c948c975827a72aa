"""A view folded beside the history it belongs to (`events.writer.observing`), on a real log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from events.language.base import Event
from events.language.common import DEFAULT_PROJECT, PLATFORM_ACTOR
from events.language.resources import AllocationBound, AllocationRejected
from events.language.scheduling import JobDeferred, JobEnqueued, JobScheduled, Placement
from events.log import topics
from events.log.batch import Batch
from events.log.envelope import Recorded
from events.log.outcomes import Outcomes
from events.log.partitioner import partition_of
from events.log.producer import new_producer
from events.log.publish import Publisher
from events.log.tail import Tail
from events.process.settings import Settings
from events.process.tasks import end_all
from events.writer import recovery
from events.writer.deciders import Deciders
from events.writer.encoding import Origin
from events.writer.partition import Partition
from events.writer.writer import Writer
from services.jobs.decide import Jobs
from services.resources.decide import Resources
from services.scheduling.decide import Scheduling
from services.scheduling.state import Queue
from tests import PATIENCE
from tests.integration.test_scheduling import Platform
from tests.integration.test_scheduling import running as whole_platform
from tests.unit.resources.pools import ended, register

JOBS = 30


class Counting(Scheduling):
    """Notes how many placements a queue ever held at once."""

    most = 0

    def evolve(self, state: Queue, event: Event, time: datetime) -> Queue:
        state = super().evolve(state, event, time)
        self.most = max(self.most, len(state.placements))
        return state


@asynccontextmanager
async def taken_over(decider: Scheduling, settings: Settings) -> AsyncIterator[tuple[Partition, Any]]:
    """The default queue's partition as a new writer folds it, without a snapshot; and that writer's producer."""
    number = partition_of("default", settings.partitions)
    producer = new_producer(settings)
    await producer.start()
    try:
        numbers = range(settings.partitions)
        folded = await recovery.take_over(
            Deciders(decider), numbers, settings.partitions, settings, producer, None, datetime.now(UTC)
        )
        partition = folded[number]
        assert isinstance(partition, Partition)
        for place, position in partition.observed.items():
            assert position.offset <= partition.inputs[place].offset, "what is observed needs no answer any more"
        yield partition, producer
    finally:
        await producer.stop()


async def append(settings: Settings, partition: Partition, producer: Any, *events: Event) -> None:
    """Record what this writer is made to decide."""
    origin = Origin(partition._units.own_id(), "", PLATFORM_ACTOR, DEFAULT_PROJECT, "")
    unit = partition._unit(events, origin, datetime.now(UTC))
    batch = Batch()
    batch.extend(unit.records)
    topic = settings.prefix + topics.events("scheduling")
    stored = await (await producer.send_batch(batch, topic, partition=partition.number))
    partition.appended(unit, stored.offset)


async def test_a_first_fold_holds_what_lives_and_not_all_that_ever_did(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "AT_ONCE", 10)
    async with whole_platform(settings) as platform:
        await platform.command(register("n1", capacity={"cpus": 2.0}))
        for number in range(JOBS):
            await platform.submit(f"job-{number}", cpus=1.5)
            (held,) = await platform.placed(f"job-{number}", "bound")
            if number < JOBS - 1:
                await platform.command(ended((held.allocation_id, "0")))
    decider = Counting()
    async with taken_over(decider, settings) as (partition, _):
        queue = partition.kinds["queue"].states["default"]
        assert held.allocation_id in queue.placements
        assert len(queue.placements) <= 2, "the last release may be of the same moment as the last placement"
        assert queue.number == JOBS + 1
        assert set(queue.cluster.nodes) == {"n1"}
    assert decider.most <= 10, f"{decider.most} of {JOBS} placements were held at once"


async def until(tail: Tail, kind: type[Event], count: int = 1) -> Recorded:
    """The next (or a later) event of a kind."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for recorded in await tail.poll(1.0):
                if type(recorded.data) is kind:
                    count -= 1
                    if not count:
                        return recorded


async def test_what_nobody_answered_yet_is_not_observed_by_the_fold_but_answered_behind_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rejection, say: who observes it without answering would lose the tasks."""
    monkeypatch.setattr(recovery, "AT_ONCE", 1)
    await topics.ensure_topics(settings)
    others = [
        asyncio.create_task(Writer(Jobs(), settings).run()),
        asyncio.create_task(Writer(Resources(60.0), settings).run()),
    ]
    scheduling = asyncio.create_task(Writer(Scheduling(), settings).run())
    try:
        async with (
            Publisher(settings) as publisher,
            Outcomes(settings) as outcomes,
            Tail(settings, ["scheduling"]) as decided,
            Tail(settings, ["resources"]) as told,
        ):
            platform = Platform(publisher, outcomes, 1, "")
            await platform.command(register("n1", capacity={"cpus": 2.0}))
            await platform.submit("first", cpus=1.5)
            await until(told, AllocationBound)
            await platform.submit("second", cpus=1.5)
            entry = (await until(decided, JobEnqueued, 2)).data
            assert isinstance(entry, JobEnqueued)
            await end_all([scheduling])

            # A writer that knows no better places the second job where the first is.
            async with taken_over(Scheduling(), settings) as (partition, producer):
                wrong = JobScheduled(
                    queue="default",
                    job_id="second",
                    project=entry.entry.project,
                    owner=entry.entry.owner,
                    placements=(Placement(node_id="n1", allocation_id="second.1.1", tasks="0", attempt=1, score=0.0),),
                    request=entry.entry.request,
                    launch=entry.entry.launch,
                    waited_seconds=0.0,
                )
                await append(settings, partition, producer, wrong)
                rejected = await until(told, AllocationRejected)
                await asyncio.sleep(0.01)  # so that what follows is later by more than a millisecond
                news = JobDeferred(queue="default", job_id="nobody", tasks="0", reasons=(), message="")
                await append(settings, partition, producer, news)
            async with taken_over(Scheduling(), settings) as (partition, _):
                place = rejected.position.topic, rejected.position.partition
                assert partition.observed[place].offset == rejected.position.offset
                assert "second.1.1" in partition.kinds["queue"].states["default"].placements

            scheduling = asyncio.create_task(Writer(Scheduling(), settings).run())
            again = await until(decided, JobEnqueued)
            assert again.cause == str(rejected.position)
            assert again.data.subject() == "second"
            await platform.channel.close()
    finally:
        await end_all([scheduling, *others])
