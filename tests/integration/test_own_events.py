"""Given a writer whose own aggregates say something to each other, when nobody else says anything, then they hear it.

A fetch of the others' events waits at the broker all the while: what is to be read must not wait for its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from aiokafka import AIOKafkaProducer

from events.language.resources import AllocationBound
from events.log import topics
from events.log.access import client_options
from events.log.partitioner import partition_of
from events.log.publish import Outgoing, Publisher
from events.process.settings import Settings
from events.writer.writer import Writer
from tests.integration.test_runtime import fetch_for_ten_minutes, running, submit, until
from tests.unit.writer.sample import SampleDecider

ZERO, *_ = (name for name in map("job-{}".format, range(100)) if partition_of(name, 4) == 0)
ONES = [name for name in map("job-{}".format, range(100)) if partition_of(name, 4) == 1]


class Both(SampleDecider):
    """Reacts to its own topic and to another one, which stays silent."""

    routes: ClassVar = {**SampleDecider.routes, AllocationBound: lambda _: ()}


class Running:
    """A writer at work, and what it is told."""

    def __init__(self, writer: Writer, publisher: Publisher) -> None:
        self.writer = writer
        self._publisher = publisher

    async def submit(self, name: str, *after: str) -> None:
        await self._publisher.publish(submit("x", name, after), id=name)

    def told(self) -> int:
        """How many jobs have told ZERO that it is what they depend on."""
        held = self.writer.partitions.get(0)
        state: Any = held.kinds["job"].states.get(ZERO) if held is not None else None
        return 0 if state is None else state.told

    def reads(self, number: int) -> bool:
        reader = self.writer._tail
        return reader is not None and ("jobs", number) not in reader._paused


@pytest.fixture
async def at_work(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    fetch_for_ten_minutes(monkeypatch)
    await topics.ensure_topics(settings)
    writer = Writer(Both(), settings)
    async with running(writer.run()), Publisher(settings) as publisher:
        one = Running(writer, publisher)
        await until(lambda: writer.ready)
        await one.submit(ZERO)
        await until(lambda: not any(one.reads(number) for number in range(4)))
        yield one


async def test_they_hear_it_and_nothing_is_read(at_work: Running) -> None:
    for number, name in enumerate(ONES[:3], start=1):
        await at_work.submit(name, ZERO)
        await until(lambda number=number: at_work.told() == number)
        assert not any(at_work.reads(number) for number in range(4))


async def test_behind_what_somebody_else_wrote_they_hear_it_too(at_work: Running, settings: Settings) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as stranger:
        await stranger.send_and_wait(settings.prefix + topics.events("jobs"), b"void", partition=1)
    await at_work.submit(ONES[0], ZERO)
    await until(lambda: at_work.told() == 1)
    await until(lambda: not at_work.reads(1))
    await at_work.submit(ONES[1], ZERO)
    await until(lambda: at_work.told() == 2)


async def test_what_somebody_else_wrote_behind_the_known_end_is_no_lag(at_work: Running, settings: Settings) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as stranger:
        for number in range(4):
            await stranger.send_and_wait(settings.prefix + topics.events("jobs"), b"void", partition=number)
    lags = [
        (place, at, end)
        for kind, place, at, end, _ in at_work.writer.readings()
        if kind == "events" and place.startswith("events.jobs") and at < end
    ]
    assert lags == []


async def test_a_partition_that_starts_over_is_ready_soon_and_hears_what_was_said_meanwhile(at_work: Running) -> None:
    await at_work.submit(ONES[0], ZERO)
    await until(lambda: at_work.told() == 1)
    before = at_work.writer.partitions[0].epoch
    at_work.writer.assignment.start_over(0)
    await at_work.submit(ONES[1], ZERO)
    await until(lambda: at_work.writer.ready and at_work.writer.partitions[0].epoch > before)
    await until(lambda: at_work.told() == 2)


async def test_many_at_once_are_heard_in_parts(at_work: Running) -> None:
    most = 5_000
    await at_work._publisher.publish_many(
        [Outgoing(submit("x", f"{ONES[0]}-{n}", (ZERO,)), f"{ONES[0]}-{n}") for n in range(most)]
    )
    await until(lambda: at_work.told() == most)
