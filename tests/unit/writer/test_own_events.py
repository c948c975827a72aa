"""Given what a writer has appended, when the broker has answered, then the writer knows it as if it had read it.

That a writer never takes a void event for a valid one is tried by `test_epochs_steps`, with any number of zombies."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from events.language.base import Event
from events.language.jobs import JobSubmitted, SubmitJob
from events.language.jobs.spec import JobDependency, JobMetadata, JobSpec
from events.log import topics
from events.log.envelope import Meta
from events.log.positions import Place, ReaderPosition
from events.log.tail import Tail
from events.log.wire import Raw, headers_of, value_of
from events.writer import own_events
from events.writer.deciders import Deciders
from events.writer.encoding import Unit
from events.writer.own_topic import OwnTopic
from events.writer.partition import Partition
from tests.unit.writer.sample import SampleDecider

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = topics.events("jobs")
EPOCH = 10
"""Offset of the writer's marker."""
BEHIND = ReaderPosition(EPOCH + 1, EPOCH)
"""Where its reader begins."""


def partition(decider: SampleDecider | None = None) -> Partition:
    made = Partition(Deciders(decider or SampleDecider()), 0, 1)
    made.next_offset = EPOCH + 1
    made.begin(EPOCH, "marker")
    return made


class Submits:
    """Commands of one partition, one after the other."""

    def __init__(self) -> None:
        self._offset = 0

    def to(self, owner: Partition, job: str, *depends_on: str) -> Unit:
        dependencies = tuple(JobDependency(job_id=each) for each in depends_on)
        command = SubmitJob(
            job_id=job, spec=JobSpec(metadata=JobMetadata(name="n"), command="true", depends_on=dependencies)
        )
        headers = headers_of(Meta(job, SubmitJob.type_name(), job, NOW, "local/default", "owner"))
        raw = Raw(topics.commands("jobs"), 0, self._offset, 0, job.encode(), value_of(command), headers)
        self._offset += 1
        unit = owner.command(raw, NOW)
        assert isinstance(unit, Unit)
        return unit


# What is valid


def test_what_follows_the_marker_without_a_gap_is_valid_without_being_read() -> None:
    own, submits = partition(), Submits()
    own.appended(submits.to(own, "a"), 11)
    own.appended(submits.to(own, "b"), 12)
    assert own.own.known(BEHIND) == (13, EPOCH)
    assert own.own.spares_reading(BEHIND)


def test_what_comes_behind_a_gap_is_known_once_the_gap_was_read() -> None:
    own, submits = partition(), Submits()
    own.appended(submits.to(own, "a"), 11)
    own.appended(submits.to(own, "b"), 13)  # somebody has written at 12
    assert own.own.known(BEHIND) == BEHIND
    assert not own.own.spares_reading(BEHIND)
    read = ReaderPosition(13, EPOCH)  # it was void
    assert own.own.known(read) == (14, EPOCH)
    assert own.own.spares_reading(read)


def test_behind_the_marker_of_a_newer_writer_nothing_is_known() -> None:
    own, submits = partition(), Submits()
    own.appended(submits.to(own, "a"), 12)
    read = ReaderPosition(13, 11)
    assert own.own.known(read) == read
    assert not own.own.spares_reading(read)


def test_a_writer_knows_nothing_before_its_marker() -> None:
    fresh = Partition(SampleDecider(), 0, 1)
    assert fresh.own.known(ReaderPosition()) == ReaderPosition()
    assert not fresh.own.spares_reading(ReaderPosition())


def test_an_answer_that_comes_late_makes_nothing_known() -> None:
    own, submits = partition(), Submits()
    first, second = submits.to(own, "a"), submits.to(own, "b")
    own.appended(second, 12)
    own.appended(first, 11)
    assert own.own.known(BEHIND) == BEHIND
    assert own.own.known(ReaderPosition(13, EPOCH)) == (13, EPOCH)


# What concerns own states


def test_an_event_that_concerns_own_states_is_given_as_it_would_be_read() -> None:
    own, submits = partition(), Submits()
    own.appended(submits.to(own, "a"), 11)
    unit = submits.to(own, "b", "a")
    own.appended(unit, 12)
    (raw,) = own.own.take(BEHIND)
    read = unit.records[0].at(EVENTS, 0, 12)
    assert (raw.topic, raw.partition, raw.offset, raw.value, raw.headers) == (
        *(EVENTS, 0, 12),
        *(read.value, read.headers),
    )
    assert isinstance(raw.decode().data, JobSubmitted)
    assert own.own.take(BEHIND) == []


def test_it_is_not_given_while_it_has_to_be_read() -> None:
    own, submits = partition(), Submits()
    own.appended(submits.to(own, "b", "a"), 12)  # behind a gap
    assert not own.own.has(BEHIND)
    assert own.own.take(BEHIND) == []
    assert own.own.take(ReaderPosition(13, EPOCH)) == []  # it was read by now
    own.appended(submits.to(own, "c", "a"), 13)
    assert [raw.offset for raw in own.own.take(ReaderPosition(13, EPOCH))] == [13]


def test_a_reader_that_was_moved_back_gives_it_again() -> None:
    own, submits = partition(), Submits()
    own.appended(submits.to(own, "b", "a"), 11)
    own.own.reread()
    assert not own.own.spares_reading(BEHIND)
    assert own.own.take(BEHIND) == []
    own.appended(submits.to(own, "c", "a"), 12)
    assert own.own.take(BEHIND) == []
    assert [raw.offset for raw in own.own.take(ReaderPosition(12, EPOCH))] == [12]


def test_an_event_whose_route_raises_is_given_too() -> None:
    class Faulty(SampleDecider):
        routes = {JobSubmitted: lambda event: [event.no_such_field]}  # noqa: RUF012 - as the sample's

    own, submits = partition(Faulty()), Submits()
    own.appended(submits.to(own, "a"), 11)
    assert [raw.offset for raw in own.own.take(BEHIND)] == [11]


def test_a_decider_that_does_not_react_to_its_own_topic_is_given_nothing() -> None:
    class Deaf(SampleDecider):
        routes: dict[type[Event], Any] = {}  # noqa: RUF012 - as the sample's

    own, submits = partition(Deaf()), Submits()
    own.appended(submits.to(own, "b", "a"), 11)
    assert own.own.spares_reading(BEHIND)
    assert own.own.take(BEHIND) == []


def test_so_many_that_they_are_not_kept_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_events, "MOST_KEPT", 3)
    own, submits = partition(), Submits()
    for offset in range(11, 15):
        own.appended(submits.to(own, f"j{offset}", "a"), offset)
    assert not own.own.spares_reading(BEHIND)
    assert own.own.take(BEHIND) == []
    assert own.own.spares_reading(ReaderPosition(15, EPOCH))


def test_they_are_given_in_parts_and_what_is_left_is_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_events, "MOST_AT_ONCE", 2)
    own, submits = partition(), Submits()
    for offset in range(11, 14):
        own.appended(submits.to(own, f"j{offset}", "a"), offset)
    assert own.own.passed(BEHIND) == BEHIND
    assert [raw.offset for raw in own.own.take(BEHIND)] == [11, 12]
    assert own.own.passed(BEHIND) == (13, EPOCH)
    assert [raw.offset for raw in own.own.take(BEHIND)] == [13]
    assert own.own.passed(BEHIND) == (14, EPOCH)


# What is read


class Reader:
    """What `OwnTopic` uses of a `Tail`."""

    def __init__(self, positions: dict[Place, ReaderPosition]) -> None:
        self.positions = positions
        self.paused: set[Place] = set()

    def pause(self, place: Place) -> None:
        self.paused.add(place)

    def resume(self, place: Place) -> bool:
        was = place in self.paused
        self.paused.discard(place)
        return was

    def last_known_end(self, place: Place) -> int:
        return 99

    def seek(self, place: Place, position: ReaderPosition) -> None:
        self.positions[place] = position


class Table:
    """A writer with one partition of two; it reads both, and one of another context."""

    def __init__(self, foreign: frozenset[str] = frozenset((EVENTS, "events.resources"))) -> None:
        self.partition = partition()
        self.handler = SimpleNamespace(foreign=foreign, stops=())
        self.assignment = SimpleNamespace(assigned={0}, targets={})
        self.tail = Reader({("jobs", 0): BEHIND, ("jobs", 1): ReaderPosition(), ("resources", 0): ReaderPosition()})
        given = cast("Any", (self.handler, self.assignment))
        self.topic = OwnTopic("jobs", *given, {0: self.partition}, None)

    def paused(self) -> set[Place]:
        self.topic.choose(cast("Tail", self.tail))
        return self.tail.paused


def test_what_another_process_writes_is_read_and_what_this_one_writes_is_not() -> None:
    assert Table().paused() == {("jobs", 0)}


def test_what_nobody_reacts_to_is_not_read() -> None:
    assert Table(frozenset(("events.resources",))).paused() == {("jobs", 0), ("jobs", 1)}


@pytest.mark.parametrize("reacts", [True, False])
def test_a_gap_is_read_at_once_if_somebody_reacts(reacts: bool) -> None:
    table, submits = (
        Table(frozenset((EVENTS, "events.resources")) if reacts else frozenset(("events.resources",))),
        Submits(),
    )
    table.paused()
    table.partition.appended(submits.to(table.partition, "a"), 12)
    assert table.topic.choose(cast("Tail", table.tail)) is reacts
    assert ("jobs", 0) not in table.paused()
    table.tail.positions["jobs", 0] = ReaderPosition(12, EPOCH)
    assert ("jobs", 0) in table.paused()


@pytest.mark.parametrize("amid", ["a takeover", "a stop"])
def test_all_is_read_amid(amid: str) -> None:
    table = Table()
    if amid == "a stop":
        table.handler.stops = ("a stop",)
    else:
        table.assignment.targets[0] = {}
    assert table.paused() == set()


def test_a_context_that_reads_nothing_else_hears_of_repairs_by_its_own_topic() -> None:
    assert Table(frozenset((EVENTS,))).paused() == set()
    assert Table(frozenset()).paused() == {("jobs", 1)}


def test_the_known_end_is_noted_once_all_that_is_wanted_was_taken() -> None:
    table, submits = Table(), Submits()
    table.partition.appended(submits.to(table.partition, "b", "a"), 11)
    tail = cast("Tail", table.tail)
    assert table.topic.has(tail)
    table.paused()
    assert table.tail.positions["jobs", 0] == BEHIND
    assert [raw.offset for raw in table.topic.take(tail)] == [11]
    table.topic._note_at = 0.0
    table.paused()
    assert table.tail.positions["jobs", 0] == (12, EPOCH) == table.topic.known(tail, 0)
    assert table.partition.resume_of(EVENTS, 0) == (12, EPOCH)


def test_what_does_not_have_to_be_read_is_no_lag() -> None:
    """A fetch that was under way has told of a record that somebody wrote behind the known end, for example."""
    table, submits = Table(), Submits()
    tail = cast("Tail", table.tail)
    assert table.topic.end_of(tail, ("jobs", 0)) == BEHIND.offset
    assert table.topic.end_of(tail, ("jobs", 1)) == 99
    assert table.topic.end_of(tail, ("resources", 0)) == 99
    table.partition.appended(submits.to(table.partition, "a"), 12)
    assert table.topic.end_of(tail, ("jobs", 0)) == 99
