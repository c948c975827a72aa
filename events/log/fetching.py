"""Consumers whose records are the log's own `Raw`s, made by `events.log.records` rather than by aiokafka.

aiokafka does everything else about fetching: positions, leaders, retries, groups. It has no hook for reading batches,
nor for when it fetches more (see `Consumer`), so this module replaces two names of its fetcher. A consumer opts in by
`Raws` as its `key_deserializer`, the only argument that reaches that place; all others work as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from events.log.batch import BEHIND_LENGTH, HEADER
from events.log.records import read
from events.log.unpacking import unpack
from events.log.wire import Damage, Raw

_CODEC, _TRANSACTION, _CONTROL = 0x07, 0x10, 0x20
_ABORT = (0).to_bytes(2, "big")
"""The type in the key of a control record that aborts a transaction (behind the version, KIP-98)."""


class Raws:
    """Given as `key_deserializer`, it makes a consumer yield `Raw`s; `prefix` is taken off their topics' names."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def __call__(self, key: Any) -> Any:
        return key


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """An aiokafka consumer with a choice of how long it waits for fetched records to be consumed.

    aiokafka sends one request to a broker for all places, and no other until that is answered. Before the next request
    it waits at most 0.1 s until the fetched records are consumed. Then it asks only for the *other* places. A place
    that is consumed a moment later has to wait for that answer: until one of the others has new records, or until
    `fetch_max_wait_ms` are over.
    """

    def __init__(self, *args: Any, prefetch_backoff: float = 0.1, **options: Any) -> None:
        """`prefetch_backoff`: seconds to wait until all fetched records are consumed. Very long for consumers of all
        places; 0 for consumers of some places at a time whose requests do not wait at the broker."""
        super().__init__(*args, **options)
        self._prefetch_backoff = prefetch_backoff

    async def start(self) -> None:
        await super().start()
        self._fetcher._prefetch_backoff = self._prefetch_backoff

    async def _hear_of(self, topics: Collection[str]) -> None:
        """Ask the broker for topics that this consumer does not know yet."""
        for _ in range(2):  # a request that is under way was sent without them
            unknown = [topic for topic in topics if not self.partitions_for_topic(topic)]
            if not unknown:
                return
            for topic in unknown:
                self._client.add_topic(topic)
            await self._client.force_metadata_update()

    async def partitions_of(self, topic: str) -> set[int]:
        """The partitions of a topic; empty if the broker knows no such topic."""
        await self._hear_of((topic,))
        return set(self.partitions_for_topic(topic) or ())

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The end offsets, without aiokafka's wait of a tenth of a second for a topic that it does not know yet."""
        await self._hear_of({place.topic for place in partitions})
        ends: dict[TopicPartition, int] = await super().end_offsets(list(partitions))
        return ends

    def answered(self, place: TopicPartition) -> int | None:
        """Changes with each answer of the broker about this place, also one without records; None before the first."""
        mark: int | None = self.last_poll_timestamp(place)
        return mark

    def standing(self, place: TopicPartition) -> tuple[int, int] | None:
        """The next offset to consume and the end offset, from the last answer to a fetch, without a request.

        None for a partition that is not assigned, or that no answer has covered yet.
        """
        assignment = self._subscription.subscription and self._subscription.subscription.assignment
        if not assignment or place not in assignment.tps:
            return None
        state = assignment.state_value(place)
        if not state.has_valid_position or state.highwater is None:
            return None
        stable = self._isolation_level == "read_committed" and state.lso is not None
        return state.position, state.lso if stable else state.highwater


class _Fetched:
    """The fetched records of a partition: read by aiokafka, or by `_RawRecords`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._records = MemoryRecords(data)
        self.has_next = self._records.has_next
        self.next_batch = self._records.next_batch
        self.size_in_bytes = self._records.size_in_bytes


class _RawRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Reads batches as aiokafka does, with its checks.

    A batch that can't be read becomes one `Damage`. An exception here would lose the fetched records of other places,
    and would be raised again at every further read.
    """

    next_fetch_offset: int
    _records_iterator: Iterator[Raw] | None

    def __iter__(self) -> Iterator[Raw]:
        """Without a call of `__next__` for each record. What is left after a stop is read by the next iteration."""
        return self._records_iterator or iter(())

    def _unpack_records(self) -> Iterator[Raw]:
        data = self._records.data
        topic = self._tp.topic[len(self._key_deserializer.prefix) :]
        partition = self._tp.partition
        at = 0
        while len(data) - at >= HEADER.size:
            base, length, _, magic, _, attributes, last, first, _, producer, *_, count = HEADER.unpack_from(data, at)
            stop = at + BEHIND_LENGTH + length
            if stop > len(data):
                break  # the broker may cut the last batch of an answer; the next answer has it whole
            wrong, records = "", []
            if magic != 2:
                wrong = f"its message format is {magic}; the log has format 2"
            elif self._check_crcs and not DefaultRecordBatch(memoryview(data)[at:stop]).validate_crc():
                wrong = "its checksum is wrong; it was changed on the disk"
            elif not self._aborted(attributes, base, producer) and not attributes & _CONTROL:
                section = data[at + HEADER.size : stop]
                try:
                    if kind := attributes & _CODEC:
                        section = unpack(kind, section)
                    records = read(Raw, section, count, topic, partition, base, first, self.next_fetch_offset)
                except Exception as error:  # noqa: BLE001 - any error of a codec or of the reader of records
                    wrong = f"its records can't be read: {type(error).__name__}: {error}"
            elif attributes & _CONTROL:
                self._ended(data[at + HEADER.size : stop], producer)
            if wrong:
                end = base + max(0, min(last, count - 1))  # either number may be what was changed
                start = max(base, self.next_fetch_offset)
                self.next_fetch_offset = max(start, end) + 1
                yield Damage.at(topic, partition, start, self.next_fetch_offset - 1, wrong, bytes(data[at:stop]))
            else:
                for raw in records:
                    self.next_fetch_offset = raw.offset + 1
                    yield raw
                self.next_fetch_offset = base + last + 1
            at = stop
        self._records_iterator = None  # it refers to this object

    def _aborted(self, attributes: int, base: int, producer: int) -> bool:
        """Whether a batch belongs to an aborted transaction. Always False with `read_uncommitted`."""
        if not attributes & _TRANSACTION or self._isolation_level != fetcher.READ_COMMITTED:
            return False
        self._consume_aborted_up_to(base)
        return producer in self._aborted_producers

    def _ended(self, section: bytes, producer: int) -> None:
        """Note the end of a producer's transaction; in a compacted log the control record may be gone."""
        if section and read(Raw, section, 1, "", 0, 0, 0, 0)[0].key.endswith(_ABORT):
            self._aborted_producers.discard(producer)


_PartitionRecords = fetcher.PartitionRecords


def _records_of(*args: Any) -> Any:
    key_deserializer = args[4]
    return (_RawRecords if isinstance(key_deserializer, Raws) else _PartitionRecords)(*args)


fetcher.MemoryRecords = _Fetched
fetcher.PartitionRecords = _records_of
