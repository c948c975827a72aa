"""Consumers that know nothing of Forgelog read its topics, packed batches among them, as the how-to says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import kafka.record.default_records
import pytest
from kafka import KafkaConsumer, TopicPartition

from events.log import topics
from events.log.access import client_options
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings
from events.writer.writer import Writer
from tests import PATIENCE
from tests.access import admit_users, kcat_conf
from tests.integration.test_runtime import history, running, submit
from tests.unit.writer.sample import SampleDecider

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:kafka")]

HOW_TO = Path(__file__).parents[2] / "docs/how-to/api.md"
JOBS = 200
MARKER = "forgelog.log.v1.WriterStarted"

Shown = set[tuple[int, int, str, str]]
"""Partition, offset, type and subject of events."""


@pytest.fixture
async def topic(settings: Settings) -> str:
    """A topic of events with small batches and with such as are large enough to be packed."""
    await topics.ensure_topics(settings)
    async with Publisher(settings) as publisher, Outcomes(settings) as outcomes:
        # they wait for the writer, which then decides them together
        done = [outcomes.expect(f"c-{n}") for n in range(JOBS)]
        await asyncio.gather(*[publisher.publish(submit("job", f"c-{n}"), id=f"c-{n}") for n in range(JOBS)])
        async with running(Writer(SampleDecider(), settings).run()):
            await asyncio.wait_for(asyncio.gather(*done), PATIENCE)
            await publisher.publish(submit("last", "last"), id="last")
            await asyncio.wait_for(outcomes.expect("last"), PATIENCE)
    return settings.prefix + topics.events("jobs")


async def own(settings: Settings) -> Shown:
    """What the platform's own reader reads."""
    return {
        (event.position.partition, event.position.offset, event.meta.type, event.meta.subject)
        for event in await history(settings)
    }


async def test_the_consumer_of_the_how_to_reads_what_the_platform_reads(
    settings: Settings, topic: str, tmp_path: Path
) -> None:
    code = re.search(r"test_other_consumers.py.*?-->\n```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert code is not None
    await admit_users(settings)
    program = code[1].replace("~/.forgelog/kcat.conf", str(kcat_conf(settings, tmp_path)))
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        env={**os.environ, "TOPIC": topic},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line.split(" ") for line in ran.stdout.splitlines()]
    shown = {(int(partition), int(offset), kind, subject) for partition, offset, kind, subject in lines}
    assert len(lines) == len(shown) > JOBS
    assert shown == await own(settings)


async def test_a_consumer_in_pure_python_unpacks_the_batches(
    settings: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = []
    zstd_decode = kafka.record.default_records.zstd_decode
    monkeypatch.setattr(kafka.record.default_records, "zstd_decode", lambda b: unpacked.append(b) or zstd_decode(b))

    def read() -> Shown:
        consumer = KafkaConsumer(**client_options(settings), auto_offset_reset="earliest")
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        found: Shown = set()
        while any(consumer.position(place) < end for place, end in ends.items()):
            for place, records in consumer.poll(1000).items():
                for record in records:
                    headers = {name: value.decode() for name, value in record.headers}
                    if headers["ce_type"] != MARKER:
                        found.add((place.partition, record.offset, headers["ce_type"], headers["ce_subject"]))
        consumer.close()
        return found

    assert await asyncio.wait_for(asyncio.to_thread(read), PATIENCE) == await own(settings)
    assert unpacked
