"""A context with several kinds of aggregate: each has its decider, its states and its timers; ids may be the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.language.base import Command, Event
from events.language.common import CommandRejected, ErrorCode
from events.language.contexts import contexts
from events.language.jobs import CancelJob, DependencyMet, JobSubmitted
from events.language.registry import command_types, event_types
from events.language.scheduling import JobEnqueued, QueueConfigured
from events.log import topics
from events.log.envelope import Meta
from events.log.wire import Raw, headers_of, value_of
from events.writer import states
from events.writer.decider import Decider, DecisionContext
from events.writer.deciders import Concerned, DeciderError, Deciders, gathered
from events.writer.encoding import DeadLetter
from events.writer.partition import Partition
from events.writer.snapshots import take
from services.jobs.decide import Jobs
from services.scheduling.decide import Scheduling
from tests.golden.folding import deciders_of
from tests.unit.writer.library import (
    NOW,
    Book,
    BookLent,
    BookReturned,
    Books,
    Desk,
    Lend,
    LoanReminded,
    Put,
    Remind,
    Shelf,
    ShelfFilled,
    Shelves,
    deciders,
    library,
)
from tests.unit.writer.sample import SampleDecider

__all__ = ["library"]

VISION, SOUND = "lab/vision", "lab/sound"


# Deciders


@pytest.mark.parametrize("context", list(contexts()))
def test_every_message_of_a_context_has_a_decider_that_lists_it(context: str) -> None:
    """Else its records would not fold, or its commands would be dead letters."""
    found = deciders_of(context)
    for message in (*command_types().values(), *event_types().values()):
        if message.context == context:
            decider = found.of(message)
            assert message in (*decider.commands, *decider.events), message.type_name()


def test_a_message_is_decided_by_the_kind_that_it_names() -> None:
    two = deciders()
    assert [type(two.of(message)) for message in (Put, Lend)] == [Shelves, Books]
    assert two.commands == {Put, Lend, Remind}
    assert two.version == "shelf=1.book=1"


def test_of_another_context_nothing_is_decided() -> None:
    with pytest.raises(DeciderError, match="JobSubmitted: scheduling has no decider of job"):
        Deciders(Scheduling()).of(JobSubmitted)


class Unhurried(SampleDecider):
    """Is in no hurry to hear what nobody tells it."""

    unhurried = frozenset({DependencyMet})


class Listing(SampleDecider):
    """Lists what queues decide."""

    events: ClassVar[Any] = (JobSubmitted, JobEnqueued)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ((), "deciders of one context are needed, these are of: none"),
        ((Jobs(), Scheduling()), "these are of: jobs, scheduling"),
        ((Jobs(), SampleDecider()), "Jobs and SampleDecider both decide job of jobs"),
        ((Unhurried(),), "Unhurried is in no hurry to hear forgelog.jobs.v1.DependencyMet, which it does not route"),
        ((Listing(),), "Listing decides job of jobs, but lists forgelog.scheduling.v1.JobEnqueued, which queue"),
    ],
)
def test_deciders_that_do_not_fit_together_are_refused_by_name(made: tuple[Any, ...], told: str) -> None:
    with pytest.raises(DeciderError, match=told):
        Deciders(*made)


def test_a_context_of_one_kind_may_give_its_decider() -> None:
    jobs = Jobs()
    assert list(gathered(jobs)) == [jobs]
    assert gathered(both := deciders()) is both


def test_routes_name_kind_and_key() -> None:
    two = Deciders(Scheduling())
    assert two.foreign == {"jobs", "resources"}
    assert two.routes(JobSubmitted) is False
    assert two.concerned(QueueConfigured.model_construct(queue="q")) == []
    spec = {"metadata": {"name": "a"}, "command": "true", "depends_on": [{"job_id": "b"}]}
    event = JobSubmitted(job_id="a", project="local/default", owner="o", spec=spec)
    assert Deciders(SampleDecider()).concerned(event) == [Concerned("job", "b")]


def test_a_command_that_no_decider_takes_is_refused() -> None:
    partition = Partition(Deciders(Scheduling()), 0, 1)
    command = CancelJob(job_id="a")
    meta = Meta("c1", command.type_name(), "", NOW, VISION, "owner")
    letter = partition.command(
        Raw(topics.commands("scheduling"), 0, 0, 0, b"", value_of(command), headers_of(meta)), NOW
    )
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "forgelog.jobs.v1.CancelJob is no command of scheduling; publish it to commands.jobs"
    assert letter.unit is not None
    rejected = letter.unit.records[0].at("events.scheduling", 0, 0).decode().data
    assert isinstance(rejected, CommandRejected)
    assert (rejected.code, rejected.message) == (ErrorCode.INVALID_ARGUMENT, letter.reason)


class Silent(Books):
    """Does not override `holds`, though it decides for loans."""

    holds = Decider.holds


class Unbegun(Books):
    """None of its events begins a loan."""

    events: ClassVar[Any] = (BookReturned, LoanReminded)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            Silent,
            r"Silent decides for others \(loan\), but does not say which of them its state still .* override `holds`",
        ),
        (Unbegun, "Unbegun lists no event that begins a loan; mark the one that does with `begins = True`"),
    ],
)
def test_who_decides_for_others_says_when_they_begin_and_when_they_are_over(made: type[Books], told: str) -> None:
    """Else where they come from would be kept for good, or never be known."""
    with pytest.raises(DeciderError, match=told):
        Deciders(made())


class Stray(Books):
    """Answers with what a shelf decides."""

    def decide(self, state: Book, command: Command, context: DecisionContext) -> Sequence[Event]:
        return [ShelfFilled(shelf="a")]

    def due(self, state: Book) -> datetime | None:
        return NOW

    def wake(self, state: Book, context: DecisionContext) -> Sequence[Event]:
        return [ShelfFilled(shelf="a")]


@pytest.mark.usefixtures("library")
def test_what_another_kind_decides_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    """Its key may be another partition's."""
    desk = Desk(lambda: Deciders(Shelves(), Stray()))
    (refused,) = desk.send(Lend(book="a", loan="x"), "1", VISION)
    assert isinstance(refused.data, CommandRejected)
    told = "Stray decides book of library, but gave forgelog.library.v1.ShelfFilled, which shelf decides"
    assert told in caplog.text
    kind = desk.partition.kinds["book"]
    kind.states["a"] = Book()
    desk.partition.wake(NOW)
    assert desk.partition.acting_on == "", "nothing has acted yet"
    kind.initiative.mark("a")
    desk.partition.after_batch(NOW)
    with pytest.raises(DeciderError, match=told):
        desk.partition.wake(NOW)
    assert desk.partition.acting_on == "book a"


# States


def states_of(partition: Partition) -> dict[str, dict[str, Any]]:
    return {
        "shelf": {key: partition.kinds["shelf"].states.get(key) for key in ("a", "b", "c")},
        "book": {key: partition.kinds["book"].states.get(key) for key in ("a", "b", "c")},
    }


@pytest.mark.usefixtures("library")
def test_two_kinds_with_one_id_share_nothing() -> None:
    desk = Desk()
    desk.send(Put(shelf="a"), "1", VISION)
    lent = desk.send(Lend(book="a", loan="x"), "2", SOUND)
    desk.send(Put(shelf="a"), "3", VISION)
    assert states_of(desk.partition)["shelf"]["a"] == Shelf(2)
    assert desk.partition.kinds["book"].states["a"].returned == 0
    assert lent[0].meta.project == SOUND, "the shelf of that id is another project's"
    returned = desk.after(31)
    assert [(type(each.data).__name__, each.key, each.meta.subject) for each in returned] == [
        ("BookReturned", "a", "x")
    ]
    assert (returned[0].meta.project, returned[0].meta.correlation) == (SOUND, "2")


LOANS = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))
"""Books and ids of loans, which come again."""

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.sampled_from([VISION, SOUND])),
        st.tuples(st.sampled_from(["lend", "remind"]), LOANS, st.sampled_from([VISION, SOUND])),
        st.tuples(st.just("after"), st.sampled_from([1, 20, 40]), st.just("")),
        st.tuples(st.sampled_from(["fold", "snapshot", "sweep"]), st.just(""), st.just("")),
    ),
    max_size=40,
)


@pytest.mark.usefixtures("library")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_log_and_snapshot_give_the_states_and_provenances_that_the_writer_has(
    steps: list[tuple[str, Any, str]],
) -> None:
    """And every event carries its aggregate's project, even upon another's command."""
    desk, plain = Desk(), Desk()
    first: dict[tuple[str, ...], str] = {}
    pack, states.PACK = states.PACK, 2
    try:
        for number, (what, name, project) in enumerate(steps):
            match what:
                case "put":
                    said = [each.send(Put(shelf=name), f"c{number}", project) for each in (desk, plain)]
                case "lend" | "remind":
                    command = (Lend if what == "lend" else Remind)(book=name[0], loan=name[1])
                    said = [each.send(command, f"c{number}", project) for each in (desk, plain)]
                case "after":
                    said = [each.after(name) for each in (desk, plain)]
                case _:
                    {"fold": Desk.recover, "snapshot": Desk.from_snapshot, "sweep": Desk.sweep}[what](desk)
                    continue
            ours, theirs = ([(each.data, each.meta._replace(id="")) for each in one] for one in said)
            assert sorted(map(str, ours)) == sorted(map(str, theirs)), "who took over says the same"
            for each in said[1]:
                if isinstance(each.data, CommandRejected):
                    continue
                about = each.data.aggregate, each.key, each.meta.subject
                if isinstance(each.data, BookLent):
                    first[about] = project
                assert each.meta.project == first.setdefault(about, project)
                if about[0] == "loan" and each.meta.subject not in plain.partition.kinds["book"].states[each.key].loans:
                    del first[about]
        assert states_of(desk.folded()) == states_of(plain.partition)
        assert known(desk.folded()) == known(plain.partition)
    finally:
        states.PACK = pack


def known(partition: Partition) -> dict[str, Any]:
    """The provenance of what is not at rest."""
    kinds = take(partition).content["kinds"]
    return {
        name: {key: sorted(map(str, each)) for key, each in kind["provenance"].items()} for name, kind in kinds.items()
    }


@pytest.mark.usefixtures("library")
def test_what_a_state_does_not_speak_of_any_more_is_forgotten() -> None:
    desk = Desk()
    for number in range(3 * states.LEAST_OTHERS):
        desk.send(Lend(book="a", loan=f"l{number}"), f"c{number}", VISION)
        desk.after(40)
    held = desk.partition.kinds["book"].states
    assert len(held.provenances("a")) <= states.LEAST_OTHERS + 2
    desk.send(Lend(book="a", loan="last"), "last", SOUND)
    content = take(desk.partition).content["kinds"]["book"]
    assert content["provenance"]["a"] == [None, ["loan", "last", SOUND, "owner", "last", "", ""]]
    assert isinstance(held["a"], Book)


class Dusted(Books):
    """Sees what is put on shelves, and goes on resting."""

    def observe(self, state: Book, event: Event, time: datetime) -> Book:
        state.returned += 1
        return state


@pytest.mark.usefixtures("library")
def test_a_state_that_rests_after_it_has_observed_something_is_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PACK", 4)
    desk = Desk(lambda: Deciders(Shelves(), Dusted()))
    books = [f"b{number}" for number in range(40)]
    for book in books:
        desk.send(Lend(book=book, loan="x"), book, VISION)
        desk.after(31)
    held = desk.partition.kinds["book"].states
    most = len(held.items())
    (put,) = desk.send(Put(shelf="s"), "put", VISION)
    for book in books:
        desk.partition.event(put, [Concerned("book", book)], desk.now)
    assert len(held.items()) <= most < 2 * states.PACK
    assert [held[book].returned for book in books] == [2] * len(books)
    assert desk.after(0) == []
