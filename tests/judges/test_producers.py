"""Clients of Kafka that are not ours publish commands, each in its own way and with a codec of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import Producer
from kafka import KafkaProducer

from events.language.common import CommandRejected
from events.language.jobs import JobSubmitted
from events.log import topics
from events.log.access import client_options
from forgelog.embedded import jars, java
from forgelog.embedded.kafka_users import PRODUCER
from tests import PATIENCE
from tests.access import as_user, java_properties, kcat_conf, librdkafka
from tests.integration.cluster import Cluster
from tests.judges import tools

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:kafka")]

TYPE = "forgelog.jobs.v1.SubmitJob"

Publish = Callable[[Cluster, str, bytes, Mapping[str, str]], None]
"""Publishes one record to a topic, and returns when the broker has it."""


def run(command: Sequence[str], given: bytes, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, input=given, capture_output=True, timeout=PATIENCE, env={**os.environ, **(environment or {})}
    )
    assert done.returncode == 0, done.stderr.decode()


def kcat(platform: Cluster, topic: str, value: bytes, headers: Mapping[str, str]) -> None:
    given = [part for name, text in headers.items() for part in ("-H", f"{name}={text}")]
    conf = str(kcat_conf(platform.settings, platform.folder))
    run([str(tools.kcat()), "-F", conf, "-P", "-t", topic, "-z", "snappy", *given], value)


def confluent_kafka(platform: Cluster, topic: str, value: bytes, headers: Mapping[str, str]) -> None:
    producer = Producer(librdkafka(platform.settings) | {"compression.type": "lz4"})
    producer.produce(topic, value, headers=dict(headers))
    assert producer.flush(PATIENCE) == 0


def kafka_python(platform: Cluster, topic: str, value: bytes, headers: Mapping[str, str]) -> None:
    producer = KafkaProducer(**client_options(as_user(platform.settings, PRODUCER)), compression_type="gzip")
    try:
        sent = producer.send(topic, value, headers=[(name, text.encode()) for name, text in headers.items()])
        sent.get(timeout=PATIENCE)
    finally:
        producer.close()


def java_client(platform: Cluster, topic: str, value: bytes, headers: Mapping[str, str]) -> None:
    """Kafka's own console producer, which is the Java client and little more."""
    classes = os.pathsep.join([f"{jars.folder()}/*", str(tools.kafka_tools())])
    found = java.find()
    text = ",".join(f"{name}:{each}" for name, each in headers.items())
    flags = ["-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-cp", classes]
    config = platform.folder / "producer.properties"
    config.write_text("".join(f"{name}={text}\n" for name, text in java_properties(platform.settings).items()))
    own = ["--bootstrap-server", platform.settings.kafka_required, "--command-config", str(config), "--topic", topic]
    more = ["--compression-codec", "zstd", "--reader-property", "parse.headers=true"]
    line = text.encode() + b"\t" + value + b"\n"
    run([str(found.path), *flags, "org.apache.kafka.tools.ConsoleProducer", *own, *more], line)


@pytest.mark.parametrize("publish", [kcat, confluent_kafka, kafka_python, java_client], ids=lambda each: each.__name__)
async def test_what_it_publishes_is_decided(platform: Cluster, publish: Publish) -> None:
    topic = platform.settings.prefix + topics.commands("jobs")
    good: Any = {"spec": {"metadata": {"name": "Zoë, 数: a\\b"}, "command": "true", "args": ["x\ty"]}}
    bad: Any = {"spec": {**good["spec"], "colour": "red"}}
    for id, body in ((f"good-{publish.__name__}", good), (f"bad-{publish.__name__}", bad)):
        value = json.dumps(body, ensure_ascii=False).encode()
        with tools.skipped_if_missing():
            await asyncio.to_thread(publish, platform, topic, value, {"ce_id": id, "ce_type": TYPE})

    done = await platform.recorded(lambda record: record.meta.causation == f"good-{publish.__name__}")
    assert isinstance(done.data, JobSubmitted), done
    assert done.data.spec.model_dump(mode="json", exclude_defaults=True) == good["spec"]
    refused = await platform.recorded(lambda record: record.meta.causation == f"bad-{publish.__name__}")
    assert isinstance(refused.data, CommandRejected), refused
    assert [error.field for error in refused.data.errors] == ["spec.colour"]
