"""What a small record unpacks to is bounded; what is kept of a record that is no command fits its topic."""

from __future__ import annotations

import gzip
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from events.language.common import MAX_COMMAND_BYTES, MAX_HEADER_BYTES
from events.log.deadletters import EXCERPT_BYTES, letter_of
from events.log.fetching import Raws, _Fetched, _RawRecords
from events.log.topics import MAX_LETTER_BYTES
from events.log.unpacking import MAX_UNPACKED_BYTES, BatchTooLarge, unpack
from events.log.wire import Damage, Raw

PACKERS: dict[str, tuple[int, Any]] = {
    "gzip": (1, gzip_encode),
    "snappy": (2, snappy_encode),
    "snappy, one block": (2, lambda data: bytes(cramjam.snappy.compress_raw(data))),
    "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}


@pytest.mark.parametrize("codec", PACKERS)
def test_every_codec_gives_back_what_was_packed(codec: str) -> None:
    kind, pack = PACKERS[codec]
    for data in (b"", b"a", b"abc" * 100_000, b"\0" * 3_000_000):
        if data or kind != 2:
            assert unpack(kind, pack(data)) == data


@pytest.mark.parametrize("codec", PACKERS)
def test_no_codec_unpacks_beyond_the_bound(codec: str) -> None:
    kind, pack = PACKERS[codec]
    with pytest.raises(BatchTooLarge, match="1000000 bytes"):
        unpack(kind, pack(b"x" * 1_000_001), most=1_000_000)
    assert len(unpack(kind, pack(b"x" * 1_000_000), most=1_000_000)) == 1_000_000


@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.parametrize("damage", [b"", b"\xff" * 50])
def test_what_is_not_packed_so_is_refused_too(codec: str, damage: bytes) -> None:
    kind, pack = PACKERS[codec]
    packed = pack(b"abc" * 1000)
    with pytest.raises(BatchTooLarge):
        unpack(kind, packed[: len(packed) // 2] + damage)


def test_the_members_of_a_gzip_file_are_bounded_together() -> None:
    assert unpack(1, gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    with pytest.raises(BatchTooLarge):
        unpack(1, gzip.compress(b"a" * 60) + gzip.compress(b"b" * 60), most=100)


def batch(value: bytes, base: int, compression: int = 1) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 100 << 20)
    builder.append(0, timestamp=1000, key=b"k", value=value, headers=[("ce_id", b"1")])
    made = bytearray(builder.build())
    made[:8] = base.to_bytes(8, "big")
    return bytes(made)


def fetched(topic: str, data: bytes) -> list[Raw]:
    records = _RawRecords(TopicPartition(topic, 0), _Fetched(data), [], 0, Raws(), None, True, 0)
    return list(records._unpack_records())


def test_a_batch_that_unpacks_to_too_much_is_damage_and_the_next_are_read() -> None:
    large = batch(b"x" * (MAX_UNPACKED_BYTES + 1), 7)
    damage, good = fetched("commands.jobs", large + batch(b"good", 8))
    assert isinstance(damage, Damage)
    assert (damage.offset, damage.last) == (7, 7)
    assert "unpacks to more than 33554432 bytes" in damage.problem
    assert (good.offset, good.value) == (8, b"good")


def raw(value: bytes | None, headers: list[tuple[str, Any]], key: bytes = b"k") -> Raw:
    return Raw("commands.jobs", 0, 3, 0, key, value, headers)


def test_a_letter_has_the_whole_of_what_a_command_could_be() -> None:
    value = b"x" * MAX_COMMAND_BYTES
    key, kept, headers = letter_of(raw(value, [("ce_id", b"1"), ("fl_cause", b"x")]), "why")
    assert (key, kept) == (b"k", value)
    assert headers == [("ce_id", b"1"), ("fl_reason", b"why"), ("fl_position", b"commands.jobs/0@3")]


def test_of_more_a_letter_has_an_excerpt_and_the_digest_of_the_whole() -> None:
    many = [(f"h{number}", b"y" * 100_000) for number in range(1000)]
    key, kept, headers = letter_of(raw(b"x" * (32 << 20), many, b"k" * 5_000_000), "why")
    assert kept == b"x" * EXCERPT_BYTES
    assert dict(headers)["fl_cut"].startswith(b"33554432 ")
    assert len(key) + len(kept) + sum(len(n) + len(c) for n, c in headers) < min(MAX_HEADER_BYTES, MAX_LETTER_BYTES)
    assert ("h0", b"y" * 256) in headers
