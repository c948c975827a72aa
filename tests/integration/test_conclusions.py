"""What concludes a creation, looked for in a real log by who asks after it came."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from events.language.base import Event
from events.language.common import WriterStarted
from events.language.jobs import JobCancelled, JobSubmitted, SubmitJob, TaskCounts
from events.language.jobs.spec import JobMetadata, JobSpec
from events.language.scheduling import JobDequeued
from events.log import topics
from events.log.access import client_options
from events.log.conclusions import Until, search
from events.log.connect import connected
from events.log.envelope import Meta, Recorded
from events.log.partitioner import partition_of
from events.log.tail import Tail
from events.log.wire import headers_of, value_of
from events.process.settings import Settings
from tests import PATIENCE

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
SPEC = JobSpec(metadata=JobMetadata(name="a"), command="true")
PARTITIONS = 4


async def append(settings: Settings, *told: tuple[Event, int]) -> list[Recorded]:
    """What the log then has of these events, each so many seconds after `NOW`."""
    async with connected(AIOKafkaProducer(**client_options(settings))) as producer:

        async def send(event: Event, seconds: int, number: int) -> None:
            time = NOW + timedelta(seconds=seconds)
            meta = Meta("c.0", type(event).type_name(), event.subject(), time, "local/default", "owner", causation="c")
            cause = [("fl_epoch", b"0"), ("fl_cause", b"commands.jobs/0@0|d|0/1")]
            headers = headers_of(meta) + ([] if isinstance(event, WriterStarted) else cause)
            topic, stamp = settings.prefix + topics.events(context), int(time.timestamp() * 1000)
            await producer.send_and_wait(
                topic, value_of(event), event.key().encode(), number, timestamp_ms=stamp, headers=headers
            )

        for context in sorted({event.context for event, _ in told}):
            for number in range(PARTITIONS):
                await send(WriterStarted(subject_id=f"{context}/{number}", writer="w"), 0, number)
        for event, seconds in told:
            context = event.context
            await send(event, seconds, partition_of(event.key(), PARTITIONS))
    async with Tail(settings, sorted({event.context for event, _ in told})) as tail:
        found: list[Recorded] = []
        while len(found) < len(told):
            found += await tail.poll(1.0)
    return found


def cancelled(job: str = "a") -> JobCancelled:
    return JobCancelled(job_id=job, project="local/default", counts=TaskCounts(total=1), exit_code=143)


def dequeued(queue: str) -> JobDequeued:
    return JobDequeued(queue=queue, job_id="a", tasks="0")


QUEUES = [next(name for name in map("q{}".format, range(99)) if partition_of(name, PARTITIONS) == n) for n in (0, 3)]


@pytest.mark.parametrize(
    "told",
    [
        [(cancelled(), 9), (dequeued(QUEUES[0]), 5)],
        [(cancelled("b"), 4), (cancelled(), 5), (dequeued(QUEUES[0]), 9)],
        [(dequeued(QUEUES[0]), 9), (dequeued(QUEUES[1]), 5)],
        [(dequeued(QUEUES[0]), 5), (dequeued(QUEUES[1]), 9)],
        [(cancelled(), 5), (cancelled(), 9)],
        [],
    ],
)
async def test_who_asks_later_is_told_what_came_first_in_whichever_context_and_partition(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: Sequence[tuple[Event, int]]
) -> None:
    monkeypatch.setattr(SubmitJob, "concluded_by", (JobCancelled, JobDequeued))
    await topics.ensure_topics(settings)
    begun = JobSubmitted(job_id="a", spec=SPEC, owner="owner", project="local/default")
    found = await append(settings, (begun, 1), *told)
    first = next(each for each in found if isinstance(each.data, JobSubmitted))
    until = Until.of(SubmitJob(job_id="a", spec=SPEC))
    concluded = await asyncio.wait_for(search(settings, until, first), PATIENCE)
    wanted = [event for event, seconds in told if seconds == 5]
    assert ([concluded.data] if concluded is not None else []) == wanted
