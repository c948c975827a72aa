"""The C helper does exactly what the Python beside it does; where it was not compiled these are skipped."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aiokafka import partitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from events.log import batch, chain, native
from events.log.records import PureRecord, pure_read

compiled = native.load("_records")
needs_compiler = pytest.mark.skipif(compiled is None, reason="no C compiler, or Python's headers are missing")

NAMES = st.sampled_from(["ce_id", "ce_type", "fl_epoch", "ü", ""]) | st.text(max_size=5)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=6)
BODIES = st.none() | st.binary(max_size=300)
RECORDS = st.lists(st.tuples(BODIES, BODIES, HEADERS, st.integers(0, 2**41)), min_size=1, max_size=8)

HEADER = 61
"""Bytes of a batch before its records."""


def section_of(records: list[Any]) -> tuple[bytes, int]:
    """The records' section of a batch as a producer makes it, and its first timestamp."""
    builder = BatchBuilder(1 << 20, 0)
    for key, value, headers, timestamp in records:
        builder.append(key=key, value=value, headers=headers, timestamp=timestamp)
    batch = bytes(builder._build())
    return batch[HEADER:], struct.unpack_from(">q", batch, 27)[0]


def seen(record: Any) -> tuple[Any, ...]:
    return (
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        record.headers,
        [record.get(name) for name, _ in record.headers],
        record.get("no such header"),
        [record.has(name, content or b"") for name, content in record.headers],
        record.texts(tuple(name for name, _ in record.headers)),
        record.contents(tuple(name for name, _ in record.headers)),
    )


@needs_compiler
@given(RECORDS, st.integers(0, 2**40), st.integers(0, 9))
def test_it_reads_what_a_producer_wrote(records: list[Any], base: int, skip: int) -> None:
    section, first = section_of(records)
    arguments = (section, len(records), "events.jobs", 3, base, first, base + skip)
    asked_first = [seen(record) for record in compiled.read(compiled.Record, *arguments)]
    assert asked_first == [seen(record) for record in pure_read(PureRecord, *arguments)]
    assert asked_first == [
        seen(PureRecord("events.jobs", 3, base + number, timestamp, key, value, headers))
        for number, (key, value, headers, timestamp) in enumerate(records)
        if number >= skip
    ]


@needs_compiler
@given(RECORDS)
def test_it_finds_headers_by_name_before_all_of_them_are_read(records: list[Any]) -> None:
    section, first = section_of(records)
    arguments = (section, len(records), "events.jobs", 3, 0, first, 0)
    plain = pure_read(PureRecord, *arguments)
    found = compiled.read(compiled.Record, *arguments)
    for record, expected in zip(found, plain, strict=True):
        names = (*dict.fromkeys(name for name, _ in expected.headers), "no such header")
        for asked in (names, names[::-1], names * 9):
            assert record.texts(asked) == expected.texts(asked)
            assert record.contents(asked) == expected.contents(asked)
            assert [record.texts((name,)) for name in asked] == [expected.texts((name,)) for name in asked]
        assert [record.get(name) for name in names] == [expected.get(name) for name in names]
        assert record.headers == expected.headers


@needs_compiler
@given(RECORDS, st.data())
def test_a_damaged_batch_is_refused_by_both_or_read_alike_by_both(records: list[Any], data: st.DataObject) -> None:
    section, first = section_of(records)
    at = data.draw(st.integers(0, len(section) - 1))
    flipped = section[:at] + bytes([section[at] ^ data.draw(st.integers(1, 255))]) + section[at + 1 :]
    for damaged in (section[:at], flipped, section + b"x"):
        results: list[Any] = []
        for kind, read in ((compiled.Record, compiled.read), (PureRecord, pure_read)):
            try:
                results.append([seen(record) for record in read(kind, damaged, len(records), "t", 0, 0, first, 0)])
            except ValueError as error:
                results.append(str(error))
        assert isinstance(results[0], str) == isinstance(results[1], str)
        if not isinstance(results[0], str):
            assert results[0] == results[1]


@needs_compiler
@given(st.lists(st.sampled_from([b"0", b"-1", b"17", b"1_0", b"", b"x", b" 5", b"9" * 18, b"9" * 19, b"-", b"+3"])))
def test_numbers_are_pythons(contents: list[bytes]) -> None:
    headers = [("n", content) for content in contents]
    arguments = ("t", 0, 0, 0, None, None, headers)
    results: list[Any] = []
    for kind in (compiled.Record, PureRecord):
        try:
            results.append(kind(*arguments).number("n"))
        except ValueError as error:
            results.append(type(error))
    assert results[0] == results[1]


@needs_compiler
@given(st.binary(max_size=99), st.binary(max_size=99), st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=20))
def test_a_records_content_is_the_same(key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    assert compiled.content(key, value, headers) == chain.pure_content(key, value, headers)


@needs_compiler
@given(st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=20))
def test_the_size_of_headers_is_the_same(headers: list[tuple[str, bytes]]) -> None:
    arguments = ("t", 0, 0, 0, None, None, headers)
    wanted = sum(len(name.encode()) + len(content) for name, content in headers)
    assert compiled.Record(*arguments).header_bytes == PureRecord(*arguments).header_bytes == wanted
    tail = batch.pure_encode(b"", b"", b"", headers[:-1])[1] if headers else b""
    if headers:
        name, content = headers[-1]
        section = batch.pure_section([tail + batch.last_header(name, len(content)) + content], [0])
        (read,) = compiled.read(compiled.Record, section, 1, "t", 0, 0, 0, 0)
        assert read.header_bytes == wanted
        assert read.headers == tuple(headers)


@needs_compiler
@given(HEADERS, st.lists(NAMES, max_size=20).map(tuple))
def test_headers_that_are_given_twice_are_found_alike(headers: Any, names: tuple[str, ...]) -> None:
    arguments = ("t", 0, 0, 0, None, None, headers)
    wanted = next((name for name in names if [given for given, _ in headers].count(name) > 1), None)
    assert compiled.Record(*arguments).repeated(names) == PureRecord(*arguments).repeated(names) == wanted
    section, first = section_of([(None, None, headers, 0)])
    (read,) = compiled.read(compiled.Record, section, 1, "t", 0, 0, first, 0)
    assert read.repeated(names) == wanted


@needs_compiler
def test_names_of_headers_are_a_tuple_of_texts() -> None:
    record = compiled.Record("t", 0, 0, 0, None, None, ())
    for wrong in (["ce_id"], (b"ce_id",)):
        with pytest.raises(TypeError):
            record.repeated(wrong)


@needs_compiler
def test_a_headers_content_that_is_no_text_is_refused_alike() -> None:
    lone = [("ce_subject", "\ud800")]
    for encode in (compiled.encode, batch.pure_encode):
        with pytest.raises(UnicodeEncodeError):
            encode(b"", b"", b"", lone)
    with pytest.raises(TypeError, match="a header is a tuple of str and either bytes or str"):
        compiled.encode(b"", b"", b"", [("ce_subject", 7)])


@needs_compiler
@given(
    st.binary(max_size=99),
    st.binary(max_size=300),
    st.lists(st.tuples(NAMES, st.binary(max_size=20) | st.text(max_size=20)), max_size=32),
)
def test_a_record_is_encoded_alike(key: bytes, value: bytes, headers: list[tuple[str, str | bytes]]) -> None:
    asked = (b"before", key, value, headers)
    assert compiled.encode(*asked) == batch.pure_encode(*asked)


@needs_compiler
@given(st.lists(st.tuples(st.binary(max_size=200), st.integers(-(2**40), 2**40)), max_size=9))
def test_a_batchs_records_are_the_same(records: list[tuple[bytes, int]]) -> None:
    tails, deltas = [tail for tail, _ in records], [delta for _, delta in records]
    assert compiled.section(tails, deltas) == batch.pure_section(tails, deltas)


@needs_compiler
@given(st.binary(max_size=40))
def test_keys_go_where_kafka_puts_them(key: bytes) -> None:
    assert compiled.murmur2(key) == partitioner.murmur2(key)


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=5000), st.integers(0, 2**41)), min_size=1))
def test_aiokafka_reads_a_batch_as_it_was_made(records: list[tuple[bytes, bytes, int]]) -> None:
    made = batch.Batch()
    headers = [("ce_id", b"1"), ("fl_hash", b"ab")]
    for key, value, timestamp in records:
        _, tail = batch.encode(b"", key, value, headers[:1])
        made.extend([(tail + batch.last_header("fl_hash", 2) + b"ab", timestamp, len(tail) + 20)])
    made._set_producer_state(7, 3, 11)
    assert made.size() >= sum(len(key) + len(value) for key, value, _ in records)
    built = made._build()
    assert made.record_count() == len(records)
    read = DefaultRecordBatch(built)
    assert read.validate_crc()
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == (7, 3, 11)
    assert read.next_offset == len(records)
    assert (read.first_timestamp, read.max_timestamp) == (records[0][2], max(timestamp for *_, timestamp in records))
    assert [(r.key, r.value, r.timestamp, r.headers) for r in read] == [(*record, headers) for record in records]


def test_a_helper_made_from_another_source_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "digest_of", lambda _: "another")
    assert native.load("_records") is None


def test_python_does_it_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_PURE", "1")
    assert native.load("_records") is None
