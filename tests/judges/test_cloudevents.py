"""The SDK of the CloudEvents project reads what the log holds, and what it makes is taken as a command."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import http as http_binding
from cloudevents.core.bindings import kafka as kafka_binding
from cloudevents.core.bindings.kafka import KafkaMessage
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from events.language.base import Command, Event, Message
from events.language.jobs import JobCompleted
from events.language.registry import lookup, upcast
from events.log import topics
from events.log.envelope import Meta
from events.log.ids import derived_id
from events.log.wire import Raw, headers_of, value_of
from events.writer.encoding import Encoder, Origin
from proto.golden import FOLDER
from tests import PATIENCE
from tests.access import librdkafka
from tests.integration.cluster import SERVICES, Cluster

SAMPLES = sorted(FOLDER.glob("forgelog.*.json"))
TIME = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PROJECT, ACTOR, TRACE = "zurich/ml", "Zoë 数", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
JOB = {"spec": {"metadata": {"name": "judged"}, "command": "true"}}


def read(key: bytes | None, value: bytes, headers: Any) -> BaseCloudEvent:
    """A record as the SDK sees it: in binary mode, since it has headers that begin with ``ce_``."""
    given = dict(headers)
    assert len(given) == len(headers), "a header stands twice"
    return kafka_binding.from_kafka(KafkaMessage(given, key, value), JSONFormat())


def attributes_of(event: BaseCloudEvent) -> dict[str, Any]:
    return {name: value for name, value in event.get_attributes().items() if name != "id"}


def recorded(path: Path) -> Message:
    sample = json.loads(path.read_text())
    name, value = upcast(sample["type"], json.dumps(sample["value"]).encode())
    kind = lookup(name)
    assert kind is not None
    return kind.model_validate_json(value)


def logged(event: Event) -> Raw:
    """An event as its writer appends it."""
    origin = Origin("c-1", "flow-1", ACTOR, PROJECT, TRACE, "commands.jobs/3@7|digest")
    encoder = Encoder(event.context)
    project = getattr(event, "project", "") or PROJECT
    placed = (event, event.key(), event.subject(), project, ACTOR, "flow-1", TRACE, "")
    (record,) = encoder.records([placed], origin, TIME)
    return record.at(topics.events(event.context), 0, 0)


def published(command: Command) -> Raw:
    """A command as a client or the gateway publishes it."""
    meta = Meta(
        "c-1", command.type_name(), command.subject(), TIME, PROJECT, ACTOR, "forgelog/test", "flow-1", "c-0", TRACE
    )
    headers = headers_of(meta)
    return Raw(topics.commands(command.context), 0, 0, 0, command.key().encode(), value_of(command), headers)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_recorded_sample_is_a_cloudevent_with_what_was_written(path: Path) -> None:
    message = recorded(path)
    record = logged(message) if isinstance(message, Event) else published(message)  # type: ignore[arg-type]
    event = read(record.key, record.value or b"", record.headers)
    assert event.get_data() == json.loads(record.value or b"")
    assert type(message).model_validate(event.get_data()) == message
    own = getattr(message, "project", "") if isinstance(message, Event) else ""
    assert attributes_of(event) == {
        "specversion": "1.0",
        "type": message.type_name(),
        "source": f"forgelog/{message.context}" if isinstance(message, Event) else "forgelog/test",
        "subject": message.subject(),
        "time": TIME,
        "datacontenttype": "application/json",
        "partitionkey": message.key(),
        "project": own or PROJECT,
        "actor": ACTOR,
        "correlationid": "flow-1",
        "causationid": "c-1" if isinstance(message, Event) else "c-0",
    }


@pytest.mark.slow
async def test_every_event_of_a_log_is_a_cloudevent(platform: Cluster, http: httpx.AsyncClient) -> None:
    """A job from submit to end, with what came meanwhile, the writers' markers among it."""
    done = await http.post("/v1/commands", json={"type": "SubmitJob", "id": "judged-log", "data": JOB})
    assert done.status_code == 200, done.text
    await platform.event(JobCompleted, lambda event: event.job_id == derived_id("j", "judged-log"))

    found = await asyncio.wait_for(asyncio.to_thread(all_of, platform, list(map(topics.events, SERVICES))), PATIENCE)
    kinds = {event.get_type().rsplit(".", 1)[-1] for event in found}
    assert {"JobSubmitted", "JobScheduled", "JobStarted", "JobCompleted", "WriterStarted"} <= kinds
    for event in found:
        kind = lookup(event.get_type())
        assert kind is not None
        kind.model_validate(event.get_data())
        assert event.get_datacontenttype() == "application/json"
        assert event.get_source()
        assert event.get_subject()
        assert event.get_extension("project") or event.get_type().startswith("forgelog.log."), event.get_attributes()


def all_of(platform: Cluster, names: list[str]) -> list[BaseCloudEvent]:
    """Every record of these topics that is there now, as librdkafka and the SDK read them."""
    consumer = Consumer(
        {
            **librdkafka(platform.settings),
            "group.id": "judge",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    unread: set[tuple[str, int]] = set()
    for name in (platform.settings.prefix + name for name in names):
        unread |= {(name, number) for number in consumer.list_topics(name).topics[name].partitions}
    consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for name, number in unread])
    found = []
    while unread:
        record = consumer.poll(1)
        if record is not None and record.error():
            assert record.error().code() == KafkaError._PARTITION_EOF, record.error()
            unread.discard((record.topic(), record.partition()))
        elif record is not None:
            found.append(read(record.key(), record.value(), record.headers()))
    consumer.close()
    return found


def command(id: str) -> CloudEvent:
    """A command as a user of the SDK makes it."""
    given = {
        "id": id,
        "type": "forgelog.jobs.v1.SubmitJob",
        "source": "https://example.org/café",
        "project": PROJECT,
        "datacontenttype": "application/json",
    }
    return CloudEvent(given, JOB)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_a_command_that_the_sdk_makes_is_taken(http: httpx.AsyncClient, platform: Cluster, mode: str) -> None:
    event = command(f"judged-{mode}")
    make = http_binding.to_structured_event if mode == "structured" else http_binding.to_binary_event
    message = make(event)
    done = await http.post("/v1/commands", content=message.body, headers=message.headers)
    assert done.status_code == 200, done.text
    await submitted(platform, event)


@pytest.mark.slow
async def test_a_record_that_the_sdk_makes_is_a_command(platform: Cluster) -> None:
    event = command("judged-kafka")
    message = kafka_binding.to_binary_event(event)
    producer = Producer(librdkafka(platform.settings))
    topic = platform.settings.prefix + topics.commands("jobs")
    producer.produce(topic, message.value, message.key, headers=dict(message.headers))
    assert await asyncio.to_thread(producer.flush, PATIENCE) == 0
    await submitted(platform, event)


async def submitted(platform: Cluster, command: CloudEvent) -> None:
    """The event that a command led to, with what its envelope said."""
    record = await platform.recorded(lambda record: record.meta.causation == command.get_id())
    assert record.meta.type == "forgelog.jobs.v1.JobSubmitted"
    assert (record.meta.project, record.meta.correlation) == (PROJECT, command.get_id())
