"""Real writers on a real broker whose every send may pause, fail, land untold, or land when nobody counts on it.

The subset of `tests/unit/writer/test_epochs_steps.py` that needs no model: the same inputs, the same promises.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from events.audit.audit import verify
from events.language.common import CommandNoted
from events.language.jobs import DependencyMet, JobSubmitted
from events.log import topics
from events.log.outcomes import Outcomes
from events.log.producer import Producer, new_producer
from events.log.publish import Outgoing, Publisher
from events.log.tail import Tail
from events.log.wire import Raw
from events.process.settings import Settings
from events.process.tasks import end_all
from events.writer.writer import Writer
from tests import PATIENCE
from tests.integration.test_runtime import submit, until
from tests.unit.writer.sample import SampleDecider

pytestmark = pytest.mark.slow

SECONDS = 7.0
"""Of trouble, for each seed."""


class Faults:
    """What happens to sends: decided by chance, counted by kind. `late` lands what its sender has given up."""

    def __init__(self, chance: random.Random, late: Any) -> None:
        self.chance = chance
        self.late = late
        self.on = True
        self.counts: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[Any]] = set()

    def all_seen(self) -> bool:
        return min(self.counts[kind] for kind in ("pause", "never lands", "lands untold", "lands late")) > 0

    def pick(self) -> str:
        kinds = ("fine", "pause", "never lands", "lands untold", "lands late")
        kind = self.chance.choices(kinds, (10, 2, 1, 1, 1))[0] if self.on else "fine"
        self.counts[kind] += 1
        return kind

    def after(self, seconds: float, work: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await work()

        task = asyncio.create_task(wait())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class FaultyProducer:
    """What the writer takes for Kafka's producer."""

    def __init__(self, real: Any, faults: Faults) -> None:
        self.real, self.faults = real, faults

    async def send_batch(self, builder: Any, topic: str, *, partition: int) -> Any:
        async def again(producer: Any) -> Any:
            return await producer.send_batch(builder, topic, partition=partition)

        return await self._send(again)

    async def send(self, *args: Any, **options: Any) -> Any:
        async def again(producer: Any) -> Any:
            return await producer.send(*args, **options)

        return await self._send(again)

    async def send_and_wait(self, *args: Any, **options: Any) -> Any:
        return await (await self.send(*args, **options))

    async def _send(self, send: Any) -> asyncio.Future[Any]:
        faults = self.faults
        kind = faults.pick()
        if kind == "pause":
            await asyncio.sleep(faults.chance.uniform(0.01, 0.4))
        if kind in ("fine", "pause"):
            future: asyncio.Future[Any] = await send(self.real)
            return future
        if kind == "lands untold":
            await (await send(self.real))
        elif kind == "lands late":
            faults.after(faults.chance.uniform(0.05, 1.5), lambda: send(faults.late))
        lost = asyncio.get_running_loop().create_future()
        lost.set_exception(KafkaTimeoutError(kind))
        return lost


class FaultyProducers(Producer):
    def __init__(self, settings: Settings, faults: Faults) -> None:
        super().__init__(settings)
        self._faults = faults

    async def running(self) -> Any:
        return FaultyProducer(await super().running(), self._faults)

    def failed(self, producer: Any) -> None:
        super().failed(producer.real)


class Writers:
    """Some writers at once, each for a while; all of them believe to own every partition."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self.settings, self.faults = settings, faults
        self.tasks: list[asyncio.Task[None]] = []
        self.cancelled = 0

    def start(self) -> Writer:
        writer = Writer(SampleDecider(), self.settings)
        writer.appender.producer = FaultyProducers(self.settings, self.faults)
        self.tasks.append(asyncio.create_task(writer.run()))
        return writer

    def usurp(self) -> None:
        writer = self.start()
        writer.assignment.assigned |= set(range(self.settings.partitions))
        writer._changed.set()

    async def end_one(self) -> None:
        """At any await."""
        task = self.tasks.pop(self.faults.chance.randrange(len(self.tasks)))
        assert not task.done(), task.exception()
        self.cancelled += 1
        await end_all([task])

    async def end(self) -> None:
        for task in self.tasks:
            if task.done():
                task.result()
        await end_all(self.tasks)


async def trouble(settings: Settings, chance: random.Random, publisher: Publisher, faults: Faults) -> list[str]:
    """Commands, repeats and jobs that others depend on come while writers are usurped and ended; the commands' ids."""
    writers, sent = Writers(settings, faults), []
    writers.start()
    loop = asyncio.get_running_loop()
    ends = loop.time() + SECONDS
    try:
        # A busy machine sends less in that time: each kind of fault is to come up.
        while loop.time() < ends or (not faults.all_seen() and loop.time() < ends + PATIENCE):
            items = [f"a{len(sent) + n}" for n in range(chance.randrange(1, 25))]
            sent += items
            repeats = chance.sample(sent, min(3, len(sent)))
            await publisher.publish_many(
                [Outgoing(submit("x", f"job-{id}", ("base",) if hash_of(id) else ()), id) for id in (*items, *repeats)]
            )
            await asyncio.sleep(chance.uniform(0.0, 0.15))
            if chance.random() < 0.15 and len(writers.tasks) < 3:
                chance.choice([writers.start, writers.usurp])()
            if chance.random() < 0.10 and len(writers.tasks) > 1:
                await writers.end_one()
        return sent
    finally:
        await writers.end()


def hash_of(id: str) -> bool:
    """Every third command has a dependency."""
    return int(id[1:]) % 3 == 0


async def valid(settings: Settings) -> list[Raw]:
    found = []
    async with Tail(settings, ["jobs"]) as tail:
        ends = await tail.ends()
        while any(tail.positions[place].offset < end for place, end in ends.items()):
            found += [raw for raw in await tail.poll_raw(5) if not raw.is_marker]
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_done_twice_whatever_happens_to_sends(settings: Settings, seed: int) -> None:
    await topics.ensure_topics(settings)
    chance = random.Random(seed)
    late = new_producer(settings)
    await late.start()
    faults = Faults(chance, late)
    try:
        async with Publisher(settings) as publisher, Outcomes(settings) as outcomes:
            await publisher.publish(submit("base", "base"), id="base")
            told = {f"a{n}": outcomes.expect(f"a{n}") for n in range(5000)}
            sent = await trouble(settings, chance, publisher, faults)
            faults.on = False
            last = Writer(SampleDecider(), settings)
            running = asyncio.create_task(last.run())
            try:
                dependents = sum(hash_of(id) for id in sent)
                await until(lambda: all(told[id].done() for id in sent), PATIENCE)
                await until(
                    lambda: sum(p.kinds["job"].states["base"].told for p in holding(last)) == dependents, PATIENCE
                )
                await asyncio.sleep(1.6)  # what was to land late has
                assert not faults.tasks
            finally:
                await end_all([running])
            outcomes_told = {id: told[id].result() for id in sent}
    finally:
        await late.stop()
    check(await valid(settings), sent, outcomes_told)
    for checked in await verify(settings, ["jobs"]):
        assert checked.intact, checked
    assert faults.all_seen()


def holding(writer: Writer) -> list[Any]:
    return [partition for partition in writer.partitions.values() if "base" in partition.kinds["job"].states]


def check(records: list[Raw], sent: list[str], told: dict[str, Any]) -> None:
    """One history: each input handled once, whole and in order; each outcome as it was told."""
    parts: dict[tuple[str, int], list[int]] = defaultdict(list)
    last: dict[tuple[int, str], int] = defaultdict(lambda: -1)
    first: dict[str, str] = {}
    jobs: Counter[str] = Counter()
    met: Counter[str] = Counter()
    for raw in records:
        cause = raw.cause
        assert cause is not None
        source = raw.partition, f"{cause.position.topic}/{cause.position.partition}"
        parts[f"{cause.position}", raw.partition].append(cause.part)
        assert cause.position.offset >= last[source], "inputs are handled in order"
        last[source] = cause.position.offset
        event = raw.decode().data
        if isinstance(event, JobSubmitted):
            jobs[event.job_id] += 1
        if isinstance(event, DependencyMet):
            met[event.dependency] += 1
        elif not isinstance(event, CommandNoted):
            first.setdefault(raw.text("ce_causationid"), str(raw.position))
    assert all(found == [0] for found in parts.values()), "no input is handled twice"
    assert jobs == Counter(["base", *(f"job-{id}" for id in sent)]), "every job is submitted once"
    assert met == Counter(f"job-{id}" for id in sent if hash_of(id)), "every reaction came once"
    assert {id: str(outcome.events[0].position) for id, outcome in told.items()} == {id: first[id] for id in sent}
