"""Numbers of a record that no writer writes: out of the range of 64 bits, or longer. Both readers refuse them alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.log import native
from events.log.records import PureRecord, pure_read

compiled = native.load("_records")
READERS = [pytest.param(PureRecord, pure_read, id="python")]
if compiled is not None:
    READERS.append(pytest.param(compiled.Record, compiled.read, id="native"))

LEAST, MOST = -(1 << 63), (1 << 63) - 1
INT64 = st.integers(LEAST, MOST)
NEAR_THE_ENDS = st.integers(0, 2).map(lambda n: MOST - n) | st.integers(0, 2).map(lambda n: LEAST + n) | INT64


def varint(value: int) -> bytes:
    """Zigzag and base 128, as a record has its numbers; of any size."""
    left, made = value << 1 if value >= 0 else (-value << 1) - 1, bytearray()
    while left > 0x7F:
        made.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*made, left])


def record(delta: int, number: int) -> bytes:
    """A record without key, value and headers, so far from the batch's first timestamp and base offset."""
    body = b"\0" + varint(delta) + varint(number) + varint(-1) + varint(-1) + varint(0)
    return varint(len(body)) + body


def places(kind: Any, read: Any, section: bytes, base: int, first: int) -> list[tuple[int, int]] | str:
    """Offset and timestamp of each record, or why the section is refused."""
    try:
        return [(each.offset, each.timestamp) for each in read(kind, section, 1, "events.jobs", 0, base, first, LEAST)]
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(("kind", "read"), READERS)
@given(first=NEAR_THE_ENDS, delta=NEAR_THE_ENDS)
@example(first=MOST, delta=1)
@example(first=LEAST, delta=-1)
def test_a_timestamp_is_the_sum_or_refused(kind: Any, read: Any, first: int, delta: int) -> None:
    read_as = [(0, first + delta)] if LEAST <= first + delta <= MOST else "a record's timestamp is out of range"
    assert places(kind, read, record(delta, 0), 0, first) == read_as


@pytest.mark.parametrize(("kind", "read"), READERS)
@given(base=NEAR_THE_ENDS, number=NEAR_THE_ENDS)
@example(base=MOST, number=1)
@example(base=LEAST, number=-1)
def test_an_offset_is_the_sum_or_refused(kind: Any, read: Any, base: int, number: int) -> None:
    read_as = [(base + number, 0)] if LEAST <= base + number <= MOST else "a record's offset is out of range"
    assert places(kind, read, record(0, number), base, 0) == read_as


@pytest.mark.parametrize(("kind", "read"), READERS)
@pytest.mark.parametrize("value", [MOST + 1, LEAST - 1, 1 << 68, -(1 << 68), 1 << 80])
def test_a_number_of_more_than_64_bits_is_refused(kind: Any, read: Any, value: int) -> None:
    assert places(kind, read, record(value, 0), 0, 0) == "a number is longer than 64 bits"


@pytest.mark.parametrize(("kind", "read"), READERS)
@pytest.mark.parametrize("value", [MOST, LEAST])
def test_a_number_of_64_bits_is_read(kind: Any, read: Any, value: int) -> None:
    assert places(kind, read, record(value, 0), 0, 0) == [(0, value)]
