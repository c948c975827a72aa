"""Appends decided events to the log in RecordBatches: in order, and all events of an input or none."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from events.log import topics
from events.log.batch import Batch
from events.log.deadletters import letter_of, own_headers
from events.log.producer import Producer
from events.log.tail import LogLost
from events.process import faults, metrics, tracing
from events.process.settings import Settings
from events.writer.encoding import DeadLetter, Forward, Unit
from events.writer.partition import Partition

log = logging.getLogger("forgelog.writer")


class Appender:
    """Appends for the partitions of a writer, and forwards commands that belong to other partitions."""

    def __init__(self, context: str, settings: Settings, partitions: dict[int, Partition]) -> None:
        """`partitions`: those that the writer holds now; the writer changes this mapping."""
        self.context = context
        self.settings = settings
        self.producer = Producer(settings)
        self._partitions = partitions

    async def append(self, work: dict[int, list[Unit]], side: list[Forward | DeadLetter]) -> bool:
        """Append every partition's units. False if that failed; then it is unknown what is in the log. Raises LogLost
        if the log was replaced or cut."""
        began, started = time.time(), time.perf_counter()
        faults.point(faults.AFTER_READ)
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self.producer.running()
            # Before any event: the cause of a later event would move the resume position past these.
            await asyncio.gather(*[await self._pass_on(producer, item) for item in side])
            await asyncio.gather(*(self._append_to(producer, number, units) for number, units in work.items()))
            faults.point(faults.AFTER_APPEND)
        except LogLost:
            raise
        except (KafkaError, OSError) as error:
            log.error("append failed, starting over from the log: %s: %s", type(error).__name__, error)
            metrics.append_failures.labels(self.context).inc()
            if producer is not None:
                self.producer.failed(producer)  # its sequence is unknown; a new one starts clean
            return False
        finally:
            metrics.append_seconds.labels(self.context).observe(time.perf_counter() - started)
        if tracing.enabled():
            for units in work.values():
                for unit in units:
                    tracing.record(f"{self.context} {unit.name}", unit.traceparent, began, events=len(unit.records))
        return True

    async def _append_to(self, producer: AIOKafkaProducer, number: int, units: list[Unit]) -> None:
        partition = self._partitions.get(number)
        if partition is None:
            return  # it starts over: what was decided on its old state is dropped and will be decided again
        topic = self.settings.prefix + topics.events(self.context)
        pending: list[tuple[asyncio.Future[Any], list[Unit]]] = []
        batch, size = Batch(), 0
        held: list[Unit] = []
        for unit in units:
            needed = unit.size
            if held and size + needed > topics.MAX_BATCH_BYTES:
                pending.append((await _send(producer, batch, topic, number), held))
                batch, held, size = Batch(), [], 0
            batch.extend(unit.records)
            held.append(unit)
            size += needed
        pending.append((await _send(producer, batch, topic, number), held))
        for future, appended in pending:
            metadata = await future
            offset = metadata.offset
            if offset < partition.next_offset:
                raise LogLost({f"{topics.events(self.context)}/{number}": partition.next_offset})
            for unit in appended:
                partition.appended(unit, offset)
                offset += len(unit.records)
        metrics.events.labels(self.context).inc(sum(len(unit.records) for unit in units))

    async def _pass_on(self, producer: AIOKafkaProducer, item: Forward | DeadLetter) -> asyncio.Future[Any]:
        """Send a command to its own partition, or unusable input to the dead letters."""
        raw, prefix = item.raw, self.settings.prefix
        value, number, timestamp = raw.value, raw.partition, None
        if isinstance(item, Forward):
            headers = own_headers(raw)
            headers.append(("fl_forwarded", str(raw.position).encode()))
            topic, key, number = prefix + topics.commands(self.context), item.key.encode(), item.partition
            timestamp = raw.timestamp
            metrics.forwarded.labels(self.context).inc()
        else:
            key, value, headers = letter_of(raw, item.reason)
            topic = prefix + topics.deadletter(self.context)
            metrics.dead_letters.labels(self.context).inc()
            log.warning("%s: dead letter: %s", raw.position, item.reason)
        future: asyncio.Future[Any] = await producer.send(
            topic, value=value, key=key, partition=number, headers=headers, timestamp_ms=timestamp
        )
        return future


async def _send(producer: AIOKafkaProducer, batch: Batch, topic: str, number: int) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = await producer.send_batch(batch, topic, partition=number)
    return future
