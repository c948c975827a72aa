"""The log and the runtime on a real broker and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from operator import gt
from typing import Any, ClassVar

import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import RequestTimedOutError

from events import hosting
from events.audit.audit import verify
from events.hosting import open_pool
from events.language.common import CommandRejected, ErrorCode
from events.language.jobs import CancelJob, JobSubmitted, SubmitJob
from events.language.jobs.spec import JobDependency, JobMetadata, JobSpec
from events.language.resources import AllocationBound
from events.log import topics
from events.log.access import client_options
from events.log.consumers import PATIENT
from events.log.deadletters import list_dead_letters, replay_dead_letter
from events.log.outcomes import Outcomes
from events.log.publish import Outgoing, Publisher
from events.log.tail import LogLost, Tail
from events.process.settings import Settings
from events.process.tasks import end_all
from events.projections import rebuild as rebuilding
from events.projections.positions import live_schema
from events.projections.runner import Runner
from events.queries.queries import ReadModel
from events.writer.snapshots import Snapshots
from events.writer.writer import Writer
from tests import PATIENCE
from tests.unit.writer.sample import SampleDecider, SampleProjection


def submit(name: str, job_id: str = "", after: tuple[str, ...] = ()) -> SubmitJob:
    depends = tuple(JobDependency(job_id=id) for id in after)
    metadata = JobMetadata(name=name, labels={"kind": "test"})
    return SubmitJob(job_id=job_id, spec=JobSpec(metadata=metadata, command="true", depends_on=depends))


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        await end_all(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()  # what failed before it was ended


async def until(condition: Any, seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def history(settings: Settings) -> list[Any]:
    """Every valid event of jobs, markers excluded."""
    found = []
    async with Tail(settings, ["jobs"]) as tail:
        ends = await tail.ends()
        while any(tail.positions[place].offset < end for place, end in ends.items()):
            found += await tail.poll(5)
    return found


async def submitted(settings: Settings, count: int) -> list[str]:
    """The submitted jobs' ids, once there are `count` of them in the log."""
    async with asyncio.timeout(PATIENCE):
        while True:
            events = [event for event in await history(settings) if isinstance(event.data, JobSubmitted)]
            if len(events) >= count:
                return [event.data.job_id for event in events]


class Deaf(SampleDecider):
    """Reacts to others only, so that its writer seldom looks at its own topic, and must wait for a fetch of theirs."""

    routes: ClassVar = {AllocationBound: lambda _: ()}


both_kinds = pytest.mark.parametrize("decider", [SampleDecider, Deaf], ids=["listens", "looks"])


@pytest.fixture
async def prepared(settings: Settings) -> Settings:
    await topics.ensure_topics(settings)
    return settings


async def test_a_command_becomes_events_and_its_outcome_is_told(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)
    async with running(writer.run()), Publisher(prepared) as publisher, Outcomes(prepared) as outcomes:
        future = outcomes.expect("c1")
        published = await publisher.publish(submit("first"), id="c1", project="lab/vision")
        outcome = await asyncio.wait_for(future, PATIENCE)
        assert outcome.subject == published.subject
        assert [type(event.data) for event in outcome.events] == [JobSubmitted]
        event = outcome.events[0]
        assert (event.meta.actor, event.meta.project, event.meta.causation) == ("owner", "lab/vision", "c1")
        assert event.cause == str(published.position)

        # a repeat yields the first outcome; another body under the same id is refused
        again = outcomes.expect("c1")
        await publisher.publish(submit("first"), id="c1", project="lab/vision")
        repeated = await asyncio.wait_for(again, 15)
        assert repeated.noted is not None
        assert repeated.noted.repeat
        assert repeated.position == outcome.position
        other = outcomes.expect("c1")
        await publisher.publish(submit("other"), id="c1", project="lab/vision")
        refused = await asyncio.wait_for(other, 15)
        assert isinstance(refused.rejected, CommandRejected)
        assert refused.rejected.code is ErrorCode.ABORTED

        # a refusal, and a command that changes nothing
        absent = outcomes.expect("c2")
        await publisher.publish(CancelJob(job_id="nobody"), id="c2")
        assert (await asyncio.wait_for(absent, 15)).rejected.code is ErrorCode.NOT_FOUND  # type: ignore[union-attr]
        same = outcomes.expect("c3")
        await publisher.publish(CancelJob(job_id=outcome.subject, reason="nothing"), id="c3")
        unchanged = await asyncio.wait_for(same, 15)
        assert unchanged.noted is not None
        assert not unchanged.noted.repeat


async def test_a_restarted_writer_goes_on_right_behind_its_last_command(prepared: Settings) -> None:
    async with Publisher(prepared) as publisher:
        items = [Outgoing(submit(f"job {n}", f"job-{n}"), f"a{n}") for n in range(200)]
        first = Writer(SampleDecider(), prepared)
        async with running(first.run()):
            await publisher.publish_many(items[:100])
            await submitted(prepared, 100)
        await publisher.publish_many(items[100:])
        await publisher.publish_many(items[:50])  # repeats
        second = Writer(SampleDecider(), prepared)
        async with running(second.run()):
            found = await submitted(prepared, 200)
    assert sorted(found) == sorted(f"job-{n}" for n in range(200))


@both_kinds
async def test_two_writers_at_once_leave_one_history(prepared: Settings, decider: type[SampleDecider]) -> None:
    """Both believe to own every partition: the fenced one's records are void, and no command is decided twice."""
    one = Writer(decider(), prepared)
    async with Publisher(prepared) as publisher, running(one.run()):
        await until(lambda: one.ready)
        zombie_epochs = {number: partition.epoch for number, partition in one.partitions.items()}
        await publisher.publish_many([Outgoing(submit("x", f"job-{n}"), f"a{n}") for n in range(50)])
        two = Writer(decider(), prepared)
        two._assigned = {0, 1, 2, 3}
        two._changed.set()
        async with running(two.run()):
            await until(lambda: two.ready)
            await publisher.publish_many([Outgoing(submit("y", f"more-{n}"), f"b{n}") for n in range(200)])
            await until(
                lambda: any(
                    partition.epoch != zombie_epochs.get(number) for number, partition in one.partitions.items()
                )
            )
            await asyncio.sleep(1)
    last = Writer(decider(), prepared)
    async with running(last.run()):
        found = await submitted(prepared, 250)
    assert len(found) == len(set(found)) == 250
    for checked in await verify(prepared, ["jobs"]):
        assert checked.intact, checked


async def test_a_writer_that_runs_again_takes_its_partitions_over_anew(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)

    def epochs() -> list[int]:
        return [partition.epoch for _, partition in sorted(writer.partitions.items())] if writer.ready else []

    async with running(writer.run()):
        await until(lambda: len(epochs()) == 4)
        before = epochs()
    async with running(writer.run()):
        await until(lambda: len(epochs()) == 4 and all(map(gt, epochs(), before)))


async def test_a_writer_starts_over_while_an_append_is_under_way(
    prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(SampleDecider(), prepared)
    begun, lost = asyncio.Event(), asyncio.Event()

    async def without_end(*_: Any) -> None:
        begun.set()
        await asyncio.Future()

    def lose(_: Any) -> None:
        lost.set()
        raise LogLost({"commands.jobs/0": 1})

    async with running(writer.run()), Publisher(prepared) as publisher:
        await until(lambda: writer.ready)
        with monkeypatch.context() as patch:
            patch.setattr(writer.appender, "append", without_end)
            await publisher.publish(submit("s", "job-0"))
            await asyncio.wait_for(begun.wait(), PATIENCE)
            patch.setattr(writer, "_check_inputs", lose)
            await asyncio.wait_for(lost.wait(), PATIENCE)
        await submitted(prepared, 1)
        await until(lambda: writer.ready)


async def test_a_partition_that_is_revoked_amid_its_new_start_keeps_nobody_busy(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)
    async with running(writer.run()):
        await until(lambda: writer.ready)
        writer.assignment.start_over(0)
        await writer.on_partitions_revoked([TopicPartition(prepared.prefix + topics.commands("jobs"), 0)])
        await until(lambda: writer.assignment.until_start() == float("inf"))
        assert writer._tail is not None
        assert writer._until_due(writer._tail) > 0
        assert set(writer.partitions) == {1, 2, 3}


async def test_a_bare_outcome_tells_only_of_refusals(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)
    async with running(writer.run()), Publisher(prepared) as publisher, Outcomes(prepared) as outcomes:
        taken, refused = outcomes.expect("c1", bare=True), outcomes.expect("c2", bare=True)
        whole = outcomes.expect("c1")
        published = await publisher.publish(submit("first"), id="c1")
        await publisher.publish(CancelJob(job_id="nobody"), id="c2")
        outcome = await asyncio.wait_for(taken, 15)
        assert (outcome.subject, outcome.rejected) == (published.subject, None)
        assert (await asyncio.wait_for(refused, 15)).rejected.code is ErrorCode.NOT_FOUND  # type: ignore[union-attr]
        assert [type(event.data) for event in (await asyncio.wait_for(whole, 15)).events] == [JobSubmitted]


async def test_a_repeat_that_comes_before_the_writer_knows_of_its_first_in_the_log_yields_the_first_outcome(
    prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers may have what the broker has stored before its acknowledgement reaches the writer."""
    writer, known, send_batch = Writer(SampleDecider(), prepared), asyncio.Event(), AIOKafkaProducer.send_batch

    async def acknowledged_late(self: AIOKafkaProducer, *args: Any, **options: Any) -> Any:
        stored = await send_batch(self, *args, **options)

        async def acknowledged() -> Any:
            metadata = await stored
            await known.wait()
            return metadata

        return asyncio.ensure_future(acknowledged())

    async with running(writer.run()), Publisher(prepared) as publisher, Outcomes(prepared) as outcomes:
        await until(lambda: writer.ready)
        monkeypatch.setattr(AIOKafkaProducer, "send_batch", acknowledged_late)
        commands = [Outgoing(submit("first", "job-0"), "c1"), Outgoing(CancelJob(job_id="job-1"), "c2")]
        firsts = [outcomes.expect(each.id) for each in commands]
        await publisher.publish_many(commands)
        taken, refused = await asyncio.wait_for(asyncio.gather(*firsts), PATIENCE)
        repeats = [outcomes.expect(each.id) for each in commands]
        for each in await publisher.publish_many(commands):
            topic, number, offset = each.position
            await until(lambda at=(topic, number), last=offset: _decided(writer, *at) > last)
        known.set()
        again, no = await asyncio.wait_for(asyncio.gather(*repeats), PATIENCE)
    assert [each.noted and (each.noted.repeat, each.noted.first_offset) for each in (again, no)] == [(True, -1)] * 2
    assert (again.events, again.rejected) == (taken.events, None)
    assert no.rejected == refused.rejected is not None


def _decided(writer: Writer, topic: str, number: int) -> int:
    return writer.partitions[number].resume_of(topic, number).offset


async def test_after_a_failed_append_the_writer_starts_over_with_a_new_producer(
    prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_batch = AIOKafkaProducer.send_batch
    failed: list[AIOKafkaProducer] = []
    used: list[AIOKafkaProducer] = []

    async def fails_once(self: AIOKafkaProducer, *args: Any, **options: Any) -> Any:
        if not failed:
            failed.append(self)
            raise RequestTimedOutError
        used.append(self)
        return await send_batch(self, *args, **options)

    writer = Writer(SampleDecider(), prepared)
    async with running(writer.run()), Publisher(prepared) as publisher:
        await until(lambda: writer.ready)
        monkeypatch.setattr(AIOKafkaProducer, "send_batch", fails_once)
        await publisher.publish_many([Outgoing(submit("x", f"job-{n}"), f"a{n}") for n in range(20)])
        found = await submitted(prepared, 20)
    assert sorted(found) == sorted(f"job-{n}" for n in range(20))
    assert used[-1] is not failed[0]


async def test_a_marker_bears_the_writer_s_time(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)
    ahead = timedelta(hours=1)
    writer.clock.at_least(datetime.now(UTC) + ahead)
    async with running(writer.run()), Tail(prepared, ["jobs"]) as tail:
        await until(lambda: writer.ready)
        markers = [raw for raw in await tail.poll_raw(10) if raw.is_marker]
    assert markers
    assert all(raw.time() > datetime.now(UTC) + ahead / 2 for raw in markers)


async def test_reactions_reach_other_partitions_once(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)
    async with Publisher(prepared) as publisher:
        async with running(writer.run()):
            await publisher.publish(submit("base", "base"))
            await publisher.publish_many([Outgoing(submit("d", f"d-{n}", ("base",))) for n in range(40)])
            await until(
                lambda: any(
                    p.kinds["job"].states["base"].told == 40
                    for p in writer.partitions.values()
                    if "base" in p.kinds["job"].states
                )
            )
        again = Writer(SampleDecider(), prepared)
        async with running(again.run()):
            await publisher.publish(submit("d", "late", ("base",)))
            await until(
                lambda: any(
                    p.kinds["job"].states["base"].told == 41
                    for p in again.partitions.values()
                    if "base" in p.kinds["job"].states
                )
            )


async def test_unusable_input_becomes_a_dead_letter_and_can_be_replayed(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)
    producer = AIOKafkaProducer(**client_options(prepared), max_request_size=4 << 20)
    await producer.start()
    topic = prepared.prefix + topics.commands("jobs")

    def headers(type: str, id: str = "x1") -> list[tuple[str, bytes]]:
        return [("ce_id", id.encode()), ("ce_type", type.encode()), ("ce_source", b"test"), ("ce_specversion", b"1.0")]

    good = orjson.dumps({"spec": {"metadata": {"name": "late"}, "command": "true"}})
    try:
        async with running(writer.run()), Outcomes(prepared) as outcomes:
            await producer.send_and_wait(topic, b"{", headers=headers("forgelog.jobs.v1.SubmitJob", "broken"))
            await producer.send_and_wait(topic, b"{}", headers=headers("forgelog.jobs.v1.SubmitJbo", "typo"))
            await producer.send_and_wait(topic, b"{}")
            await producer.send_and_wait(topic, b" " * 2_000_000, headers=headers("forgelog.jobs.v1.SubmitJob", "big"))
            future = outcomes.expect("fine")
            await producer.send_and_wait(topic, good, headers=headers("forgelog.jobs.v1.SubmitJob", "fine"))
            assert (await asyncio.wait_for(future, PATIENCE)).rejected is None

            async def letters() -> list[Any]:
                async with asyncio.timeout(PATIENCE):
                    while len(found := await list_dead_letters(prepared, "jobs")) < 4:
                        await asyncio.sleep(0.1)
                return found

            found = await letters()
            reasons = " | ".join(letter.reason for letter in found)
            for word in ("SubmitJbo", "ce_id", "2000000 bytes", "JSON"):
                assert word in reasons
            broken = next(letter for letter in found if dict(letter.headers).get("ce_id") == b"broken")
            future = outcomes.expect("broken+replay")
            await replay_dead_letter(prepared, broken.position, good)
            assert (await asyncio.wait_for(future, PATIENCE)).rejected is None
            assert any(letter.replayed for letter in await list_dead_letters(prepared, "jobs"))
    finally:
        await producer.stop()


class LongFetches:
    """A tail whose fetches wait ten minutes at the broker, and who writes to its topic."""

    def __init__(self, topic: str, producer: AIOKafkaProducer, tail: Tail) -> None:
        self.topic = topic
        self.producer = producer
        self.tail = tail

    async def send(self, value: bytes, partition: int) -> None:
        await self.producer.send_and_wait(self.topic, value, partition=partition)

    async def read(self) -> list[bytes | None]:
        """The values of the next records."""
        async with asyncio.timeout(PATIENCE):
            while not (found := await self.tail.poll_raw(5.0)):
                pass
        return [raw.value for raw in found]


def fetch_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So long do fetches of patient tails wait at the broker."""
    ten_minutes = {**PATIENT, "fetch_max_wait_ms": 600_000, "request_timeout_ms": 700_000}
    monkeypatch.setattr("events.log.tail._FIXED", ten_minutes)


@pytest.fixture
async def fetching(prepared: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LongFetches]:
    fetch_for_ten_minutes(monkeypatch)
    producer = AIOKafkaProducer(**client_options(prepared))
    await producer.start()
    try:
        async with Tail(prepared, ["jobs"], patient=True) as tail:
            yield LongFetches(prepared.prefix + topics.events("jobs"), producer, tail)
    finally:
        await producer.stop()


async def test_what_comes_while_a_reader_is_busy_is_not_left_out_of_its_next_fetch(fetching: LongFetches) -> None:
    """A fetch that leaves a place out may wait long at the broker, and the place would have to wait as long."""
    for number in range(4):
        await fetching.send(str(number).encode(), partition=0)
        await asyncio.sleep(0.5)  # busy: what came is answered and waits to be consumed
        assert await fetching.read() == [str(number).encode()]


async def test_a_place_that_resumes_amid_a_rest_holds_up_no_other(fetching: LongFetches) -> None:
    """A fetch of it alone would wait at the broker for as long as it gets nothing, and the others for its end."""
    fetching.tail.pause(("jobs", 0))
    await fetching.send(b"before", partition=1)
    assert await fetching.read() == [b"before"]
    fetching.tail.rest()
    fetching.tail.resume(("jobs", 0))
    await asyncio.sleep(0.5)  # a fetch would have been sent
    fetching.tail.go_on()
    await fetching.send(b"behind", partition=1)
    assert await fetching.read() == [b"behind"]


async def test_commands_of_a_transaction_are_decided_when_it_is_committed_and_never_if_not(prepared: Settings) -> None:
    topic = prepared.prefix + topics.commands("jobs")
    producer = AIOKafkaProducer(
        **client_options(prepared), transactional_id=f"{prepared.prefix}client", max_batch_size=400
    )
    await producer.start()

    async def send(*names: str, then: Exception | None = None) -> None:
        with suppress(LookupError):
            async with producer.transaction():
                for name in names:
                    type = SubmitJob.type_name().encode()
                    headers = [("ce_id", name.encode()), ("ce_type", type), ("ce_source", b"test")]
                    value = submit(name, name).to_json()
                    # Each in a batch of its own, and all in one partition.
                    await producer.send_and_wait(topic, value, key=name.encode(), partition=0, headers=headers)
                if then is not None:
                    raise then

    try:
        await send("taken-back-1", "taken-back-2", then=LookupError("a change of mind"))
        await send("kept-1", "kept-2")
        await send("taken-back-3", then=LookupError("again"))
        async with running(Writer(SampleDecider(), prepared).run()):
            assert sorted(await submitted(prepared, 2)) == ["kept-1", "kept-2"]
            # A second writer starts amid them, and one who reads live sees them come.
            await send("taken-back-4", then=LookupError("and again"))
            await send("kept-3")
            assert sorted(await submitted(prepared, 3)) == ["kept-1", "kept-2", "kept-3"]
        async with running(Writer(SampleDecider(), prepared).run()), Publisher(prepared) as publisher:
            await publisher.publish(submit("kept-4", "kept-4"), id="kept-4")
            assert sorted(await submitted(prepared, 4)) == ["kept-1", "kept-2", "kept-3", "kept-4"]
    finally:
        await producer.stop()


@asynccontextmanager
async def projected(settings: Settings) -> AsyncIterator[tuple[Publisher, Outcomes, ReadModel]]:
    """A writer and its tables, with what is needed to send commands, to learn what became of them, and to ask."""
    pool = await open_pool(settings)
    writer, runner = Writer(SampleDecider(), settings), Runner(SampleProjection(), settings, pool)
    reading = await open_pool(settings, runner.schema)
    async with running(writer.run(), runner.run()), Publisher(settings) as publisher, Outcomes(settings) as outcomes:
        yield publisher, outcomes, ReadModel(runner, reading)
    await reading.close()
    await pool.close()


async def test_tables_follow_rebuild_equals_and_time_travels(prepared: Settings) -> None:
    async with projected(prepared) as (publisher, outcomes, read):
        future = outcomes.expect("s1")
        await publisher.publish(submit("one", "one"), id="s1")
        submitted = await asyncio.wait_for(future, PATIENCE)
        async with read.view(at_least=[str(submitted.position)]) as db:
            row = await db.fetchrow("select * from jobs where job_id = 'one'")
        assert (row["name"], row["cancelled"], row["labels"], row["tags"]) == ("one", 0, {"kind": "test"}, ["kind"])
        future = outcomes.expect("s2")
        await publisher.publish(CancelJob(job_id="one"), id="s2")
        cancelled = await asyncio.wait_for(future, PATIENCE)
        async with read.view(at_least=[str(cancelled.position)]) as db:
            assert await db.fetchval("select cancelled from jobs where job_id = 'one'") == 2
        async with read.view(as_of=submitted.events[0].meta.time) as db:
            assert await db.fetchval("select cancelled from jobs where job_id = 'one'") == 0

        await publisher.publish_many([Outgoing(submit(f"n{n}", f"n-{n}")) for n in range(300)])
        found = await rebuilding.diff(prepared, SampleProjection())
        assert found.equal, found
        rebuilt = await rebuilding.rebuild(prepared, SampleProjection())
        assert rebuilt.events >= 3
        future = outcomes.expect("s3")
        await publisher.publish(submit("after", "after"), id="s3")
        after = await asyncio.wait_for(future, PATIENCE)
        async with read.view(at_least=[str(after.position)]) as db:
            assert await db.fetchval("select count(*) from jobs") == 302
        found = await rebuilding.diff(prepared, SampleProjection())
        assert found.equal, found
        assert found.rows == {"jobs": 302, "jobs_past": 1}


async def test_a_projector_that_was_stopped_does_not_hold_up_the_next(
    prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "STOPPED_SECONDS", 0.5)
    stopped = await open_pool(prepared)
    async with projected(prepared) as (publisher, outcomes, read):
        future = outcomes.expect("s1")
        await publisher.publish(submit("one", "one"), id="s1")
        async with read.view(at_least=[str((await asyncio.wait_for(future, PATIENCE)).position)]):
            pass
        db = await stopped.acquire()
        await db.execute(
            f'begin; lock table "{live_schema(prepared, SampleProjection.context)}".positions in exclusive mode'
        )
        # From here on it says nothing: a process on a paused machine.
        future = outcomes.expect("s2")
        await publisher.publish(CancelJob(job_id="one"), id="s2")
        cancelled = await asyncio.wait_for(future, PATIENCE)
        async with read.view(at_least=[str(cancelled.position)]) as rows:
            assert await rows.fetchval("select cancelled from jobs where job_id = 'one'") == 2
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):  # when it goes on it learns of it
            await db.execute("select 1")
        await stopped.release(db)
    await stopped.close()


@both_kinds
async def test_a_snapshot_spares_the_fold_and_changes_nothing(prepared: Settings, decider: type[SampleDecider]) -> None:
    pool = await open_pool(prepared)
    snapshots = Snapshots(prepared, pool, every=20)
    await snapshots.prepare()
    writer = Writer(decider(), prepared, snapshots)
    async with Publisher(prepared) as publisher:
        async with running(writer.run()):
            await until(lambda: writer.ready)
            for start in range(0, 200, 20):
                await publisher.publish_many(
                    [Outgoing(submit("s", f"job-{n}"), f"a{n}") for n in range(start, start + 20)]
                )
            count = f'select count(distinct partition) from "{prepared.schema_}_log".snapshots'
            published = 200
            async with asyncio.timeout(PATIENCE):
                while await pool.fetchval(count) < 4:
                    await publisher.publish(submit("more"))
                    published += 1
            await submitted(prepared, published)  # while a batch is on its way the states are ahead of the log
            states = {
                key: (state.submitted, state.told)
                for p in writer.partitions.values()
                for key, state in p.kinds["job"].states.items()
            }
        assert len(states) >= 200
        second = Writer(decider(), prepared, snapshots)
        async with running(second.run()):
            await until(lambda: second.ready)
            again = {
                key: (state.submitted, state.told)
                for p in second.partitions.values()
                for key, state in p.kinds["job"].states.items()
            }
            assert states.items() <= again.items()
            assert all(p.folded <= p.next_offset - 20 for p in second.partitions.values())
            assert decider is Deaf or all(p.folded < 60 for p in second.partitions.values())
    await pool.close()


async def test_the_whole_history_verifies(prepared: Settings) -> None:
    writer = Writer(SampleDecider(), prepared)
    async with Publisher(prepared) as publisher:
        for turn in range(3):
            async with running(writer.run()):
                await publisher.publish_many([Outgoing(submit("v", f"v-{turn}-{n}")) for n in range(30)])
                await submitted(prepared, 30 * (turn + 1))
    checked = await verify(prepared, ["jobs"])
    assert sum(found.records for found in checked) > 30
    for found in checked:
        assert found.intact, found
