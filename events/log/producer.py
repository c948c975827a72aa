"""A producer that goes on after a failed send.

An idempotent producer numbers its batches. A batch that fails for good after it got its number (it expired, or the
broker refused it) leaves a gap. The broker then answers every later batch of that partition with
OutOfOrderSequenceNumber, without an end. Kafka's own clients increase their epoch in that case (KIP-360), but aiokafka
does not. So a long-lived process replaces its producer after a failed send.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from events.log.access import client_options
from events.log.connect import start
from events.log.topics import LEAST_BATCH_BYTES, MAX_LETTER_BYTES, MAX_RECORD_BYTES
from events.process.settings import Settings

log = logging.getLogger("forgelog.producer")


def new_producer(settings: Settings, *, batch_bytes: int = MAX_RECORD_BYTES, **options: Any) -> AIOKafkaProducer:
    """An idempotent producer with the log's limits. A record that is longer than `batch_bytes` is a batch alone."""
    return AIOKafkaProducer(
        **client_options(settings),
        enable_idempotence=True,
        acks="all",
        max_batch_size=batch_bytes,
        max_request_size=MAX_LETTER_BYTES,
        client_id=settings.instance or "forgelog",
        **options,
    )


class ToSend(NamedTuple):
    """A record for `Producer.send_all`. `topic` has its prefix."""

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    """None for the partition of the key."""
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None


class Producer:
    """An async context manager. Errors of its methods are Kafka's (`KafkaError`) or the network's (OSError)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._now: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self.batch_bytes = MAX_RECORD_BYTES
        """Most bytes of a batch; see `make_smaller`."""
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Producer:
        await self.open()
        return self

    async def open(self) -> None:
        """Connect. The first use connects as well."""
        await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the sends that are under way, and disconnect."""
        self._replace(self._now)
        while self._ending:
            await asyncio.wait(self._ending)

    async def running(self) -> AIOKafkaProducer:
        """The current producer, for callers that build batches. They must call `failed` after a failed send."""
        return await self._open()

    def failed(self, producer: AIOKafkaProducer) -> None:
        """Note a failed send of this producer: the next use opens another one."""
        self._replace(producer)

    def make_smaller(self, refused: int) -> bool:
        """Halve the size of batches after a topic has refused one as too large. `refused`: the size that batches had
        then. Returns False if they have the smallest size already."""
        if refused <= LEAST_BATCH_BYTES:
            return False
        self.batch_bytes = min(self.batch_bytes, max(LEAST_BATCH_BYTES, refused // 2))
        return True

    async def partitions_for(self, topic: str) -> int:
        """The number of partitions of a topic (named with its prefix)."""
        return len(await (await self._open()).partitions_for(topic))

    async def send_all(self, records: Sequence[ToSend]) -> list[Any]:
        """Send records and wait until Kafka has them all. Returns their metadata, in order. After an error, any of them
        may be in the log."""
        producer = await self._open()
        futures: list[asyncio.Future[Any]] = []
        try:
            for record in records:
                futures.append(
                    await producer.send(
                        record.topic,
                        value=record.value,
                        key=record.key,
                        partition=record.partition,
                        headers=record.headers,
                        timestamp_ms=record.timestamp_ms,
                    )
                )
            return await asyncio.gather(*futures)
        except (KafkaError, OSError) as error:
            log.info("%s: %s; going on with a new producer", type(error).__name__, error)
            for future in futures:
                future.add_done_callback(_seen)
            self._replace(producer)
            raise

    async def _open(self) -> AIOKafkaProducer:
        if self._now is not None:
            return self._now
        async with self._opening:
            if self._now is None:
                producer = new_producer(self._settings, batch_bytes=self.batch_bytes)
                await start(producer)
                self._now = producer
            return self._now

    def _replace(self, old: AIOKafkaProducer | None) -> None:
        """Let the next use open another producer. Sends that are under way in the old one finish there."""
        if old is None or self._now is not old:
            return
        self._now = None
        task = asyncio.create_task(_stop(old))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        await producer.stop()
    except (KafkaError, OSError) as error:
        log.debug("a replaced producer ended with %s: %s", type(error).__name__, error)


def _seen(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of a future, which another future of the same call has raised."""
    if not future.cancelled():
        future.exception()
