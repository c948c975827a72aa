"""A record that can't be used stops its place alone, which says so. Once it is repaired all go on, without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from events.audit.audit import verify
from events.hosting import open_pool
from events.language.base import Command, Event
from events.language.common import CommandRejected
from events.language.jobs import CancelJob, JobSubmitted
from events.language.resources import AllocationBound
from events.log import topics
from events.log.envelope import Position, Recorded
from events.log.outcomes import Outcomes
from events.log.partitioner import partition_of
from events.log.producer import Producer, ToSend, new_producer
from events.log.publish import Publisher
from events.log.repairing import NoSuchRecord, look_at, retry, skip
from events.log.tail import Tail, read_repairs
from events.log.wire import Raw
from events.process.settings import Settings
from events.projections import rebuild as rebuilding
from events.projections.projection import Rows
from events.projections.runner import Runner
from events.writer import recovery
from events.writer.decider import DecisionContext
from events.writer.snapshots import Snapshots
from events.writer.writer import Writer
from tests import PATIENCE
from tests.integration.test_runtime import Deaf, running, submit, until
from tests.unit.writer.sample import Sample, SampleDecider, SampleProjection

ODD = "odd"
"""Name of the job that something raises at."""


class Raising(SampleDecider):
    """Raises at the odd job, while `faulty` is set: when it is folded, or when others react to it."""

    def __init__(self, *where: str) -> None:
        self.where = set(where)

    def evolve(self, state: Sample, event: Event, time: Any) -> Sample:
        if "evolve" in self.where and isinstance(event, JobSubmitted) and event.spec.metadata.name == ODD:
            raise RuntimeError("it does not fold")
        return super().evolve(state, event, time)

    def react(self, state: Sample, event: Event, context: DecisionContext) -> Sequence[Event]:
        if "react" in self.where and isinstance(event, JobSubmitted) and event.spec.metadata.name == ODD:
            raise RuntimeError("it can't be reacted to")
        return super().react(state, event, context)

    def after_batch(self, state: Sample, context: DecisionContext) -> Sequence[Event]:
        if "after_batch" in self.where and state.submitted:
            raise RuntimeError("it does not come to rest")
        return ()


class RaisingProjection(SampleProjection):
    """Can't fold the odd job; or folds it into what no table holds."""

    unstorable = False

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event = recorded.data
        if isinstance(event, JobSubmitted) and event.spec.metadata.name == ODD:
            if not self.unstorable:
                raise LookupError("there is no such thing")
            event = event.model_copy(
                update={
                    "spec": event.spec.model_copy(
                        update={"metadata": event.spec.metadata.model_copy(update={"name": "\0"})}
                    )
                }
            )
            recorded = recorded._replace(data=event)
        super().project(recorded, rows)


class Place:
    """A writer, its tables, and someone who sends commands to them."""

    def __init__(
        self, settings: Settings, writer: Writer, runner: Runner, publisher: Publisher, outcomes: Outcomes
    ) -> None:
        self.settings, self.writer, self.runner = settings, writer, runner
        self._publisher, self._outcomes = publisher, outcomes

    async def send(self, command: Command, id: str) -> Any:
        """A command's outcome."""
        future = self._outcomes.expect(id)
        await self._publisher.publish(command, id=id)
        return await asyncio.wait_for(future, PATIENCE)

    async def submit(self, job: str, name: str = "good", after: tuple[str, ...] = ()) -> Position:
        outcome = await self.send(submit(name, job, after), f"submit-{job}")
        assert outcome.rejected is None, outcome.rejected
        return outcome.position

    async def forge(self, job: str, type: str, body: bytes) -> Position:
        """A record with a valid epoch that no writer wrote."""
        number = partition_of(job, self.settings.partitions)
        producer = new_producer(self.settings)
        await producer.start()
        headers = [
            ("ce_id", b"forged"),
            ("ce_type", type.encode()),
            ("ce_subject", job.encode()),
            ("fl_epoch", str(self.writer.partitions[number].epoch).encode()),
        ]
        topic = self.settings.prefix + topics.events("jobs")
        try:
            stored = await producer.send_and_wait(topic, body, key=job.encode(), partition=number, headers=headers)
        finally:
            await producer.stop()
        return Position(topics.events("jobs"), number, stored.offset)

    async def skip(self, position: Position) -> None:
        await skip(self.settings, await look_at(self.settings, position), "a test", "tester")

    async def equal_to_a_rebuild(self) -> None:
        found = await rebuilding.diff(self.settings, self.runner.projection)
        assert found.equal, found


@asynccontextmanager
async def place(
    settings: Settings, decider: SampleDecider | None = None, projection: SampleProjection | None = None, **more: Any
) -> AsyncIterator[Place]:
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    writer = Writer(decider or SampleDecider(), settings, more.get("snapshots"))
    runner = Runner(projection or SampleProjection(), settings, pool)
    async with running(writer.run(), runner.run()), Publisher(settings) as publisher, Outcomes(settings) as outcomes:
        await until(lambda: writer.ready)
        yield Place(settings, writer, runner, publisher, outcomes)
    await pool.close()


def stopped(part: Writer | Runner) -> dict[str, str]:
    """Place → the record at which it stands."""
    return {stop.place: str(stop.position) for stop in part.stops}


def jobs_of(number: int, count: int, partitions: int) -> list[str]:
    """Ids of jobs of a partition."""
    ids = (f"job-{serial}" for serial in range(10_000))
    return [id for id in ids if partition_of(id, partitions) == number][:count]


async def test_an_event_that_does_not_fold_stops_its_place_until_it_is_passed_over(settings: Settings) -> None:
    first, second, _ = jobs_of(1, 3, settings.partitions)
    (elsewhere,) = jobs_of(2, 1, settings.partitions)
    async with place(settings) as here:
        await here.submit(first)
        forged = await here.forge(second, JobSubmitted.type_name(), b'{"job_id":"no')
        await until(lambda: here.runner.stops)
        assert stopped(here.runner) == {"tables of jobs reading events.jobs/1": str(forged)}
        readers = {f"jobs/{number} reading events.jobs/1" for number in range(4)}
        await until(lambda: set(stopped(here.writer)) == readers)
        await here.submit(elsewhere)

    async with place(settings) as here:  # now a writer has to fold it
        await until(lambda: "jobs/1" in here.writer.stops)
        assert here.writer.status()["partitions"]["1"]["state"] == "stopped"
        after = await here.send(CancelJob(job_id=elsewhere), "others go on")
        assert after.rejected is None
        waiting = asyncio.create_task(here.submit(second))
        await here.skip(forged)
        await asyncio.wait_for(waiting, PATIENCE)
        await until(lambda: not here.writer.stops and not here.runner.stops)
        await here.equal_to_a_rebuild()
        (repair,) = await read_repairs(settings)
        assert (repair.position, repair.reason, repair.actor) == (forged, "a test", "tester")
    problems = [problem for found in await verify(settings, ["jobs"]) for problem in found.problems]
    assert problems == [f"offset {forged.offset}: has no hash"], "a repair hides nothing"


async def test_a_reaction_that_raises_stops_that_input_and_a_retry_lets_it_go_on(settings: Settings) -> None:
    decider = Raising("react")
    target, other = jobs_of(0, 2, settings.partitions)
    async with place(settings, decider) as here:
        await here.submit(target)
        source = jobs_of(1, 1, settings.partitions)[0]
        at = await here.submit(source, ODD, after=(target,))
        await until(lambda: here.writer.stops)
        assert stopped(here.writer) == {"jobs/0 reading events.jobs/1": str(at)}
        assert (await here.send(CancelJob(job_id=target), "still decided")).rejected is None
        await here.submit(other)
        (stop,) = here.writer.stops
        assert (stop.skippable, stop.cause) == (True, "RuntimeError: it can't be reacted to")
        decider.where.clear()
        await retry(settings, at, "mended", "tester")
        await until(lambda: not here.writer.stops and here.writer.ready)
        await until(lambda: here.writer.partitions[0].kinds["job"].states[target].told == 1)
        await here.equal_to_a_rebuild()


async def test_what_a_state_can_not_do_by_itself_stops_its_partition(settings: Settings) -> None:
    decider = Raising()
    job, other = jobs_of(0, 1, settings.partitions)[0], jobs_of(1, 1, settings.partitions)[0]
    async with place(settings, decider) as here:
        await here.submit(job)
        decider.where = {"after_batch"}
        waits = asyncio.create_task(here.send(CancelJob(job_id=job), "touches it"))
        await until(lambda: "jobs/0" in here.writer.stops)
        decider.where.clear()
        (stop,) = here.writer.stops
        assert not stop.skippable
        assert job in stop.record
        await here.submit(other)
        await retry(settings, stop.position, "mended", "tester")
        assert (await waits).rejected is None, "what was not recorded is decided again"


async def test_a_command_whose_events_do_not_fold_is_refused(settings: Settings) -> None:
    async with place(settings, Raising("evolve")) as here:
        outcome = await here.send(submit(ODD, "odd-one"), "odd")
        assert isinstance(outcome.rejected, CommandRejected)
        assert "defect" in outcome.rejected.message
        await here.submit("next")
        assert not here.writer.stops


@pytest.mark.parametrize("unstorable", [False, True], ids=["raises", "no table holds it"])
async def test_an_event_that_can_not_be_projected_stops_its_place_alone(settings: Settings, unstorable: bool) -> None:
    projection = RaisingProjection()
    projection.unstorable = unstorable
    odd, behind, *_ = jobs_of(0, 2, settings.partitions)
    elsewhere = jobs_of(1, 3, settings.partitions)
    async with place(settings, projection=projection) as here:
        at = await here.submit(odd, ODD)
        hidden = await here.submit(behind)
        seen = [await here.submit(job) for job in elsewhere]
        assert await here.runner.wait_for(seen, PATIENCE) == []
        await until(lambda: stopped(here.runner) == {"tables of jobs reading events.jobs/0": str(at)})
        await here.equal_to_a_rebuild()
        with pytest.raises(rebuilding.RebuildFailed, match=r"does not fold|can't be stored"):
            await rebuilding.rebuild(settings, projection)
        await here.skip(at)
        assert await here.runner.wait_for([hidden], PATIENCE) == []
        assert not here.runner.stops
        await here.equal_to_a_rebuild()


async def test_tables_and_states_that_have_a_skipped_record_are_made_without_it(settings: Settings) -> None:
    """It was folded before anyone stumbled over it: then nobody may go on having it."""
    job, behind = jobs_of(0, 2, settings.partitions)
    pool = await open_pool(settings)
    snapshots = Snapshots(settings, pool, every=1)
    await snapshots.prepare()
    count = f'select count(*) from "{settings.schema_}_log".snapshots where partition = 0 and next_offset > $1'
    async with place(settings, snapshots=snapshots) as here:
        at = await here.submit(job)
        last = await here.submit(behind)
        async with asyncio.timeout(PATIENCE):
            while not await pool.fetchval(count, at.offset):
                await asyncio.sleep(0.05)
        assert await here.runner.wait_for([last], PATIENCE) == []
        await here.skip(at)
        await until(lambda: here.writer.ready and not here.writer.partitions[0].kinds["job"].states.get(job))
        assert here.writer.partitions[0].kinds["job"].states[behind].submitted
        again = await here.send(submit("good", job), "a second time")
        assert again.rejected is None
        assert await here.runner.wait_for([again.position], PATIENCE) == []
        await here.equal_to_a_rebuild()
        assert all(found.intact for found in await verify(settings, ["jobs"])), "it was no forgery"
    await pool.close()


async def test_only_what_lies_in_the_log_can_be_passed_over(settings: Settings) -> None:
    await topics.ensure_topics(settings)
    for text, said in (
        ("events.jobs/0@7", "ends at 0"),
        ("events.jobs/0@0", "no record is to blame: mend the cause, then `forgelog repair events.jobs/0@0 --retry`"),
        ("events.jobs/9@0", "partitions 0 to 3"),
        ("events.nowhere/0@0", "no place of an event"),
    ):
        with pytest.raises(NoSuchRecord, match=said):
            await look_at(settings, Position.parse(text))


async def test_a_writer_with_an_input_that_stands_still_hears_that_it_is_superseded(settings: Settings) -> None:
    """It reads its own topic only now and then; a stop must not keep it from that."""
    async with place(settings, Deaf()) as here, Producer(settings) as producer:
        await here.submit("one")
        await until(lambda: here.writer._tail is not None and len(here.writer._tail._paused) == settings.partitions)
        topic = settings.prefix + topics.events("resources")
        headers = [("ce_type", AllocationBound.type_name().encode())]
        await producer.send_all([ToSend(topic, b"{torn", partition=0, headers=headers)])
        await until(lambda: here.writer.stops)
        before = here.writer.partitions[0].epoch
        other, _ = await recovery._fence("jobs", 0, settings, await producer.running(), datetime.now(UTC))
        assert other > before
        await until(lambda: 0 in here.writer.partitions and here.writer.partitions[0].epoch > other)


async def test_a_reader_that_was_there_before_hears_of_a_repair(settings: Settings) -> None:
    async with place(settings) as here, Tail(settings, ["jobs"]) as tail:
        at = await here.submit("one")
        read: list[Raw] = []
        async with asyncio.timeout(PATIENCE):
            while not (found := [raw for raw in read if raw.position == at]):
                read = await tail.poll_raw(1.0)
        (record,) = found
        tail.stop_at(record)
        assert await tail.poll_raw(0.1) == []
        behind = await here.submit("one-more")
        await here.skip(at)
        async with asyncio.timeout(PATIENCE):
            while tail.stopped:
                await tail.poll_raw(1.0)
        ends, positions = await tail.ends(), []
        while any(tail.positions[each].offset < end for each, end in ends.items()):
            positions += [raw.position for raw in await tail.poll_raw(1.0)]
        assert at not in positions
        assert tail.positions[("jobs", behind.partition)].offset > behind.offset
