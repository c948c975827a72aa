"""Topics of Kafka as sinks.

A publication is one transaction of Kafka: the records, and the version as the offset of a consumer group that has the
topic's name. Its transactional id is the topic's too, so that who begins a publication ends all that were under way: a
process that was stopped and wakes is fenced. Readers that read committed records see all of a version or nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.manifests import CommitFile, CommitManifest
from events.language.pipelines.sinks import DataSink
from forgelog.pipelines.io.context import IoContext, Published
from forgelog.pipelines.io.late import earlier, other_attempt, superseded
from forgelog.pipelines.io.spooled import Spool, headers_of
from forgelog.pipelines.io.topics import answered, client_options, partitions_of
from forgelog.pipelines.problems import StageError

_LONGEST = 15 * 60 * 1000
"""Milliseconds that a transaction may take; brokers allow no more unless they are told to."""


_COORDINATOR = 30.0
"""Seconds that a cluster may take to know who keeps the group's offsets."""


class TopicPlace:
    """See the module, and `forgelog.pipelines.io.places.Place`."""

    def __init__(self, sink: DataSink, base: str, context: IoContext) -> None:
        self.base = base
        self._topic = sink.topic
        self._options = client_options(sink.connection, context)
        self._spool = Spool(context)
        self._group = f"forgelog.sink.{sink.topic}"

    def aside(self, attempt: str) -> str:
        return self._spool.url(attempt)

    def check(self, sink: DataSink) -> None:
        answered(partitions_of(self._options, sink.topic), "topic")

    def put_aside(
        self, sink: DataSink, attempt: str, local: Path, files: Sequence[CommitFile], columns: Sequence[Column]
    ) -> None:
        self._spool.put(attempt, local, files)

    def publish(self, sink: DataSink, manifest: CommitManifest, version: int) -> Published:
        published = answered(self._publish(sink, manifest, version), "topic")
        for each in (*earlier(manifest.attempt), manifest.attempt):
            self._spool.remove(each)
        return published

    async def _publish(self, sink: DataSink, manifest: CommitManifest, version: int) -> Published:
        from aiokafka import AIOKafkaProducer, TopicPartition
        from aiokafka.errors import ProducerFenced
        from aiokafka.structs import OffsetAndMetadata

        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=self._group,
            transaction_timeout_ms=_LONGEST,
            max_request_size=16 << 20,
        )
        # from here on whoever else has begun to publish there can't go on, and what it has not committed is void
        await producer.start()
        try:
            place = TopicPartition(self._topic, 0)
            if (found := await self._published(place, manifest, version)) is not None:
                return found
            headers = headers_of(sink.metadata)
            async with producer.transaction():
                for rows in self._spool.rows(manifest, sink.keys):
                    for value, key in rows:
                        await producer.send(
                            self._topic, value.encode(), key=None if key is None else key.encode(), headers=headers
                        )
                mark = OffsetAndMetadata(version, manifest.attempt)
                await producer.send_offsets_to_transaction({place: mark}, self._group)
        except ProducerFenced:
            problem = f"another process has begun to publish to {self.base}: nothing was changed"
            raise StageError("topic", problem, "let it finish") from None
        finally:
            await producer.stop()
        return Published(version, self.base, manifest.rows, manifest.bytes)

    async def _published(self, place: Any, manifest: CommitManifest, version: int) -> Published | None:
        from aiokafka.admin import AIOKafkaAdminClient

        client = AIOKafkaAdminClient(**self._options)
        await client.start()
        try:
            found = (await _offsets(client, self._group)).get(place)
        finally:
            await client.close()
        if found is None or found.offset < version:
            return None
        if found.offset > version:
            raise superseded(version, found.offset, self.base)
        if found.metadata != manifest.attempt:
            raise other_attempt(version, found.metadata, self.base)
        return Published(version, self.base, manifest.rows, manifest.bytes, already=True)

    def discard(self, manifest: CommitManifest) -> None:
        self._spool.remove(manifest.attempt)


async def _offsets(client: Any, group: str) -> Any:
    """A group's offsets. A cluster that has kept none before makes the topic for them first."""
    from aiokafka.errors import CoordinatorLoadInProgressError, GroupCoordinatorNotAvailableError

    until = time.monotonic() + _COORDINATOR
    while True:
        try:
            return await client.list_consumer_group_offsets(group)
        except (GroupCoordinatorNotAvailableError, CoordinatorLoadInProgressError):
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)
