"""The log is lost, cut or restored under what has read it: all notice, nothing mixes two histories, and all go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from events.hosting import open_pool
from events.language.contexts import processes
from events.language.jobs import JobCompleted, JobStarted
from events.log import identity, topics, wire
from events.log.access import client_options
from events.log.identity import StoredPosition
from events.log.outcomes import Outcomes
from events.log.positions import ReaderPosition
from events.log.producer import Producer, ToSend
from events.log.publish import Outgoing, Publisher
from events.log.tail import LogLost, Tail
from events.process.settings import Settings
from events.projections import rebuild as rebuilding
from events.projections.origins import former_schema, read_stored
from events.projections.positions import live_schema
from events.projections.replaying import RebuildFailed
from events.projections.runner import Runner
from events.queries.queries import QueryError, ReadModel
from events.writer.partition import Partition
from events.writer.snapshots import Snapshots
from events.writer.writer import Writer
from tests import PATIENCE
from tests.integration.cluster import cluster
from tests.integration.test_runtime import Deaf, running, submit, until
from tests.unit.writer.sample import SampleDecider, SampleProjection


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    await topics.ensure_topics(settings)
    made = await open_pool(settings)
    yield made
    await made.close()


async def lose(settings: Settings, names: Sequence[str] = (), *, for_good: bool = False) -> None:
    """Delete topics, by default all, and make them anew, unless that is left to others."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        present = [name for name in await admin.list_topics() if name.startswith(settings.prefix)]
        gone = {settings.prefix + name for name in names} or set(present)
        await admin.delete_topics(sorted(gone))
        async with asyncio.timeout(PATIENCE):
            while gone & set(await admin.list_topics()):
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
    if not for_good:
        await topics.ensure_topics(settings)


@asynccontextmanager
async def at_work(settings: Settings, pool: asyncpg.Pool) -> AsyncIterator[tuple[Writer, Runner]]:
    writer, runner = Writer(SampleDecider(), settings), Runner(SampleProjection(), settings, pool)
    async with running(writer.run(), runner.run()):
        yield writer, runner


async def submitted(settings: Settings, ids: Sequence[str]) -> None:
    """Submit jobs, and wait until each is decided."""
    async with Publisher(settings) as publisher, Outcomes(settings) as outcomes:
        answers = [outcomes.expect(f"c-{id}") for id in ids]
        await publisher.publish_many([Outgoing(submit(id, id), f"c-{id}") for id in ids])
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*answers)


async def listed(pool: asyncpg.Pool, schema: str, ids: Sequence[str]) -> None:
    """Wait until the table holds these jobs and no other."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                rows = await pool.fetch(f'select job_id from "{schema}".jobs')
            except asyncpg.UndefinedTableError:
                rows = []
            if {row["job_id"] for row in rows} == set(ids):
                return
            await asyncio.sleep(0.05)


def position_of(folder: Path) -> Path:
    """How far the one agent of a cluster says it has read."""
    (found,) = folder.rglob("position.json")
    return found


def names(word: str, count: int) -> list[str]:
    return [f"{word}-{number}" for number in range(count)]


@pytest.mark.parametrize("since", [3, 40], ids=["shorter", "longer"])
async def test_tables_of_a_lost_log_are_set_aside_and_built_anew(
    settings: Settings, pool: asyncpg.Pool, since: int
) -> None:
    live = live_schema(settings, "jobs")
    async with at_work(settings, pool):
        await submitted(settings, names("old", 20))
        await listed(pool, live, names("old", 20))
    await lose(settings)
    async with running(Writer(SampleDecider(), settings).run()):
        await submitted(settings, names("new", since))
    async with at_work(settings, pool) as (_, runner):
        await listed(pool, live, names("new", since))
        await listed(pool, former_schema(live), names("old", 20))
        await until(lambda: runner.positions)
        assert not runner.status()["problems"]
        (note,) = runner.status()["notices"].values()
        assert "not of this log" in note
        assert former_schema(live) in note
        await submitted(settings, ["later"])
        await listed(pool, live, [*names("new", since), "later"])
        await rebuilding.rebuild(settings, SampleProjection(), forget_former=True)
        assert (await rebuilding.diff(settings, SampleProjection())).equal
        await until(lambda: not runner.status()["notices"], PATIENCE)


async def test_tables_of_a_lost_log_wait_for_a_rebuild_where_that_is_wanted(
    settings: Settings, pool: asyncpg.Pool
) -> None:
    settings = settings.model_copy(update={"lost_log": "stop"})
    live = live_schema(settings, "jobs")
    async with at_work(settings, pool):
        await submitted(settings, names("old", 20))
        await listed(pool, live, names("old", 20))
    await lose(settings)
    async with at_work(settings, pool) as (_, runner):
        await until(lambda: runner.status()["problems"], PATIENCE)
        (problem,) = runner.status()["problems"].values()
        assert "forgelog rebuild jobs" in problem
        assert not runner.positions
        with pytest.raises(QueryError, match="forgelog rebuild jobs"):
            async with ReadModel(runner, pool).view():
                pass
        with pytest.raises(RebuildFailed, match="not of this log"):
            await rebuilding.diff(settings, SampleProjection())
        await submitted(settings, ["new"])
        await rebuilding.rebuild(settings, SampleProjection())
        await listed(pool, live, ["new"])
        await until(lambda: runner.positions and not runner.status()["problems"], PATIENCE)


async def test_a_log_that_is_lost_under_those_who_read_it_is_noticed_by_all(
    settings: Settings, pool: asyncpg.Pool
) -> None:
    live = live_schema(settings, "jobs")
    async with Outcomes(settings) as outcomes, at_work(settings, pool) as (writer, _):
        await submitted(settings, names("old", 40))
        await listed(pool, live, names("old", 40))
        await lose(settings)
        async with asyncio.timeout(PATIENCE), Publisher(settings) as publisher:
            for number in range(100):  # what comes before all have noticed may be lost with the old log
                answer = outcomes.expect(f"n-{number}")
                await publisher.publish(submit("new", "new"), id=f"n-{number}")
                if await asyncio.wait({answer}, timeout=1.0) != (set(), {answer}):
                    break
        assert answer.result().events
        await listed(pool, live, ["new"])
        await until(lambda: writer.ready, PATIENCE)


async def test_who_waits_for_outcomes_goes_on_though_repairs_are_lost_too(settings: Settings) -> None:
    await topics.ensure_topics(settings)
    async with Producer(settings) as producer:
        await producer.send_all([ToSend(settings.prefix + topics.REPAIRS, b"of the log that will be lost")])
    async with asyncio.timeout(PATIENCE), Outcomes(settings) as outcomes:
        lasting = asyncio.create_task(outcomes.lasting())
        async with running(Writer(SampleDecider(), settings).run()):
            await submitted(settings, ["old"])
        await lose(settings)
        async with running(Writer(SampleDecider(), settings).run()), Publisher(settings) as publisher:
            answer = outcomes.expect("new")
            await publisher.publish(submit("new", "new"), id="new")
            await asyncio.wait({answer, lasting}, return_when=asyncio.FIRST_COMPLETED)
            assert not lasting.done()
            assert answer.result().events
        lasting.cancel()


async def test_what_ends_the_following_of_outcomes_is_raised(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topics.ensure_topics(settings)

    async def broken(*_: object) -> list[object]:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Tail, "poll_raw", broken)
    async with Outcomes(settings) as outcomes:
        with pytest.raises(RuntimeError, match="a defect"):
            await asyncio.wait_for(outcomes.lasting(), PATIENCE)


async def test_the_topics_are_there_again_before_the_writer_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others publish and read meanwhile: they don't wait for what the writer waits for."""
    monkeypatch.setattr("events.writer.writer._SESSION_SECONDS", 1000.0)
    own = settings.model_copy(update={"instance": "jobs-0"})
    await topics.ensure_topics(own)
    async with asyncio.timeout(PATIENCE), running(Writer(SampleDecider(), own).run()):
        await submitted(own, ["old"])
        await lose(own, for_good=True)
        async with Publisher(own) as publisher:
            await publisher.publish(submit("new", "new"), id="new")


async def test_a_writer_decides_the_commands_of_a_topic_that_was_made_anew(settings: Settings) -> None:
    await topics.ensure_topics(settings)
    writer = Writer(SampleDecider(), settings)
    async with running(writer.run()):
        await submitted(settings, names("old", 40))
    await lose(settings, [topics.commands("jobs")])
    async with running(writer.run()):
        await submitted(settings, names("new", 4))
        assert any("commands.jobs" in note for note in writer.status()["notices"].values())
    again = Writer(SampleDecider(), settings)
    async with running(again.run()):
        await submitted(settings, names("more", 4))
        states = {key for partition in again.partitions.values() for key, _ in partition.kinds["job"].states.items()}
    assert {*names("old", 40), *names("new", 4), *names("more", 4)} <= states


async def test_snapshots_of_a_lost_log_are_removed(settings: Settings, pool: asyncpg.Pool) -> None:
    snapshots = Snapshots(settings, pool, every=5)
    await snapshots.prepare()
    table = f'"{settings.schema_}_log".snapshots'
    turn = 0
    async with running(Writer(SampleDecider(), settings, snapshots).run()), asyncio.timeout(PATIENCE):
        while not await pool.fetchval(f"select count(*) from {table}"):
            await submitted(settings, [f"old-{turn}-{number}" for number in range(40)])
            turn += 1
    await lose(settings)
    async with running(Writer(SampleDecider(), settings).run()):
        await submitted(settings, names("new", 40 * turn + 100))  # so that none of its positions is behind the end
    again = Writer(SampleDecider(), settings, Snapshots(settings, pool, every=1_000_000))
    async with running(again.run()):
        await until(lambda: again.ready, PATIENCE)
        states = {key for partition in again.partitions.values() for key, _ in partition.kinds["job"].states.items()}
        assert states == set(names("new", 40 * turn + 100))
    assert await pool.fetchval(f"select count(*) from {table}") == 0


async def test_a_writer_learns_which_log_it_is_where_nothing_was_yet(settings: Settings, pool: asyncpg.Pool) -> None:
    place = ("resources", 2)
    snapshots = Snapshots(settings, pool, every=1_000_000)
    await snapshots.prepare()
    writer = Writer(Deaf(), settings, snapshots)
    async with running(writer.run()), Producer(settings) as producer:
        await until(lambda: writer.ready, PATIENCE)
        assert place not in snapshots.origins
        marker = [("ce_type", wire.MARKER), ("fl_epoch", b"0")]
        await producer.send_all(
            [ToSend(settings.prefix + topics.events(place[0]), b"{}", partition=place[1], headers=marker)]
        )
        await until(lambda: place in snapshots.origins, PATIENCE)
    assert snapshots.origins[place] == (await identity.compare(settings, [place], {})).origins[place]


async def test_a_position_is_held_against_the_log(settings: Settings, pool: asyncpg.Pool) -> None:
    for count in (40, 80):  # the tables then have jobs of the second writer, and so its epoch
        async with at_work(settings, pool):
            await submitted(settings, names("job", count))
            await listed(pool, live_schema(settings, "jobs"), names("job", count))
    stored = await read_stored(pool, live_schema(settings, "jobs"))
    place = max(stored, key=lambda each: stored[each].position.offset)
    (offset, epoch), origin = stored[place].position, stored[place].origin

    async def strange(position: ReaderPosition, of: str = origin) -> str:
        compared = await identity.compare(settings, list(stored), {place: StoredPosition(position, of)})
        return compared.mismatches.get(place, "")

    assert await strange(ReaderPosition(offset, epoch)) == ""
    assert await strange(ReaderPosition(offset, epoch), "") == ""  # as an earlier version stored it
    assert await strange(ReaderPosition()) == ""
    assert "begins with another record" in await strange(ReaderPosition(offset, epoch), "0" * 32)
    assert "ends at" in await strange(ReaderPosition(offset + 1000, epoch))
    # restored from an older copy and written on: by a writer that the position does not know
    assert "are others" in await strange(ReaderPosition(offset, 0))
    assert "are others" in await strange(ReaderPosition(offset, 1))
    absent = await identity.compare(settings, list(stored), {("jobs", 99): StoredPosition(ReaderPosition(3, 0))})
    assert absent.mismatches == {("jobs", 99): "there is no such partition"}


async def test_a_forged_epoch_does_not_stop_tables_that_start_behind_it(settings: Settings, pool: asyncpg.Pool) -> None:
    live = live_schema(settings, "jobs")
    async with at_work(settings, pool):
        await submitted(settings, names("job", 8))
        await listed(pool, live, names("job", 8))
    async with Producer(settings) as producer:
        topic, headers = settings.prefix + topics.events("jobs"), [("fl_epoch", b"soon")]
        forged = await producer.send_all([ToSend(topic, b"{}", partition=n, headers=headers) for n in range(4)])
    ends = {("jobs", number): stored.offset + 1 for number, stored in enumerate(forged)}
    async with running(Runner(SampleProjection(), settings, pool).run()), asyncio.timeout(PATIENCE):
        while any(stand.position.offset < ends[at] for at, stand in (await read_stored(pool, live)).items()):
            await asyncio.sleep(0.05)
    async with at_work(settings, pool):
        await submitted(settings, ["later"])
        await listed(pool, live, [*names("job", 8), "later"])


async def test_a_snapshot_that_waits_for_its_reader_goes_with_the_log(settings: Settings, pool: asyncpg.Pool) -> None:
    """Epochs are offsets: a writer of the log that is there now may have the same one as that of the lost log."""
    snapshots = Snapshots(settings, pool, every=1)
    await snapshots.prepare()
    old, new = (Partition(SampleDecider(), 0, 4, next_offset=end) for end in (9, 2))
    old.epoch = new.epoch = 0
    old.folded = 9
    snapshots.offer(old, ReaderPosition(5, 0))
    snapshots.start_over()
    new.folded = 1
    assert snapshots.due(new), "none is held any more"


async def test_a_reader_is_told_that_its_position_is_behind_the_end(settings: Settings) -> None:
    await topics.ensure_topics(settings)
    async with Tail(settings, ["jobs"], start={("jobs", 0): ReaderPosition(7)}) as tail:
        with pytest.raises(LogLost, match=r"events\.jobs/0@7"):
            await tail.poll_raw(PATIENCE)


@pytest.mark.parametrize("noted", [True, False], ids=["position noted", "no position yet"])
async def test_a_node_ends_what_a_lost_log_had_it_run_and_takes_what_the_new_one_says(
    settings: Settings, tmp_path: Path, noted: bool
) -> None:
    """The pool's answer to its registration says what may run, to an agent too that had noted nothing yet."""
    small = {"cpus": 0.1, "memory_bytes": 64 << 20}
    async with cluster(settings, tmp_path) as platform:
        job = await platform.submit("sleep", "1000", resources=small)
        pid = (await platform.event(JobStarted, lambda event: event.job_id == job)).tasks[0].pid
        await until(lambda: json.loads(position_of(tmp_path).read_bytes())["origin"], PATIENCE)
        for name in ("n0", *processes()):
            platform.kill(name)
        if not noted:
            await asyncio.to_thread(position_of(tmp_path).unlink)
        platform.watch_no_more()
        assert psutil.pid_exists(pid)
        await lose(settings)
        platform.seen.clear()
        platform.watching = asyncio.create_task(platform.watch())
        for name in processes():
            platform.start(name)
        platform.start_agent("n0")
        new = await platform.submit("true", resources=small)
        await platform.event(JobCompleted, lambda event: event.job_id == new)
        await until(lambda: not psutil.pid_exists(pid), PATIENCE)
        assert ("the log was lost or cut" in platform.log("n0")) == noted
        assert "the pool knows nothing of" in platform.log("n0")
        assert not platform.all(JobStarted, lambda event: event.job_id == job)
        platform.watch_no_more()
