"""A byte that was changed on the disk, anywhere in a batch's content: a reader gets the other batches, and is told."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from events.log.batch import HEADER
from events.log.fetching import Raws, _Fetched, _RawRecords
from events.log.wire import Damage, Raw, Undecodable

PER_BATCH = 3
CHECKED_FROM = 21
"""Where in a batch begins what its checksum covers."""


def batch(base: int, compression: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    for number in range(PER_BATCH):
        builder.append(number, 1_760_000_000_000, b"key", b"value %d" % (base + number), [("ce_type", b"x")])
    built = bytes(builder.build())
    _, *rest = HEADER.unpack_from(built)
    return HEADER.pack(base, *rest) + built[HEADER.size :]


def read(data: bytes, start: int = 0, **options: Any) -> list[Raw]:
    fetched = {"check_crcs": True, "isolation_level": 0, **options}
    records = _RawRecords(TopicPartition("x.events.jobs", 1), _Fetched(data), [], start, Raws("x."), None, **fetched)
    return list(records)


WHOLE = [batch(0), batch(PER_BATCH), batch(2 * PER_BATCH)]


@given(at=st.integers(CHECKED_FROM, len(WHOLE[1]) - 1), bit=st.integers(0, 7), checks=st.booleans())
def test_the_other_batches_are_read_and_the_damaged_one_is_named(at: int, bit: int, checks: bool) -> None:
    middle = bytearray(WHOLE[1])
    middle[at] ^= 1 << bit
    found = read(WHOLE[0] + bytes(middle) + WHOLE[2], check_crcs=checks)
    offsets = [raw.offset for raw in found]
    assert offsets == sorted(set(offsets))
    assert [raw.value for raw in found[:PER_BATCH]] == [b"value 0", b"value 1", b"value 2"]
    if checks:
        assert [raw.value for raw in found[-PER_BATCH:]] == [b"value 6", b"value 7", b"value 8"]
        (damage,) = (raw for raw in found if isinstance(raw, Damage))
        assert (damage.offset, damage.topic, damage.partition) == (PER_BATCH, "events.jobs", 1)
        assert PER_BATCH <= damage.last < 2 * PER_BATCH
        assert damage.value == bytes(middle)
        with pytest.raises(Undecodable, match=r"events\.jobs/1@3: the batch up to offset \d can't be read"):
            damage.decode()


def test_a_compressed_batch_that_can_not_be_opened_is_damage_too() -> None:
    squeezed = bytearray(batch(0, compression=1))
    squeezed[-12:] = bytes(12)
    assert [type(raw) for raw in read(bytes(squeezed), check_crcs=False)] == [Damage]


def test_a_reader_that_went_on_within_a_damaged_batch_is_told_from_there() -> None:
    middle = bytearray(WHOLE[0])
    middle[-1] ^= 1
    (damage,) = read(bytes(middle), start=2)
    assert (damage.offset, damage.last) == (2, 2)
