"""Events of a span of time out of a real log: all of them, once, in order, and none that is no part of the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition

from events.audit.audit import verify
from events.language.jobs import JobSubmitted
from events.log import exporting, topics
from events.log.connect import connected
from events.log.consumers import new_consumer
from events.log.exporting import CantExport, Exported, exported
from events.log.positions import EpochRule
from events.log.producer import new_producer
from events.log.publish import Outgoing, Publisher
from events.log.reading import read_to_end
from events.log.tail import NoTopic
from events.process.settings import Settings
from events.writer.writer import Writer
from tests.integration.test_runtime import running, submit, submitted
from tests.unit.writer.sample import SampleDecider


async def export(settings: Settings, **wanted: Any) -> list[Exported]:
    return [event async for batch in exported(settings, ["jobs"], **wanted) for event in batch]


async def in_the_log(settings: Settings) -> list[str]:
    """The positions of the events as any reader of the log finds them, by time."""
    topic = settings.prefix + topics.events("jobs")
    places = [TopicPartition(topic, number) for number in range(settings.partitions)]
    rules = {place: EpochRule(begun=0) for place in places}
    found = []
    async with connected(new_consumer(settings)) as consumer:
        async for place, records in read_to_end(consumer, dict.fromkeys(places, 0)):
            found += [raw for raw in records if rules[place].admits(raw) and not raw.is_marker]
    return [str(raw.position) for raw in sorted(found, key=lambda raw: (raw.time(), raw.partition, raw.offset))]


async def write(settings: Settings, turns: int, count: int) -> None:
    """Some history, by one writer after the other."""
    await topics.ensure_topics(settings)
    async with Publisher(settings) as publisher:
        for turn in range(turns):
            async with running(Writer(SampleDecider(), settings).run()):
                ids = [f"t{turn}-{number}" for number in range(count)]
                await publisher.publish_many([Outgoing(submit("x", id), id) for id in ids])
                await submitted(settings, count * (turn + 1))


async def test_all_events_come_once_in_order_with_their_envelopes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        NoTopic, match=r"there is no topic .*events\.jobs at .*; give the address of the platform's Kafka"
    ):
        await export(settings)  # an empty file would say that nothing happened
    monkeypatch.setattr(exporting, "BATCH", 7)
    monkeypatch.setattr(exporting, "LOOK_BACK", 5)
    await write(settings, turns=3, count=20)
    told: list[tuple[int, int]] = []
    events = await export(settings, progress=lambda done, total: told.append((done, total)))
    assert [event["position"] for event in events] == await in_the_log(settings)
    assert told == sorted(told)
    assert told[-1][0] <= told[-1][1]
    assert set(events[0]) == set(exporting.FIELDS)
    one = next(event for event in events if event["id"] == "t1-3.0")
    assert (one["type"], one["subject"], one["actor"]) == (JobSubmitted.type_name(), "t1-3", "owner")
    assert one["cause"].startswith("commands.jobs/")
    assert orjson.loads(one["data"])["job_id"] == "t1-3"
    last = {event["partition"]: event["hash"] for event in events}
    assert {int(found.place[-1]): found.digest for found in await verify(settings, ["jobs"])} == last

    # Every span of time that ends where the next one begins.
    times = sorted({event["time"] for event in events})
    cuts = [times[len(times) // 3], times[2 * len(times) // 3]]
    spans = [{"until": cuts[0]}, {"since": cuts[0], "until": cuts[1]}, {"since": cuts[1]}]
    parts = [await export(settings, **span) for span in spans]
    assert all(parts)
    assert [event for part in parts for event in part] == events
    assert await export(settings, since=times[-1] + timedelta(seconds=1)) == []

    assert await export(settings, types=["forgelog.jobs.v1.JobFailed"]) == []
    assert await export(settings, types=[JobSubmitted.type_name()], projects=["local/default"]) == [
        event for event in events if event["type"] == JobSubmitted.type_name()
    ]
    assert await export(settings, projects=["local/other"]) == []


async def test_void_records_are_left_out_and_what_can_t_be_told_stops_it(settings: Settings) -> None:
    await write(settings, turns=2, count=8)
    whole = await export(settings)

    async def append(value: bytes, epoch: int) -> str:
        producer = new_producer(settings)
        headers = [("ce_id", b"late"), ("ce_type", JobSubmitted.type_name().encode()), ("ce_subject", b"late")]
        headers += [("ce_time", b"2026-01-01T00:00:00Z"), ("fl_epoch", str(epoch).encode())]
        async with connected(producer):
            topic = settings.prefix + topics.events("jobs")
            stored = await producer.send_and_wait(topic, value, key=b"late", partition=0, headers=headers)
        return f"events.jobs/0@{stored.offset}"

    await append(b"{}", epoch=0)  # of a writer that was replaced
    assert await export(settings) == whole
    newest = max(event["epoch"] for event in whole if event["partition"] == 0)
    broken = await append(b'{"job_id":', epoch=newest)
    with pytest.raises(CantExport, match=rf"{broken} is no whole event: .*; see 'forgelog repair'"):
        await export(settings)
    assert await export(settings, until=datetime.now(UTC) - timedelta(days=1)) == []
