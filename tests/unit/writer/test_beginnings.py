"""Where aggregates that another one decides for come from: once they begin, once they are over, once an id comes again.

Live, after a look at what is still needed, after a recovery from the log, and after one from a snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from events.language.base import Command, Event
from events.log.envelope import Recorded
from events.writer import states
from events.writer.decider import DecisionContext
from events.writer.deciders import Deciders
from events.writer.snapshots import Taken, encode, load, take
from tests.unit.writer.library import (
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
    ShelfLent,
    Shelves,
    deciders,
    library,
)

__all__ = ["library"]

VISION, SOUND = "lab/vision", "lab/sound"

going_on = pytest.mark.parametrize(
    "then",
    [Desk.keep, Desk.sweep, Desk.recover, Desk.from_snapshot],
    ids=["live", "swept", "log", "snapshot"],
)


def projects(said: list[Recorded]) -> list[tuple[str, str, str]]:
    return [(type(each.data).__name__, each.meta.project, each.meta.correlation) for each in said]


@pytest.fixture(params=[False, True], ids=["at work", "packed"])
def packed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether states at rest are packed at once, where the desk lends two further books."""
    if request.param:
        monkeypatch.setattr(states, "PACK", 1)
    return bool(request.param)


def lent_and_returned(packed: bool) -> Desk:
    desk = Desk()
    desk.send(Lend(book="a", loan="x"), "1", VISION)
    desk.after(31)
    for book in "bc" if packed else "":
        desk.send(Lend(book=book, loan="y"), book, VISION)
        desk.after(31)
    assert bool(desk.partition.kinds["book"].states.packed) is packed
    return desk


@going_on
@pytest.mark.usefixtures("library")
def test_an_id_that_is_used_again_is_another_aggregate_s(then: Any, packed: bool) -> None:
    desk = lent_and_returned(packed)
    then(desk)
    assert projects(desk.send(Lend(book="a", loan="x"), "2", SOUND)) == [("BookLent", SOUND, "2")]
    then(desk)
    assert projects(desk.after(31)) == [("BookReturned", SOUND, "2")]


@going_on
@pytest.mark.usefixtures("library")
def test_what_is_said_of_an_aggregate_that_is_over_is_the_input_s(then: Any, packed: bool) -> None:
    """Whether it has been forgotten yet or not."""
    desk = lent_and_returned(packed)
    then(desk)
    assert projects(desk.send(Remind(book="a", loan="x"), "2", SOUND)) == [("LoanReminded", SOUND, "2")]
    assert projects(desk.send(Remind(book="a", loan="x"), "3", VISION)) == [("LoanReminded", VISION, "3")]
    books = desk.partition.kinds["book"].decider
    assert books.owners[-2:] == [None, None], "nor is a decision told of it"
    desk.send(Lend(book="a", loan="x"), "4", SOUND)
    then(desk)
    assert projects(desk.send(Remind(book="a", loan="x"), "5", VISION)) == [("LoanReminded", SOUND, "5")]
    (owner,) = desk.partition.kinds["book"].decider.owners[-1:]
    assert (owner.project, owner.correlation) == (SOUND, "4")


class Hasty(Books):
    """What is lent comes back, and is asked for, at once."""

    def decide(self, state: Book, command: Command, context: DecisionContext) -> Sequence[Event]:
        return [BookLent(book="a", loan="x"), BookReturned(book="a", loan="x"), BookLent(book="a", loan="x")]

    def after_batch(self, state: Book, context: DecisionContext) -> Sequence[Event]:
        begun = [BookLent(book="a", loan="y"), LoanReminded(book="a", loan="y"), LoanReminded(book="a", loan="z")]
        return [] if "y" in state.loans else [*begun, LoanReminded(book="a", loan="x")]


@going_on
@pytest.mark.usefixtures("library")
def test_what_begins_and_what_is_said_of_it_may_come_together(then: Any) -> None:
    """Before the state speaks of it."""
    desk = Desk(lambda: Deciders(Shelves(), Hasty()))
    said = desk.send(Lend(book="a", loan="x"), "1", VISION)
    assert projects(said[3:]) == [
        ("BookLent", "local/default", ""),
        ("LoanReminded", "local/default", ""),
        ("LoanReminded", "local/default", ""),
        ("LoanReminded", VISION, "1"),
    ]
    then(desk)
    returned = [each.meta for each in desk.after(31) if isinstance(each.data, BookReturned)]
    assert {(meta.subject, meta.project) for meta in returned} == {("x", VISION), ("y", "local/default")}


class Renewing(Books):
    """Lends once more, under another id, what has come back."""

    def wake(self, state: Book, context: DecisionContext) -> Sequence[Event]:
        returned = super().wake(state, context)
        renewed = BookLent(book=context.subject, loan="renewed")
        return returned if "renewed" in state.loans else [*returned, renewed]


@pytest.mark.usefixtures("library")
def test_what_an_aggregate_begins_by_itself_is_the_platform_s_where_that_one_is_nobody_s() -> None:
    """No event is about a book itself."""
    desk = Desk(lambda: Deciders(Shelves(), Renewing()))
    desk.send(Lend(book="a", loan="x"), "1", VISION)
    assert projects(desk.after(31)) == [("BookReturned", VISION, "1"), ("BookLent", "local/default", "")]


class Lending(Shelves):
    """Begins a loan for each third book, by itself."""

    events: ClassVar[Any] = (ShelfFilled, ShelfLent)

    def after_batch(self, state: Shelf, context: DecisionContext) -> Sequence[Event]:
        self.asked = context
        loan = f"{context.subject}-{state.books}"
        if state.books % 3 or loan in state.lent:
            return ()
        return [ShelfLent(shelf=context.subject, loan=loan)]

    def holds(self, state: Shelf, aggregate: str, id: str) -> bool:
        return id in state.lent


@going_on
@pytest.mark.usefixtures("library")
def test_what_an_aggregate_begins_by_itself_is_its_own(then: Any) -> None:
    desk = Desk(lambda: Deciders(Lending(), Books()))
    for number, project in enumerate((VISION, SOUND)):
        desk.send(Put(shelf="a"), f"{number}", project)
    then(desk)
    _, lent = desk.send(Put(shelf="a"), "2", SOUND)
    assert (type(lent.data), lent.meta.subject) == (ShelfLent, "a-3")
    assert (lent.meta.project, lent.meta.actor, lent.meta.correlation) == (VISION, "owner", "0")
    asked = desk.partition.kinds["shelf"].decider.asked
    assert (asked.project, asked.actor) == (VISION, "owner"), "and it is told so"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("end", [-1, None], ids=["one too few", "one too many"])
def test_a_snapshot_with_another_number_of_packs_is_refused(end: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else states would be missing, and what is asked of them decided as if they had never been."""
    monkeypatch.setattr(states, "PACK", 1)
    desk = lent_and_returned(packed=True)
    content, packs = take(desk.partition)
    assert packs
    taken = Taken(content, packs[:end] if end else [*packs, packs[0]])
    with pytest.raises(ValueError, match=f"has {len(taken.packs)} packs and says {len(packs)}"):
        load(deciders(), 0, 1, encode(taken))
