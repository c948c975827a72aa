"""Publishing commands: the producer's side of the log. Knows nothing of decisions or outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from aiokafka import AIOKafkaProducer

from events.language.base import Command
from events.language.common import DEFAULT_ACTOR, DEFAULT_PROJECT
from events.log.connect import start
from events.log.envelope import Meta, Position
from events.log.ids import new_command_id, with_assigned_id
from events.log.partition import partition_of
from events.log.topics import commands
from events.log.wire import headers_of, value_of
from events.runtime.settings import Settings

MAX_RECORD_BYTES = 4 << 20
"""What the broker takes in one record (``max.message.bytes`` of the topics)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A command and its envelope. Empty `id` and None `time` are filled in when it is published."""

    command: Command
    id: str = ""
    project: str = DEFAULT_PROJECT
    actor: str = DEFAULT_ACTOR
    correlation: str = ""
    causation: str = ""
    traceparent: str = ""
    time: datetime | None = None
    source: str = "forgelog"


@dataclass(frozen=True, slots=True)
class Published:
    """A command that Kafka has stored (acks=all). What became of it is told by `events.log.outcomes`."""

    id: str
    position: Position
    subject: str


def new_producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """An idempotent producer with the log's limits."""
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_required,
        enable_idempotence=True,
        acks="all",
        max_batch_size=MAX_RECORD_BYTES,
        max_request_size=MAX_RECORD_BYTES,
        client_id=settings.instance or "forgelog",
        **options,
    )


class Publisher:
    """Publishes commands to the partition where their aggregate lives.

    An async context manager. Errors are Kafka's (`aiokafka.errors.KafkaError`); a command whose publishing failed may
    or may not be in the log: publish it again under the same id.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Publisher:
        self._producer = new_producer(self._settings)
        await start(self._producer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def publish(
        self,
        command: Command,
        *,
        id: str | None = None,
        project: str = DEFAULT_PROJECT,
        actor: str = DEFAULT_ACTOR,
        correlation: str = "",
        causation: str = "",
        traceparent: str = "",
        time: datetime | None = None,
    ) -> Published:
        """Publish one command and wait until Kafka has it."""
        item = Outgoing(command, id or "", project, actor, correlation, causation, traceparent, time)
        return (await self.publish_many([item]))[0]

    async def publish_many(self, items: Sequence[Outgoing]) -> list[Published]:
        """Publish several commands together; returns when Kafka has them all."""
        pending = [await self._send(item) for item in items]
        records = await asyncio.gather(*(future for _, _, future in pending))
        return [
            Published(
                id, Position(record.topic[len(self._settings.prefix) :], record.partition, record.offset), subject
            )
            for (id, subject, _), record in zip(pending, records, strict=True)
        ]

    async def _send(self, item: Outgoing) -> tuple[str, str, asyncio.Future[Any]]:
        if self._producer is None:
            raise RuntimeError("Publisher is used outside its `async with` block")
        id = item.id or new_command_id()
        command = with_assigned_id(item.command, id)
        key, subject = command.key(), command.subject()
        meta = Meta(
            id=id,
            type=type(command).type_name(),
            source=item.source,
            subject=subject,
            time=item.time or datetime.now(UTC),
            project=item.project,
            actor=item.actor,
            correlation=item.correlation or id,
            causation=item.causation,
            traceparent=item.traceparent,
        )
        topic = self._settings.prefix + commands(type(command).context)
        partitions = await self._producer.partitions_for(topic)
        future = await self._producer.send(
            topic,
            value=value_of(command),
            key=key.encode(),
            partition=partition_of(key, len(partitions)),
            headers=headers_of(meta),
            timestamp_ms=int(meta.time.timestamp() * 1000),
        )
        return id, subject, future
