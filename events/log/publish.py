"""Publishing commands: the producer's side of the log. Knows nothing of decisions or outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType

from events.language.base import Command
from events.language.common import DEFAULT_ACTOR, DEFAULT_PROJECT
from events.log.envelope import Meta, Position
from events.log.ids import new_command_id, with_assigned_id
from events.log.partitioner import partition_of
from events.log.producer import Producer, ToSend
from events.log.topics import commands
from events.log.wire import headers_of, value_of
from events.process.settings import Settings


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
    origin: str = ""
    value: bytes = b""
    """What `value_of` gives for the command, with the ids that it assigns; empty: not known yet."""


@dataclass(frozen=True, slots=True)
class Published:
    """A command that Kafka has stored (acks=all). See `events.log.outcomes` for its outcome."""

    id: str
    position: Position
    subject: str


class Publisher:
    """Publishes commands to the partition where their aggregate lives.

    An async context manager. Errors are Kafka's (`aiokafka.errors.KafkaError`); a command whose publishing failed may
    or may not be in the log: publish it again under the same id.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(settings)

    async def __aenter__(self) -> Publisher:
        await self._producer.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.close()

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
        prepared = [await self._prepare(item) for item in items]
        stored = await self._producer.send_all([record for _, _, record in prepared])
        return [
            Published(id, Position(at.topic[len(self._settings.prefix) :], at.partition, at.offset), subject)
            for (id, subject, _), at in zip(prepared, stored, strict=True)
        ]

    async def _prepare(self, item: Outgoing) -> tuple[str, str, ToSend]:
        id = item.id or new_command_id()
        command = item.command if item.value else with_assigned_id(item.command, id, item.project)
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
            origin=item.origin,
        )
        topic = self._settings.prefix + commands(type(command).context)
        return (
            id,
            subject,
            ToSend(
                topic,
                item.value or value_of(command),
                key.encode(),
                partition_of(key, await self._producer.partitions_for(topic)),
                headers_of(meta),
                int(meta.time.timestamp() * 1000),
            ),
        )
