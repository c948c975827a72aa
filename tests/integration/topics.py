"""Topics of the broker that a platform's tests share, as its pipelines name them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.log.access import options_of
from tests.integration.cluster import Cluster


def _options(platform: Cluster) -> dict[str, Any]:
    settings = platform.settings
    found = {"bootstrap_servers": settings.kafka}
    return found | (options_of(settings.kafka_config) if settings.kafka_config else {})


def connection_of(platform: Cluster) -> dict[str, Any]:
    """The broker as sources and triggers name it; its password is a secret of the node."""
    found = _options(platform)
    names = {"security_protocol": "security_protocol", "sasl_mechanism": "sasl_mechanism"}
    names |= {"sasl_plain_username": "sasl_username"}
    made: dict[str, Any] = {"url": found["bootstrap_servers"]}
    made["options"] = {name: str(found[given]) for given, name in names.items() if given in found}
    if "sasl_plain_password" in found:
        secrets = platform.folder / "n0" / "secrets"
        secrets.mkdir(exist_ok=True, mode=0o700)
        (secrets / "topics-kafka").write_text(str(found["sasl_plain_password"]))
        made["secret"] = {"name": "topics-kafka"}
    return made


async def send(platform: Cluster, topic: str, records: Iterable[tuple[int, dict[str, Any]]]) -> None:
    """Put records into their partitions, in order."""
    producer = AIOKafkaProducer(**_options(platform))
    await producer.start()
    try:
        for partition, value in records:
            await producer.send(topic, json.dumps(value).encode(), partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def new_topic(platform: Cluster) -> str:
    """Make a topic of two partitions; its name."""
    name = f"topic-{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(**_options(platform))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
    finally:
        await admin.close()
    return name
