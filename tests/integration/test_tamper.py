"""A log that was changed on disk, cut, or written by a version from the future: each is noticed and named."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from events.audit import heads
from events.audit.audit import verify
from events.audit.heads import HeadsProblem, newest_heads, publish_heads
from events.audit.signing import public_bytes, public_key, signing_key
from events.hosting import open_pool
from events.language.jobs import JobSubmitted
from events.log import topics
from events.log.access import client_options
from events.log.connect import connected
from events.log.consumers import new_consumer
from events.log.producer import new_producer
from events.log.publish import Outgoing, Publisher
from events.log.reading import read_to_end
from events.log.repairing import look_at, skip
from events.log.tail import NoTopic
from events.process.settings import Settings
from events.projections.runner import Runner
from events.writer.writer import Writer
from forgelog.embedded.kafka import Kafka
from forgelog.embedded.process import Child, wait_ready
from tests import PATIENCE
from tests.conftest import Servers
from tests.integration.test_runtime import running, submit, submitted, until
from tests.unit.writer.sample import SampleDecider, SampleProjection

UNORDERED = b'{"place": "events.jobs/0", "offset": [], "digest": "", "key": "", "signature": ""}'


@pytest.fixture
async def broker() -> AsyncIterator[tuple[Kafka, list[Child]]]:
    """A broker of the test's own, whose files it may change while it is down."""
    folder = Path(tempfile.mkdtemp(prefix="forgelog tést, 数-"))
    kafka = Kafka(folder / "kafka", folder / "kafka.log")
    children: list[Child] = []
    try:
        await start(kafka, children)
        yield kafka, children
    finally:
        await asyncio.gather(*(child.stop() for child in children))
        shutil.rmtree(folder, ignore_errors=True)


async def start(kafka: Kafka, children: list[Child]) -> None:
    child = Child.start(await asyncio.to_thread(kafka.prepare))
    children.append(child)
    await wait_ready(child, kafka.ready, kafka.ready_seconds)


async def test_a_byte_that_was_flipped_on_disk_is_found_and_stops_its_place_alone(
    broker: tuple[Kafka, list[Child]], servers: Servers, tmp_path: Path
) -> None:
    kafka, children = broker
    name = f"t{tmp_path.name.replace('_', '')[-20:]}"
    settings = Settings(
        kafka=kafka.address,
        kafka_config=kafka.access.kafka_config,
        postgres=servers.postgres,
        prefix="tamper.",
        schema_=name,
        data=tmp_path / "data",
    )
    await topics.ensure_topics(settings)
    async with Publisher(settings) as publisher, running(Writer(SampleDecider(), settings).run()):
        await publisher.publish_many([Outgoing(submit("honest", f"h-{number}")) for number in range(20)])
        await submitted(settings, 20)
    assert all(found.intact for found in await verify(settings, ["jobs"]))

    await children.pop().stop()
    wanted = b"h-7"
    (segment,) = [
        path
        for path in kafka.folder.rglob("tamper.events.jobs-*/*.log")
        if b'"job_id":"' + wanted + b'"' in path.read_bytes()
    ]
    content = bytearray(segment.read_bytes())
    at = content.index(b'"name":"honest"', content.index(b'"job_id":"' + wanted + b'"')) + len(b'"name":"hon')
    content[at] ^= 1  # honest becomes hondst
    segment.write_bytes(content)
    await start(kafka, children)
    settings = settings.model_copy(update={"kafka": kafka.address})

    changed = [found for found in await verify(settings, ["jobs"]) if not found.intact]
    assert len(changed) == 1
    (problem,) = changed[0].problems
    partition = int(changed[0].place.rsplit("/", 1)[1])
    offset = int(problem.split()[1].rstrip(":"))
    async with new_consumer(settings, check_crcs=False) as consumer:
        place = TopicPartition("tamper.events.jobs", partition)
        consumer.assign([place])
        consumer.seek(place, offset)
        record = await consumer.getone()
    assert (record.offset, orjson.loads(record.value)["job_id"]) == (offset, wanted.decode())
    assert "was changed" in problem

    # Those who read it stop there, and nothing else does; told to, they go on. The audit is not to be told anything.
    pool = await open_pool(settings)
    writer, runner = Writer(SampleDecider(), settings), Runner(SampleProjection(), settings, pool)
    async with Publisher(settings) as publisher, running(writer.run(), runner.run()):
        await until(lambda: f"jobs/{partition}" in writer.stops and runner.stops)
        (stop,) = runner.stops
        assert "its checksum is wrong" in stop.cause
        assert {each.position for each in (*writer.stops, *runner.stops)} == {stop.position}
        await until(lambda: set(writer.partitions) == set(range(settings.partitions)) - {partition})
        damaged = await look_at(settings, stop.position)
        assert stop.position.offset <= offset <= damaged.last
        await skip(settings, damaged, "the disk is broken", "tester")
        await until(lambda: not writer.stops and not runner.stops and writer.ready)
        await publisher.publish_many([Outgoing(submit("new", f"new-{number}")) for number in range(16)])
        await until(
            lambda: (
                sum(
                    state.submitted
                    for each in writer.partitions.values()
                    for state in each.kinds["job"].states.values()
                )
                > 15
            )
        )
        async with pool.acquire() as db:
            count = f'select count(*) from "{runner.schema}".jobs where name = $1'
            async with asyncio.timeout(PATIENCE):
                while await db.fetchval(count, "new") < 16:
                    await asyncio.sleep(0.05)
    await pool.close()
    again = [found for found in await verify(settings, ["jobs"]) if not found.intact]
    assert [(found.place, found.problems) for found in again] == [(changed[0].place, [problem])]


async def test_a_history_that_was_cut_off_is_found(signed: tuple[Settings, Runner]) -> None:
    settings, _ = signed
    assert all(found.intact and found.heads for found in await verify(settings, ["jobs"]))

    # The same heads over another, shorter log: what a restored backup or a cut log looks like.
    heads = await newest_heads(settings)
    shorter = settings.model_copy(update={"prefix": f"{settings.prefix}cut."})
    await topics.ensure_topics(shorter)
    producer = new_producer(shorter)
    await producer.start()
    for body in heads.values():
        await producer.send_and_wait(shorter.prefix + topics.HEADS, orjson.dumps(body), key=body["place"].encode())
    await producer.stop()
    for found in await verify(shorter, ["jobs"]):
        assert [problem for problem in found.problems if "the log was cut" in problem], found
    for found in await verify(shorter, ["jobs"], since=[*heads.values()]):
        assert found.problems[0].startswith("offset 0: the log was cut"), "where it ends, not where it was to begin"


async def test_topics_and_partitions_that_heads_name_and_that_are_gone_are_told(
    signed: tuple[Settings, Runner],
) -> None:
    settings, _ = signed
    heads = await newest_heads(settings)
    bare = settings.model_copy(update={"prefix": f"{settings.prefix}bare."})
    await make_topic(bare, topics.HEADS)
    producer = new_producer(bare)
    async with connected(producer):
        for body in heads.values():
            await producer.send_and_wait(bare.prefix + topics.HEADS, orjson.dumps(body))
    names = {place: head["offset"] for place, head in heads.items()}
    assert {found.place: found.problems for found in await verify(bare, ["jobs"])} == {
        place: [f"offset 0: the topic is gone; a signed head names offset {offset}"] for place, offset in names.items()
    }

    await make_topic(bare, topics.events("jobs"))
    told = {found.place: found.problems[0] for found in await verify(bare, ["jobs"])}
    assert told.pop("events.jobs/0") == f"offset 0: the log was cut; a signed head names {names.pop('events.jobs/0')}"
    assert told == {
        place: f"offset 0: the partition is gone; a signed head names offset {offset}"
        for place, offset in names.items()
    }

    alone = settings.model_copy(update={"prefix": f"{settings.prefix}alone."})
    await make_topic(alone, topics.events("jobs"))
    assert (await verify(alone, ["jobs"]))[-1].problems == ["there is no topic of signed heads"]


async def test_a_context_that_is_not_known_or_has_not_begun_is_no_tampering(signed: tuple[Settings, Runner]) -> None:
    settings, _ = signed
    key = signing_key(settings)
    head = heads.signed(key, public_bytes(key).hex(), ("notes", 2), 7, "00" * 32)
    producer = new_producer(settings)
    async with connected(producer):
        await producer.send_and_wait(settings.prefix + topics.HEADS, orjson.dumps(head))
    found = {each.place: each for each in await verify(settings)}
    assert found["events.notes/2"].problems == ["offset 0: the topic is gone; a signed head names offset 7"]

    await make_topic(settings, "events.notes")
    found = {each.place: each for each in await verify(settings)}
    assert all(each.intact for each in found.values())
    assert {place: each.unchecked for place, each in found.items() if each.unchecked} == {
        "events.notes/2": "no context 'notes' is known here; set FORGELOG_CONTEXTS"
    }
    assert "events.notes/2" not in {each.place for each in await verify(settings, ["jobs", "scheduling"])}

    fresh = settings.model_copy(update={"prefix": f"{settings.prefix}fresh."})
    await make_topic(fresh, topics.HEADS)
    assert {each.place: (each.problems, each.unchecked) for each in await verify(fresh)} == {
        f"{topics.events(context)}/0": ([], "there is no such topic, and no head that was checked names it")
        for context in topics.CONTEXTS
    }


async def make_topic(settings: Settings, name: str) -> None:
    """A topic with one partition, and no other."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    await admin.create_topics([NewTopic(settings.prefix + name, 1, 1)])
    await admin.close()
    async with asyncio.timeout(PATIENCE):
        while name not in await topics.existing(settings, [name]):
            await asyncio.sleep(0.05)


@pytest.fixture
async def signed(settings: Settings) -> AsyncIterator[tuple[Settings, Runner]]:
    """A short history whose heads are signed; and the runner that tells of newer ones."""
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    runner = Runner(SampleProjection(), settings, pool)
    async with Publisher(settings) as publisher, running(Writer(SampleDecider(), settings).run(), runner.run()):
        await publisher.publish_many([Outgoing(submit("x", f"x-{number}")) for number in range(8)])
        await submitted(settings, 8)
        await until(lambda: sum(offset for offset, _ in runner.heads.values()) >= 8)
        async with running(publish_heads(settings, runner)):
            await heads_of(settings, len(runner.heads))
        yield settings, runner
    await pool.close()


async def heads_of(settings: Settings, count: int) -> None:
    """Wait until so many partitions have a signed head."""
    async with asyncio.timeout(PATIENCE):
        while len(await newest_heads(settings)) < count:
            await asyncio.sleep(0.05)


async def test_an_audit_without_the_key_says_so_and_makes_none(signed: tuple[Settings, Runner]) -> None:
    settings, _ = signed
    key = settings.data / "audit.key"
    kept = key.read_bytes()
    for spoil, told in ((key.unlink, "there is no"), (lambda: key.write_bytes(b"x"), "is damaged")):
        spoil()
        before = sorted(settings.data.iterdir())
        *partitions, heads = await verify(settings, ["jobs"])
        assert all(found.intact and not found.heads for found in partitions), "the chain needs no key"
        (problem,) = heads.problems
        assert f"{told} {key}" in problem or f"{key} {told}" in problem
        assert "put a copy of the platform's key back" in problem
        assert sorted(settings.data.iterdir()) == before
    key.write_bytes(kept)
    assert all(found.intact and found.heads for found in await verify(settings, ["jobs"]))


async def test_heads_of_another_key_are_told_once_a_partition(signed: tuple[Settings, Runner]) -> None:
    settings, _ = signed
    (settings.data / "audit.key").unlink()
    signing_key(settings)
    for found in await verify(settings, ["jobs"]):
        (problem,) = found.problems
        assert "1 of 1 signed heads" in problem
        assert "not signed by this platform's key" in problem


async def test_a_damaged_key_stops_the_signing_alone_and_is_told(signed: tuple[Settings, Runner]) -> None:
    settings, runner = signed
    other = settings.model_copy(update={"data": settings.data / "other"})
    other.data.mkdir()
    (other.data / "audit.key").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    notices: dict[str, str] = {}
    async with running(publish_heads(other, runner, notices)):
        await until(lambda: notices)
        assert f"{other.data / 'audit.key'} is damaged" in notices["audit.heads"]
        (other.data / "audit.key").unlink()
        await until(lambda: not notices)


async def test_an_auditor_needs_the_public_key_alone_and_leaves_nothing_behind(
    signed: tuple[Settings, Runner], tmp_path: Path
) -> None:
    settings, _ = signed
    trusted = public_key(settings)
    elsewhere = settings.model_copy(update={"data": tmp_path / "auditor"})
    found = await verify(elsewhere, ["jobs"], key=trusted, signed_until=datetime.now(UTC))
    assert all(each.intact and each.heads for each in found), found
    assert not elsewhere.data.exists()

    nowhere = elsewhere.model_copy(update={"prefix": f"{settings.prefix}nobody."})
    with pytest.raises(NoTopic, match=r"there is no topic .*nobody\.events\.jobs"):
        await verify(nowhere, ["jobs"], key=trusted)
    with pytest.raises(NoTopic, match=r"there is no topic .*nobody\.audit\.heads at"):
        await newest_heads(nowhere)
    assert await topics.existing(nowhere) == {}, "an audit makes no topics"

    scheduling = {**next(iter((await newest_heads(settings)).values())), "place": "events.scheduling/0"}
    for given in ({"saved": [scheduling]}, {"since": [scheduling]}):
        with pytest.raises(HeadsProblem, match=r"none of the 1 saved heads is of events\.jobs; give heads of"):
            await verify(elsewhere, ["jobs"], key=trusted, **given)

    foreign = Ed25519PrivateKey.generate()
    for each in await verify(elsewhere, ["jobs"], key=public_bytes(foreign)):
        assert "1 of 1 signed heads" in each.problems[0], "a key that signed nothing here"


async def test_heads_that_somebody_else_wrote_are_not_taken_for_the_newest(signed: tuple[Settings, Runner]) -> None:
    """Saved in place of the platform's own they would prove nothing later."""
    settings, _ = signed
    own, trusted = await newest_heads(settings), public_key(settings)
    producer = new_producer(settings)
    async with connected(producer):
        for head in own.values():
            for forged in ({**head, "offset": 1 << 40}, {**head, "offset": 1 << 41, "key": "00" * 32}):
                await producer.send_and_wait(settings.prefix + topics.HEADS, orjson.dumps(forged))
    assert {head["offset"] for head in (await newest_heads(settings)).values()} == {1 << 41}
    assert await newest_heads(settings, trusted) == own


async def test_removed_heads_are_told_with_the_records_that_they_covered(signed: tuple[Settings, Runner]) -> None:
    settings, _ = signed
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    ends = await heads_end(settings)
    await admin.delete_records({TopicPartition(settings.prefix + topics.HEADS, 0): RecordsToDelete(ends)})
    await admin.close()
    *partitions, about = await verify(settings, ["jobs"], signed_until=datetime.now(UTC))
    assert about.problems == [f"offset 0: records up to {ends - 1} are missing: heads were removed"]
    for found in partitions:
        (problem,) = found.problems
        assert problem.startswith("offset 1: no signed head covers the"), found

    # The key has gone, too: that there is no head to check is no reason to be content.
    empty = settings.model_copy(update={"prefix": f"{settings.prefix}empty."})
    await topics.ensure_topics(empty)
    await copy_log(settings, empty)
    (settings.data / "audit.key").unlink()
    about = (await verify(empty, ["jobs"], signed_until=datetime.now(UTC)))[-1]
    assert "the signed heads were not checked: there is no" in about.problems[-1]


async def test_of_two_logs_that_share_a_beginning_a_saved_head_names_the_one_that_it_is_not_of(
    signed: tuple[Settings, Runner],
) -> None:
    settings, runner = signed
    shared = await newest_heads(settings)
    other = settings.model_copy(update={"prefix": f"{settings.prefix}restored."})
    await topics.ensure_topics(other)
    await copy_log(settings, other)  # a backup, which somebody starts once more
    async with Publisher(settings) as first, Publisher(other) as second, running(Writer(SampleDecider(), other).run()):
        await first.publish_many([Outgoing(submit("first", f"first-{number}")) for number in range(16)])
        await second.publish_many([Outgoing(submit("second", f"second-{number}")) for number in range(16)])
        await submitted(settings, 24)
        await submitted(other, 24)
    async with running(publish_heads(settings, runner)):
        later = await moved(settings, shared)

    assert all(each.intact for each in await verify(settings, ["jobs"], saved=[*shared.values(), *later.values()]))
    assert all(
        each.intact for each in await verify(other, ["jobs"], key=public_key(settings), saved=[*shared.values()])
    )
    found = await verify(other, ["jobs"], key=public_key(settings), saved=[*later.values()])
    for each in found:
        head = later[each.place]["offset"]
        (problem,) = each.problems
        assert (
            problem.startswith(f"offset {head}: the history up to here is not the one") or "the log was cut" in problem
        )

    # The same, read only from where the two were one.
    behind = await verify(settings, ["jobs"], since=[*shared.values()])
    assert all(each.intact for each in behind)
    assert {each.place: each.first for each in behind} == {place: head["offset"] for place, head in shared.items()}
    forged = {**shared["events.jobs/0"], "time": "0001-01-01T00:00:00Z"}
    told = await verify(settings, ["jobs"], since=[*shared.values(), forged])
    assert "is not signed by this key; it proves nothing" in told[0].problems[0]
    (problem, *_) = (await verify(other, ["jobs"], key=public_key(settings), since=[*later.values()]))[0].problems
    assert int(problem.split()[1].rstrip(":")) <= later["events.jobs/0"]["offset"]


async def test_a_service_signs_at_its_start_what_the_one_before_left_unsigned(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not later: a verification right after `up` would report removed heads."""
    monkeypatch.setattr(heads, "HEADS_EVERY", 3600)
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    runner = Runner(SampleProjection(), settings, pool)
    async with Publisher(settings) as publisher, running(Writer(SampleDecider(), settings).run(), runner.run()):
        await publisher.publish_many([Outgoing(submit("x", f"x-{number}")) for number in range(8)])
        await submitted(settings, 8)
        await until(lambda: sum(offset for offset, _ in runner.heads.values()) >= 8)
    assert await newest_heads(settings) == {}, "it was killed before it signed"
    again = Runner(SampleProjection(), settings, pool)
    async with running(again.run(), publish_heads(settings, again)):
        await heads_of(settings, len(runner.heads))
    assert again.heads == runner.heads
    assert all(found.intact for found in await verify(settings, ["jobs"], signed_until=datetime.now(UTC)))
    await pool.close()


async def moved(settings: Settings, before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Newer heads of all these places."""
    async with asyncio.timeout(PATIENCE):
        while True:
            now = await newest_heads(settings)
            if all(now[place]["offset"] > head["offset"] for place, head in before.items()):
                return now
            await asyncio.sleep(0.05)


async def heads_end(settings: Settings) -> int:
    place = TopicPartition(settings.prefix + topics.HEADS, 0)
    async with connected(new_consumer(settings)) as consumer:
        return int((await consumer.end_offsets([place]))[place])


async def copy_log(settings: Settings, other: Settings) -> None:
    """All records of the jobs' topics, byte for byte."""
    names = [topics.commands("jobs"), topics.events("jobs")]
    places = [TopicPartition(settings.prefix + name, n) for name in names for n in range(settings.partitions)]
    producer = new_producer(other)
    async with connected(producer), connected(new_consumer(settings)) as consumer:
        async for place, records in read_to_end(consumer, dict.fromkeys(places, 0)):
            for record in records:
                topic = other.prefix + place.topic.removeprefix(settings.prefix)
                options: dict[str, Any] = {"partition": place.partition, "headers": list(record.headers)}
                options["timestamp_ms"] = record.timestamp
                await producer.send_and_wait(topic, record.value, key=record.key, **options)


async def test_what_is_no_signed_head_is_told_and_stops_no_audit(settings: Settings) -> None:
    await topics.ensure_topics(settings)
    producer = new_producer(settings)
    await producer.start()
    for nonsense in (b"{", b"[]", b'{"offset": 7}', b"", UNORDERED):
        await producer.send_and_wait(settings.prefix + topics.HEADS, nonsense)
    await producer.stop()
    *partitions, heads = await verify(settings, ["jobs"])
    assert all(found.intact for found in partitions)
    assert (heads.place, len(heads.problems)) == ("audit.heads/0", 5)


async def test_an_event_from_the_future_stops_its_partition_and_nothing_is_skipped(settings: Settings) -> None:
    await topics.ensure_topics(settings)
    writer = Writer(SampleDecider(), settings)
    pool = await open_pool(settings)
    runner = Runner(SampleProjection(), settings, pool)
    async with Publisher(settings) as publisher:
        async with running(writer.run()):
            await publisher.publish_many([Outgoing(submit("old", f"old-{number}")) for number in range(8)])
            await submitted(settings, 8)
            stopped, epoch = 0, writer.partitions[0].epoch
        producer = new_producer(settings)
        await producer.start()
        await producer.send_and_wait(
            settings.prefix + topics.events("jobs"),
            b'{"job_id":"old-0","shiny":true}',
            key=b"old-0",
            partition=stopped,
            headers=[
                ("ce_id", b"from-the-future"),
                ("ce_type", b"forgelog.jobs.v9.JobTeleported"),
                ("ce_subject", b"old-0"),
                ("fl_epoch", str(epoch).encode()),
            ],
        )
        await producer.stop()
        async with running(runner.run()):
            await until(lambda: runner.status()["problems"])
            (problem,) = runner.status()["problems"].values()
            assert "forgelog.jobs.v9.JobTeleported" in problem
            assert "upgrade" in problem

        # A writer can't fold that partition, so it takes no commands for it; the others go on.
        again = Writer(SampleDecider(), settings)
        async with running(again.run()):
            await until(lambda: again.stops and len(again.partitions) == settings.partitions - 1)
            # (It may have met the event as an input too: jobs reacts to its own context's events.)
            assert all("forgelog.jobs.v9.JobTeleported" in problem for problem in again.status()["problems"].values())
            assert f"jobs/{stopped}" in again.stops
            assert stopped not in again.partitions
            await publisher.publish_many([Outgoing(submit("new", f"new-{number}")) for number in range(16)])
            async with asyncio.timeout(PATIENCE):
                while True:
                    done = await valid_ids(settings, skip=stopped)
                    if any(id.startswith("new-") for id in done):
                        break
    await pool.close()


async def valid_ids(settings: Settings, skip: int) -> list[str]:
    """Jobs submitted in the partitions that can be read."""
    topic = settings.prefix + topics.events("jobs")
    places = [TopicPartition(topic, number) for number in range(settings.partitions) if number != skip]
    found: list[str] = []
    async with connected(new_consumer(settings)) as consumer:
        async for _, records in read_to_end(consumer, dict.fromkeys(places, 0)):
            for record in records:
                if dict(record.headers).get("ce_type") == JobSubmitted.type_name().encode():
                    found.append(orjson.loads(record.value)["job_id"])
    return found
