"""The epoch rule and resume, against an exact model of a partition: writers that pause, crash and wake as zombies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from events.language.common import WriterStarted
from events.language.jobs import JobSubmitted, SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import chain, topics
from events.log.envelope import Meta
from events.log.positions import EpochRule
from events.log.wire import HASH, Raw, headers_of, value_of, without_hash
from events.writer import snapshots
from events.writer.encoding import Encoded, Forward, Unit
from events.writer.partition import Partition
from tests.unit.writer.sample import SampleDecider

START = datetime(2026, 1, 1, tzinfo=UTC)


def raw_command(offset: int, id: str, job_id: str) -> Raw:
    command = SubmitJob(job_id=job_id, spec=JobSpec(metadata=JobMetadata(name="n"), command="true"))
    meta = Meta(id, SubmitJob.type_name(), job_id, START, "local/default", "owner")
    headers = headers_of(meta)
    return Raw(topics.commands("jobs"), 0, offset, 0, job_id.encode(), value_of(command), headers)


class Log:
    """A Kafka partition: an append-only list; a batch lands whole or not at all, from any sender."""

    def __init__(self) -> None:
        self.records: list[Raw] = []

    def append(self, records: list[Any]) -> int:
        base = len(self.records)
        for record in records:
            self.records.append(record.at(topics.events("jobs"), 0, len(self.records)))
        return base

    def marker(self, name: str) -> int:
        event = WriterStarted(subject_id="jobs/0", writer=name)
        headers = headers_of(Meta("m", WriterStarted.type_name(), "jobs/0", START, "", "forgelog"))
        return self.append([Encoded.of(b"jobs/0", value_of(event), headers, 0)])

    def valid(self, start: int = 0, epoch: int = -1) -> list[Raw]:
        rule = EpochRule(epoch, start)
        return [record for record in self.records[start:] if rule.admits(record)]


class Writers(RuleBasedStateMachine):
    """Commands arrive; any number of writers hold the partition, in any state of staleness."""

    writers = Bundle("writers")

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.commands: list[Raw] = []
        self.ids: list[str] = []
        self.blobs: list[tuple[int, int, bytes]] = []
        self.clock = 0

    def now(self) -> datetime:
        self.clock += 1
        return START + timedelta(seconds=self.clock)

    @rule(fresh=st.booleans(), pick=st.integers(0, 1000))
    def a_command_arrives(self, fresh: bool, pick: int) -> None:
        id = f"c{len(self.ids)}" if fresh or not self.ids else self.ids[pick % len(self.ids)]
        self.ids.append(id)
        self.commands.append(raw_command(len(self.commands), id, f"job-{id}"))

    @rule(target=writers, snapshot=st.booleans())
    def a_writer_takes_over(self, snapshot: bool) -> Partition:
        epoch = self.log.marker("w")
        partition: Partition = Partition(SampleDecider(), 0, 1)
        if snapshot and self.blobs:
            partition = snapshots.load(SampleDecider(), 0, 1, self.blobs[-1][2])
        epochs = EpochRule(partition.epoch)
        for record in self.log.records[partition.next_offset : epoch + 1]:
            if epochs.admits(record):
                partition.fold(record)
        partition.next_offset, partition.epoch = epoch + 1, epoch
        return partition

    @rule(writer=writers, most=st.integers(1, 5))
    def a_writer_decides(self, writer: Partition, most: int) -> None:
        """Also a zombie does: nothing tells it that it is one."""
        resume = writer.resume_of(topics.commands("jobs"), 0).offset
        units = []
        for raw in self.commands[resume : resume + most]:
            result = writer.command(raw, self.now())
            assert not isinstance(result, Forward)
            if isinstance(result, Unit):
                units.append(result)
        records = [record for unit in units for record in unit.records]
        offset = self.log.append(records)
        for unit in units:
            writer.appended(unit, offset)
            offset += len(unit.records)

    @rule(writer=consumes(writers))
    def a_writer_crashes(self, writer: Partition) -> None:
        pass

    @rule(writer=writers)
    def a_writer_whose_reader_confirms_takes_a_snapshot(self, writer: Partition) -> None:
        epochs = EpochRule()
        for record in self.log.records[: writer.next_offset]:
            epochs.admits(record)
        if epochs.epoch == writer.epoch:
            self.blobs.append((writer.next_offset, writer.epoch, snapshots.dump(writer)))

    @invariant()
    def no_command_is_decided_twice_and_none_is_passed_over(self) -> None:
        causes = [record.cause.position.offset for record in self.log.valid() if record.cause is not None]
        assert causes == list(range(len(causes)))

    @invariant()
    def every_job_is_submitted_at_most_once(self) -> None:
        submitted = [record.meta().subject for record in self.log.valid() if record.type == JobSubmitted.type_name()]
        assert len(submitted) == len(set(submitted))

    @invariant()
    def the_chain_holds_over_the_valid_records(self) -> None:
        digest = chain.GENESIS
        for record in self.log.valid():
            digest = chain.link(digest, record.key or b"", record.value or b"", without_hash(record.headers))
            if not record.is_marker:
                assert record.attributes[HASH] == digest.hex().encode()

    @rule(cut=st.integers(0, 1000))
    def a_reader_that_starts_anywhere_sees_the_same(self, cut: int) -> None:
        cut = cut % (len(self.log.records) + 1)
        epochs = EpochRule()
        before = [record for record in self.log.records[:cut] if epochs.admits(record)]
        assert before + self.log.valid(cut, epochs.epoch) == self.log.valid()


Writers.TestCase.settings = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWriters = Writers.TestCase
