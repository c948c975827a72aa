"""The writer as a machine that can be stopped before and behind each of its awaits.

Its state is the real `Partition`; its steps are those of `events.writer.writer` and `events.writer.recovery`: send
the marker, hear of it, read up, observe what others said, decide, send, hear, note, start over. `Flaws` are mistakes
that it could make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar

from events.language.base import Event
from events.language.common import WriterStarted
from events.language.jobs import JobSubmitted, SubmitJob
from events.language.jobs.spec import JobDependency, JobMetadata, JobSpec
from events.log import topics
from events.log.envelope import Meta, Position, Recorded
from events.log.positions import EpochRule, ReaderPosition
from events.log.wire import Raw, headers_of, value_of
from events.writer import snapshots
from events.writer.decider import DecisionContext
from events.writer.deciders import Deciders
from events.writer.encoding import Encoded, Forward, Unit
from events.writer.partition import Partition
from tests.unit.writer.kafka_model import EVENTS, Batch, Log, Network
from tests.unit.writer.sample import Sample, SampleDecider

START = datetime(2026, 1, 1, tzinfo=UTC)
COMMANDS = topics.commands("jobs")
OTHERS = (EVENTS, 1)
"""Where what others say stands: a partition that this writer reads and does not write."""


@dataclass(slots=True)
class Hearing(Sample):
    heard: int = 0
    """Foreign events observed: the view."""


class Decider(SampleDecider):
    """The sample's, with a view."""

    def initial(self, key: str) -> Sample:
        return Hearing()

    def observe(self, state: Sample, event: Event, time: datetime) -> Sample:
        assert isinstance(state, Hearing)
        state.heard += 1
        return state

    def dump(self, state: Sample) -> dict[str, Any]:
        assert isinstance(state, Hearing)
        return {**SampleDecider.dump(self, state), "heard": state.heard}

    def load(self, key: str, data: dict[str, Any]) -> Sample:
        return Hearing(**data)


class Listener(Decider):
    """A second kind of aggregate, with the same keys: it hears what the first one hears, and decides nothing."""

    aggregate = "listener"
    commands: ClassVar[Any] = ()
    events: ClassVar[Any] = ()

    def react(self, state: Sample, event: Event, context: DecisionContext) -> Sequence[Event]:
        return ()


def deciders() -> Deciders:
    return Deciders(Decider(), Listener())


@dataclass(frozen=True)
class Flaws:
    """What a wrong implementation would do. None is made but by a test that wants to see it caught."""

    everything_is_valid: bool = False
    readers_forget_the_epoch: bool = False
    records_without_epoch: bool = False
    group_offset_at_decision: bool = False
    group_offset_at_ack: bool = False
    acks_are_believed: bool = False
    failures_are_passed_over: bool = False
    snapshots_unconfirmed: bool = False
    snapshots_amid_an_append: bool = False
    marker_after_reading: bool = False
    gaps_are_passed_over: bool = False


@dataclass
class World:
    """What outlives a process."""

    flaws: Flaws = field(default_factory=Flaws)
    log: Log = field(default_factory=Log)
    commands: list[Raw] = field(default_factory=list)
    others: list[Recorded] = field(default_factory=list)
    snapshots: list[bytes] = field(default_factory=list)
    told_by_ack: dict[str, int] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)
    """Epoch → up to where its writer takes all for valid, without having read it."""
    group_offset: int = 0
    sessions: count[int] = field(default_factory=count)
    clock: int = 0

    def __post_init__(self) -> None:
        self.network = Network(self.log)

    def now(self) -> datetime:
        self.clock += 1
        return START + timedelta(seconds=self.clock)

    def command(self, id: str) -> None:
        """Someone submits the job ``job-<id>``."""
        command = SubmitJob(job_id=f"job-{id}", spec=JobSpec(metadata=JobMetadata(name="n"), command="true"))
        headers = headers_of(Meta(id, SubmitJob.type_name(), command.job_id, START, "local/default", "owner"))
        offset = len(self.commands)
        self.commands.append(Raw(COMMANDS, 0, offset, 0, command.job_id.encode(), value_of(command), headers))

    def say(self, key: str) -> None:
        """Another partition says something that concerns a job of this one, and leads to an event of it."""
        offset = len(self.others)
        spec = JobSpec(metadata=JobMetadata(name="n"), command="true", depends_on=(JobDependency(job_id=key),))
        event = JobSubmitted(job_id=f"other-{offset}", project="local/default", owner="owner", spec=spec)
        meta = Meta(f"o{offset}", JobSubmitted.type_name(), event.job_id, START, "local/default", "owner")
        self.others.append(Recorded(event, meta, event.job_id, Position(*OTHERS, offset), 0, ""))


class Process:
    """A writer of the partition, from its first marker to its crash. Nobody tells it that it is a zombie."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waiting_since = 0
        self.begin()

    # Taking over

    def begin(self) -> None:
        """Start (over): a new producer session, and a marker as its first batch."""
        self.session, self.sequence = next(self.world.sessions), 0
        self.partition: Partition | None = None
        self.units: list[Unit] = []
        """Decided, not sent."""
        self.under_way: list[Batch] = []
        """Sent, in order, and not known to be there."""
        self.held: tuple[int, bytes] | None = None
        self.marker = -1
        self.reading: EpochRule | None = None
        self.ready_at = 0
        if self.world.flaws.marker_after_reading:
            self._load()
        else:
            self._send_marker()

    def _send_marker(self) -> None:
        event = WriterStarted(subject_id="jobs/0", writer="w")
        headers = headers_of(Meta("m", WriterStarted.type_name(), "jobs/0", START, "", "forgelog"))
        self._send([Encoded.of(b"jobs/0", value_of(event), headers, 0)], [])

    def _load(self) -> None:
        stored = self.world.snapshots
        self.partition = snapshots.load(deciders(), 0, 1, stored[-1]) if stored else Partition(deciders(), 0, 1)
        self.reading = self._rule(self.partition.epoch, self.partition.next_offset)
        self.ready_at = -1

    def _rule(self, epoch: int, begun: int | None = None) -> EpochRule:
        return Everything() if self.world.flaws.everything_is_valid else EpochRule(epoch, begun)

    def read_up(self, most: int) -> None:
        """Fold some more of the history; at the marker the partition is this writer's."""
        partition, rule = self.partition, self.reading
        assert partition is not None
        assert rule is not None
        late = self.world.flaws.marker_after_reading and self.marker < 0
        end = len(self.world.log.records) if late else self.marker + 1
        at = partition.next_offset
        for record in self.world.log.records[at : min(at + most, end)]:
            if rule.admits(record):
                partition.fold(record)
            partition.next_offset = record.offset + 1
        if partition.next_offset >= end:
            self.reading = None
            if late:
                self._send_marker()
            else:
                self._own(self.marker)

    def _own(self, epoch: int) -> None:
        partition = self.partition
        assert partition is not None
        partition.next_offset, partition.epoch = epoch + 1, epoch
        if self.world.flaws.records_without_epoch:
            partition._units.encoder.begin(-1)
        self.ready_at = len(self.world.others)
        self.heard_to = partition.read_from(*OTHERS).offset

    @property
    def owns(self) -> bool:
        """Whether it believes to own the partition."""
        return self.partition is not None and self.reading is None and self.marker >= 0

    @property
    def ready(self) -> bool:
        """Whether it takes commands: it has heard what others had said when it took over."""
        return self.owns and self.heard_to >= self.ready_at

    # Deciding

    def react(self, most: int) -> None:
        """Observe and react to what others said."""
        partition = self.partition
        assert partition is not None
        for recorded in self.world.others[self.heard_to : self.heard_to + most]:
            event: Any = recorded.data
            handle, observe = partition.wants(*OTHERS, recorded.position.offset)
            unit = partition.event(
                recorded, partition.deciders.concerned(event), self.world.now(), handle=handle, observe=observe
            )
            if unit is not None:
                self.units.append(unit)
            self.heard_to = recorded.position.offset + 1
            partition.passed(*OTHERS, ReaderPosition(self.heard_to, 0))
        for name, kind in partition.kinds.items():
            heard = sum(state.heard for state in kind.states.values())
            assert heard == self.heard_to, f"the view of {name} has each event once"

    def decide(self, most: int) -> None:
        """Take some commands, in order, from where the log says that it is."""
        partition, flaws = self.partition, self.world.flaws
        assert partition is not None
        if (flaws.group_offset_at_decision or flaws.group_offset_at_ack) and self.sequence == 1 and not self.units:
            partition.inputs[COMMANDS, 0] = ReaderPosition(self.world.group_offset)
        at = partition.resume_of(COMMANDS, 0).offset
        for raw in self.world.commands[at : at + most]:
            result = partition.command(raw, self.world.now())
            assert not isinstance(result, Forward)
            if isinstance(result, Unit):
                self.units.append(result)
        if flaws.group_offset_at_decision:
            self.world.group_offset = partition.resume_of(COMMANDS, 0).offset

    # Appending

    def send(self, split: int) -> None:
        """Send what was decided, in one batch or in two."""
        units, self.units = self.units, []
        cut = split % (len(units) + 1)
        for part in (units[:cut], units[cut:]):
            if part:
                self._send([record for unit in part for record in unit.records], part)

    def _send(self, records: list[Any], units: list[Unit]) -> None:
        batch = Batch(self.session, self.sequence, records, units)
        self.sequence += 1
        self.under_way.append(batch)
        self.world.network.send(batch)

    def hear(self, batch: Batch, base: int) -> None:
        """Kafka's word that a batch is there; of an earlier session's it is nothing to this one."""
        if batch not in self.under_way:
            return
        self.under_way.remove(batch)
        if not batch.units:
            self.marker = base
            if self.world.flaws.marker_after_reading:
                self._own(base)
            else:
                self._load()
            return
        partition = self.partition
        assert partition is not None
        for unit in batch.units:
            if self.world.flaws.gaps_are_passed_over:
                partition.own.end = base
            partition.appended(unit, base)
            if self.world.flaws.acks_are_believed and unit.command:
                self.world.told_by_ack.setdefault(unit.command.partition("\n")[2], base)
            base += len(unit.records)
        self.world.known[self.marker] = partition.own.known(ReaderPosition(self.marker + 1, self.marker)).offset
        if self.world.flaws.group_offset_at_ack:
            self.world.group_offset = max(self.world.group_offset, partition.resume_of(COMMANDS, 0).offset)

    def give_up(self) -> None:
        """Something that was sent is not known to be there, and is not waited for any more."""
        if self.world.flaws.failures_are_passed_over and self.owns:
            self.under_way.clear()
            self.session, self.sequence = next(self.world.sessions), 0
            return
        self.begin()

    def read_own(self) -> None:
        """Its reader gets to the end of the log: a newer marker there means that it starts over."""
        rule = EpochRule()
        for record in self.world.log.records:
            rule.admits(record)
        if rule.epoch > self.marker:
            self.begin()
        elif self.held is not None:
            position, blob = self.held
            if position <= len(self.world.log.records):
                self.world.snapshots.append(blob)
                self.held = None

    def take_snapshot(self) -> None:
        """Keep the state, when all of it is said to be in the log; it is stored once its reader confirms that."""
        partition = self.partition
        assert partition is not None
        blob = snapshots.dump(partition)
        if self.world.flaws.snapshots_unconfirmed:
            self.world.snapshots.append(blob)
        else:
            self.held = partition.next_offset, blob


class Everything(EpochRule):
    """The rule that takes all for valid."""

    def admits(self, record: Raw) -> bool:
        EpochRule.admits(self, record)
        return True
