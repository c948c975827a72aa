"""Reads the outcome of the first send of a command, for a client that has sent it again.

Must not know who waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import TopicPartition

from events.language.common import CommandNoted
from events.log.connect import start, stop
from events.log.consumers import new_consumer
from events.log.envelope import Position, Recorded
from events.log.fetching import Consumer
from events.log.wire import Cause, Raw, Undecodable
from events.process.settings import Settings

READ_SECONDS = 15.0
"""Longest wait, in seconds, for records that are in the log."""

_NEAR = 1_000
"""Records before a repeat's answer among which the first outcome is looked for at first, where that does not say where
it is."""


def project_of(raw: Raw, cause: Cause) -> str:
    """The project of the command that a record follows from."""
    return cause.project or (raw.get("ce_project") or b"").decode(errors="replace")


def first_outcome(raws: Iterable[Raw], repeat: Raw) -> list[Recorded]:
    """Of records before a repeat's answer, in their order, those of the first outcome; none if it is not among them,
    whole. Raises Undecodable.

    Both are of the same writer: another one knows of all outcomes before its own where they are.
    """
    units: dict[Position, list[Raw]] = {}
    named = _command_of(repeat)
    for raw in raws:
        if raw.epoch == repeat.epoch and (cause := raw.cause) is not None and _command_of(raw) == named:
            units.setdefault(cause.position, []).append(raw)
    for found in units.values():
        parts = [raw.decode() for raw in found]
        answer, cause = parts[0].data, found[0].cause
        repeated = isinstance(answer, CommandNoted) and answer.repeat
        if cause is not None and len(parts) == cause.parts and not repeated:
            return parts
    return []


def _command_of(raw: Raw) -> tuple[bytes | None, str, str, str] | None:
    """What tells the command that a record follows from: id, project, topic, and digest of the body."""
    cause = raw.cause
    if cause is None:
        return None
    return raw.get("ce_causationid"), project_of(raw, cause), cause.position.topic, cause.mark


class FirstOutcomes:
    """One consumer reads them one after the other, so that many repeats cost time and not a connection each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        async with self._turn:
            await self._end()

    async def _end(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop(consumer)

    async def read(self, repeat: Raw, offset: int) -> list[Recorded]:
        """The records of the first outcome. `repeat`: the answer to the command that was sent again; `offset`: where it
        says that they begin; -1 where it does not, as it was decided before the first one's append was acknowledged.

        Raises OSError, KafkaError or Undecodable.
        """
        place = TopicPartition(self._settings.prefix + repeat.topic, repeat.partition)
        async with self._connected() as consumer:
            if offset >= 0:
                return await _unit(consumer, place, offset)
            return await _unit_before(consumer, place, repeat)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Consumer]:
        async with self._turn:
            try:
                if self._consumer is None:
                    consumer = new_consumer(self._settings, max_poll_records=100)
                    await start(consumer)
                    self._consumer = consumer
                async with asyncio.timeout(READ_SECONDS):
                    yield self._consumer
            except BaseException:
                await self._end()
                raise


async def _records(consumer: Consumer, place: TopicPartition, offset: int) -> AsyncIterator[Raw]:
    """A place's records from an offset on, without an end."""
    consumer.assign([place])
    consumer.seek(place, offset)
    while True:
        for raw in (await consumer.getmany(timeout_ms=5000)).get(place, []):
            yield raw


async def _unit(consumer: Consumer, place: TopicPartition, offset: int) -> list[Recorded]:
    """The records of the input whose first one is there."""
    found: list[Recorded] = []
    async for raw in _records(consumer, place, offset):
        cause = raw.cause
        if cause is None:
            if not found:
                raise Undecodable(f"{raw.position}: the first outcome should be at this offset, but is not")
            break
        found.append(raw.decode())
        if len(found) == cause.parts:
            break
    return found


async def _unit_before(consumer: Consumer, place: TopicPartition, repeat: Raw) -> list[Recorded]:
    """The records of the first outcome: at most what its writer decides in two batches before the answer."""
    back = _NEAR
    while True:
        begin = max(repeat.epoch, repeat.offset - back, 0)
        raws: list[Raw] = []
        async for raw in _records(consumer, place, begin):
            if raw.offset >= repeat.offset:
                break
            raws.append(raw)
        if found := first_outcome(raws, repeat):
            return found
        if begin == max(repeat.epoch, 0):
            raise Undecodable(f"{repeat.position}: the first outcome should be before this, and is not")
        back *= 4
