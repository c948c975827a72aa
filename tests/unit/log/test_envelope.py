"""What the log writes of CloudEvents beside a body (Kafka binding, binary mode); what it asks of older records."""

from __future__ import annotations

from datetime import timedelta

from events.log import chain
from events.log.wire import CONTENT_TYPE, HASH, Raw, without_hash
from events.writer.encoding import Encoded, Unit
from events.writer.partition import Partition
from tests.unit.writer.sample import SampleDecider
from tests.unit.writer.test_epochs import START, Log, raw_command


def decided(log: Log, *commands: Raw) -> Partition:
    """A writer that took over and decided these."""
    epoch = log.marker("w")
    partition: Partition = Partition(SampleDecider(), 0, 1)
    for record in log.valid():
        partition.fold(record)
    partition.next_offset, partition.epoch = epoch + 1, epoch
    for command in commands:
        unit = partition.command(command, START + timedelta(seconds=1))
        assert isinstance(unit, Unit)
        partition.appended(unit, log.append(unit.records))
    return partition


def test_every_record_says_that_its_body_is_json() -> None:
    log = Log()
    commands = [raw_command(0, "c0", "a"), raw_command(1, "c1", "a")]  # the second one is refused
    decided(log, *commands)
    assert len(log.records) == 3
    for record in (*commands, *log.records):
        assert record.headers.count(CONTENT_TYPE) == 1, record.type
        assert record.get("content-type") == b"application/json"


def test_the_log_of_an_earlier_version_goes_on_and_its_chain_holds() -> None:
    log = Log()
    marker, written = Log(), Log()
    marker.marker("w")
    (old_marker,) = (without_content_type(record) for record in marker.records)
    log.append([Encoded.of(old_marker.key or b"", old_marker.value or b"", list(old_marker.headers), 0)])
    decided(written, raw_command(0, "c0", "a"))
    digest = linked(chain.GENESIS, log.records[0])
    old = without_content_type(written.records[1])
    headers = [*without_hash(old.headers)]
    digest = chain.link(digest, old.key or b"", old.value or b"", headers)
    log.append([Encoded.of(old.key or b"", old.value or b"", [*headers, (HASH, digest.hex().encode())], 0)])

    partition = decided(log, raw_command(1, "c1", "b"))
    for record in log.records[2:]:
        digest = linked(digest, record)
    assert partition.digest == digest
    assert log.records[-1].get(HASH) == digest.hex().encode()
    assert [record.get("content-type") for record in log.records] == [None, None, *[b"application/json"] * 2]
    assert log.records[1].decode().meta.id == "c0.0"


def linked(digest: bytes, record: Raw) -> bytes:
    return chain.link(digest, record.key or b"", record.value or b"", without_hash(record.headers))


def without_content_type(record: Raw) -> Raw:
    headers = [header for header in record.headers if header[0] != "content-type"]
    return Raw(record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers)
