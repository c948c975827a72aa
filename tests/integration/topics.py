"""Topics of the broker that a platform's tests share, as its pipelines name them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.log.access import options_of
from tests import PATIENCE
from tests.integration.cluster import Cluster


class Broker(Protocol):
    """Where it is, and with what one gets in: `Servers`, or a platform's settings."""

    @property
    def kafka(self) -> str | None: ...

    @property
    def kafka_config(self) -> Path | None: ...


def options(broker: Broker) -> dict[str, Any]:
    """Arguments of aiokafka's clients."""
    found = {"bootstrap_servers": broker.kafka}
    return found | (options_of(broker.kafka_config) if broker.kafka_config else {})


def connection(broker: Broker, secret: str) -> tuple[dict[str, Any], str]:
    """The broker as sources, sinks and triggers name it, and the password that the secret of that name has to hold;
    empty where none is wanted."""
    found = options(broker)
    names = {"security_protocol": "security_protocol", "sasl_mechanism": "sasl_mechanism"}
    names |= {"sasl_plain_username": "sasl_username"}
    made: dict[str, Any] = {"url": broker.kafka}
    made["options"] = {name: str(found[given]) for given, name in names.items() if given in found}
    password = str(found.get("sasl_plain_password", ""))
    if password:
        made["secret"] = {"name": secret}
    return made, password


def connection_of(platform: Cluster) -> dict[str, Any]:
    """The broker as sources and triggers name it; its password is a secret of the node."""
    made, password = connection(platform.settings, "topics-kafka")
    if password:
        secrets = platform.folder / "n0" / "secrets"
        secrets.mkdir(exist_ok=True, mode=0o700)
        (secrets / "topics-kafka").write_text(password)
    return made


async def send(platform: Cluster, topic: str, records: Iterable[tuple[int, dict[str, Any]]]) -> None:
    """Put records into their partitions, in order."""
    producer = AIOKafkaProducer(**options(platform.settings))
    await producer.start()
    try:
        for partition, value in records:
            await producer.send(topic, json.dumps(value).encode(), partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def new_topic(broker: Broker) -> str:
    """Make a topic of two partitions; its name."""
    name = f"topic-{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(**options(broker))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
        async with asyncio.timeout(PATIENCE):
            while name not in await admin.list_topics():  # the controller knows it before the broker does
                await asyncio.sleep(0.02)
    finally:
        await admin.close()
    return name
