"""Which partition a key belongs to: Kafka's own default partitioner (murmur2), so that any Java, Go or Python producer
with default settings agrees. A command that arrives elsewhere (kcat's default is CRC32) is forwarded by its writer."""

from __future__ import annotations

from functools import lru_cache

from aiokafka import partitioner

from events.log import native

_compiled = native.load("_records")
murmur2 = _compiled.murmur2 if _compiled is not None else partitioner.murmur2


@lru_cache(maxsize=50_000)
def partition_of(key: str, partitions: int) -> int:
    """The partition, 0..partitions-1, of a key."""
    return int((murmur2(key.encode()) & 0x7FFFFFFF) % partitions)
