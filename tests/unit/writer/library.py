"""A context of two kinds of aggregate that decide: shelves, and books. Their ids may be the same.

A third kind, the loan, is decided by its book.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from events.language.base import Command, Event, Message
from events.language.common import ErrorCode, OptionalIdentifier, Refused
from events.log import topics
from events.log.envelope import Meta, Recorded
from events.log.wire import Raw, headers_of, value_of
from events.writer.decider import Decider, DecisionContext
from events.writer.deciders import Deciders
from events.writer.encoding import Unit
from events.writer.partition import Partition
from events.writer.provenance import Provenance
from events.writer.snapshots import dump, load
from tests.unit.writer.spoken import speak

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
LOAN_DAYS = 30


class Put(Command):
    """Put a book on a shelf."""

    context: ClassVar[str] = "library"
    aggregate: ClassVar[str] = "shelf"
    subject_from: ClassVar[str] = "shelf"
    key_from: ClassVar[str] = "shelf"

    shelf: OptionalIdentifier


class Lend(Command):
    """Lend a book to somebody."""

    context: ClassVar[str] = "library"
    aggregate: ClassVar[str] = "loan"
    subject_from: ClassVar[str] = "loan"
    decided_by: ClassVar[str] = "book"
    key_from: ClassVar[str] = "book"

    book: str
    loan: str


class Remind(Lend):
    """Remind somebody of a loan, whether it has come back or not."""


class ShelfFilled(Event):
    context: ClassVar[str] = "library"
    aggregate: ClassVar[str] = "shelf"
    subject_from: ClassVar[str] = "shelf"
    key_from: ClassVar[str] = "shelf"

    shelf: str


class ShelfLent(Event):
    """A loan that a shelf begins by itself."""

    context: ClassVar[str] = "library"
    aggregate: ClassVar[str] = "loan"
    subject_from: ClassVar[str] = "loan"
    decided_by: ClassVar[str] = "shelf"
    key_from: ClassVar[str] = "shelf"
    begins: ClassVar[bool] = True

    shelf: str
    loan: str


class BookEvent(Event):
    context: ClassVar[str] = "library"
    aggregate: ClassVar[str] = "loan"
    subject_from: ClassVar[str] = "loan"
    decided_by: ClassVar[str] = "book"
    key_from: ClassVar[str] = "book"

    book: str
    loan: str


class BookLent(BookEvent):
    begins: ClassVar[bool] = True


class BookReturned(BookEvent):
    pass


class LoanReminded(BookEvent):
    """Whether the loan is still out or not."""


MESSAGES: tuple[type[Message], ...] = (Put, Lend, Remind, ShelfFilled, ShelfLent, BookLent, BookReturned, LoanReminded)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The language has these messages, for one test."""
    speak(MESSAGES, monkeypatch)


@dataclass(slots=True)
class Shelf:
    books: int = 0
    lent: list[str] = field(default_factory=list)


class Shelves(Decider[Shelf]):
    """Each third book makes a shelf tell so once more, when the batch is over."""

    context = "library"
    aggregate = "shelf"
    commands = (Put,)
    events = (ShelfFilled,)

    def initial(self, key: str) -> Shelf:
        return Shelf()

    def evolve(self, state: Shelf, event: Event, time: datetime) -> Shelf:
        if isinstance(event, ShelfLent):
            state.lent.append(event.loan)
        else:
            state.books += 1
        return state

    def decide(self, state: Shelf, command: Command, context: DecisionContext) -> Sequence[Event]:
        return [ShelfFilled(shelf=context.subject)]

    def after_batch(self, state: Shelf, context: DecisionContext) -> Sequence[Event]:
        return [ShelfFilled(shelf=context.subject)] if state.books % 3 == 0 else ()

    def dump(self, state: Shelf) -> dict[str, Any]:
        return {"books": state.books, "lent": state.lent}

    def load(self, key: str, data: dict[str, Any]) -> Shelf:
        return Shelf(**data)


@dataclass(slots=True)
class Book:
    loans: dict[str, datetime] = field(default_factory=dict)
    returned: int = 0


class Books(Decider[Book]):
    """What is lent comes back by itself. A book that was returned is at rest; so are those that nobody has."""

    context = "library"
    aggregate = "book"
    commands = (Lend, Remind)
    events = (BookLent, BookReturned, LoanReminded)

    def __init__(self) -> None:
        self.owners: list[Provenance | None] = []
        """Of the loans that commands were about, as they were told when they were decided."""

    def initial(self, key: str) -> Book:
        return Book()

    def evolve(self, state: Book, event: Event, time: datetime) -> Book:
        if isinstance(event, BookLent):
            state.loans[event.loan] = time + timedelta(days=LOAN_DAYS)
        elif isinstance(event, BookReturned):
            del state.loans[event.loan]
            state.returned += 1
        return state

    def decide(self, state: Book, command: Command, context: DecisionContext) -> Sequence[Event]:
        assert isinstance(command, Lend)
        self.owners.append(context.owner)
        if isinstance(command, Remind):
            return [LoanReminded(book=command.book, loan=command.loan)]
        if command.loan in state.loans:
            raise Refused(ErrorCode.ALREADY_EXISTS, f"loan {command.loan} exists")
        return [BookLent(book=command.book, loan=command.loan)]

    def due(self, state: Book) -> datetime | None:
        return min(state.loans.values(), default=None)

    def wake(self, state: Book, context: DecisionContext) -> Sequence[Event]:
        over = [loan for loan, until in state.loans.items() if until <= context.now]
        return [BookReturned(book=context.subject, loan=loan) for loan in over]

    def may_passivate(self, state: Book) -> bool:
        return not state.loans

    def holds(self, state: Book, aggregate: str, id: str) -> bool:
        return id in state.loans

    def dump(self, state: Book) -> dict[str, Any]:
        return {"loans": {loan: until.isoformat() for loan, until in state.loans.items()}, "returned": state.returned}

    def load(self, key: str, data: dict[str, Any]) -> Book:
        loans = {loan: datetime.fromisoformat(until) for loan, until in data["loans"].items()}
        return Book(loans, data["returned"])


def deciders() -> Deciders:
    return Deciders(Shelves(), Books())


class Desk:
    """The library's only partition, and the log that it writes."""

    def __init__(self, made: Callable[[], Deciders] = deciders) -> None:
        self._made = made
        self.partition = Partition(made(), 0, 1)
        self.partition.epoch = 0
        self.now = NOW
        self.raws: list[Raw] = []
        self._commands = 0

    def send(self, command: Command, id: str, project: str) -> list[Recorded]:
        """What a command leads to, with what the batch leads to."""
        meta = Meta(id, type(command).type_name(), "", self.now, project, "owner")
        raw = Raw(topics.commands("library"), 0, self._commands, 0, b"", value_of(command), headers_of(meta))
        self._commands += 1
        unit = self.partition.command(raw, self.now)
        assert isinstance(unit, Unit)
        return self._append([unit, *self.partition.after_batch(self.now)])

    def after(self, days: float) -> list[Recorded]:
        """What the passing of time leads to."""
        self.now += timedelta(days=days)
        return self._append([*self.partition.wake(self.now), *self.partition.after_batch(self.now)])

    def _append(self, units: list[Unit]) -> list[Recorded]:
        said = []
        for unit in units:
            offset = 1 + len(self.raws)
            self.raws += [each.at("events.library", 0, offset + place) for place, each in enumerate(unit.records)]
            self.partition.appended(unit, offset)
            said += [raw.decode() for raw in self.raws[offset - 1 :]]
        return said

    def folded(self) -> Partition:
        """The partition as another writer folds it from the log."""
        partition = Partition(self._made(), 0, 1)
        for raw in self.raws:
            partition.fold(raw)
        partition.epoch = 0
        return partition

    # Who goes on

    def keep(self) -> None:
        """The same writer."""

    def sweep(self) -> None:
        """The same writer, once it has looked which provenances are still needed."""
        for kind in self.partition.kinds.values():
            kind.states.sweep()

    def recover(self) -> None:
        """Another one, that folds the log."""
        self._take_over(self.folded())

    def from_snapshot(self) -> None:
        """Another one, that begins with a snapshot."""
        self._take_over(load(self._made(), 0, 1, dump(self.partition)))

    def _take_over(self, partition: Partition) -> None:
        self.partition = partition
        partition.on_resume(self.now)
        assert partition.after_batch(self.now) == []
