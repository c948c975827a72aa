"""A state is dumped by its type where its decider has no `dump` of its own, and comes back as it was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

import orjson
import pytest

from events.hosting import service_of
from events.language.base import Model
from events.language.contexts import contexts
from events.writer import dumps
from events.writer.decider import Decider
from events.writer.deciders import DeciderError, Deciders, gathered
from events.writer.kinds import Kind

S = TypeVar("S")


class Colour(StrEnum):
    RED = "red"


class Label(Model):
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    colour: Colour | None = None


@dataclass(slots=True)
class Note:
    text: str = ""
    lines: list[Line] = field(default_factory=list)
    by_number: dict[int, Line] = field(default_factory=dict)
    readers: set[str] = field(default_factory=set)
    places: dict[str, tuple[int, float]] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    written_at: datetime | None = None
    best: float | None = float("-inf")


class Notes(Decider[Note]):
    context = "notes"
    aggregate = "note"
    commands = ()
    events = ()

    def initial(self, key: str) -> Note:
        return Note()


FULL = Note(
    "naïve 😀",
    [Line("a", Colour.RED), Line("b")],
    {7: Line("seven")},
    {"ada", "bob"},
    {"x": (1, 0.1)},
    (Label(key="k", value="v"), Label(key="l")),
    datetime(2026, 5, 9, 3, 12, 0, 1, tzinfo=UTC),
    0.1 + 0.2,
)


@pytest.mark.parametrize("state", [Note(), FULL, Note(best=float("inf"), places={"x": (1, float("-inf"))})])
def test_a_state_comes_back_as_it_was(state: Note) -> None:
    dumped = Notes().dump(state)
    assert Notes().load("n1", orjson.loads(orjson.dumps(dumped))) == state


def test_what_is_no_number_is_not_nothing() -> None:
    dumped = orjson.loads(orjson.dumps(Notes().dump(Note(best=float("nan")))))
    assert math.isnan(Notes().load("n1", dumped).best or 0.0)


def test_a_number_that_json_readers_would_round_is_refused() -> None:
    dumped = Notes().dump(Note(places={"x": (1 << 64, 0.0)}))
    with pytest.raises(TypeError, match="64-bit"):
        orjson.dumps(dumped)


def test_a_dump_is_apart_from_its_state() -> None:
    state = Note(lines=[Line("a")])
    dumped = Notes().dump(state)
    state.lines.append(Line("b"))
    assert len(dumped["lines"]) == 1


def test_a_state_at_rest_is_packed_and_opened_by_its_type() -> None:
    class Resting(Notes):
        def may_passivate(self, state: Note) -> bool:
            return True

    states = Kind(Resting()).states
    for number in range(2_000):
        states[f"n{number}"] = Note(text=f"{number}")
        states.passivate(f"n{number}", True)
    states.sweep()
    assert states.packed > 0
    assert [states[f"n{number}"].text for number in (0, 1_999)] == ["0", "1999"]


def versions(*deciders: Decider[Any]) -> str:
    return Deciders(*deciders).version


def test_snapshots_of_another_shape_are_of_another_version() -> None:
    @dataclass(frozen=True)
    class Longer(Line):
        size: int = 0

    class Lines(Decider[Line]):
        context, aggregate, commands, events = "notes", "line", (), ()

    class Others(Decider[Longer]):
        context, aggregate, commands, events = "notes", "line", (), ()

    class Raised(Lines):
        dump_version = 2

    class Own(Lines):
        def dump(self, state: Line) -> Any:
            return state.text

    assert versions(Lines()) == versions(Lines())
    assert len({versions(decider()) for decider in (Lines, Others, Raised, Own)}) == 4
    assert versions(Own()) == "line=1"


def test_the_type_of_a_state_is_found_through_a_base_of_ones_own() -> None:
    class Base(Decider[S], Generic[S]):
        context, aggregate, commands, events = "notes", "note", (), ()

    class Mine(Base[Note]):
        pass

    class Deeper(Mine):
        pass

    assert Deeper().load("n", Deeper().dump(FULL)) == FULL


class Opaque:
    pass


@dataclass
class Counted:
    text: str
    count: int = field(default=0, init=False)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (Opaque, r"its state has no data of its own: .*Opaque.*; write `dump` and `load`"),
        (Counted, r"Counted\.count is no argument of its class and would be lost; write `dump` and `load`"),
    ],
)
def test_a_state_that_can_not_be_dumped_is_told_at_the_start(state: Any, problem: str) -> None:
    class Lost(Decider[state]):  # type: ignore[misc]
        context, aggregate, commands, events = "notes", "note", (), ()

    with pytest.raises(DeciderError, match=f"Lost: {problem}"):
        Deciders(Lost())


def test_a_decider_that_does_not_say_its_state_is_told_so() -> None:
    class Silent(Decider):  # type: ignore[type-arg]
        context, aggregate, commands, events = "notes", "note", (), ()

    with pytest.raises(dumps.StateTypeError, match=r"Silent does not say what its state is; write Decider\[State\]"):
        dumps.adapter_of(Silent)


@dataclass(slots=True)
class Shelf:
    names: dumps.Names = field(default_factory=set)


class Shelves(Decider[Shelf]):
    context = "notes"
    aggregate = "shelf"
    commands = ()
    events = ()

    def initial(self, key: str) -> Shelf:
        return Shelf()


def test_a_set_of_names_is_dumped_in_order_and_comes_back_as_a_set() -> None:
    names = {f"name {number}" for number in range(50)}
    data = Shelves().dump(Shelf(names))
    assert data == {"names": sorted(names)}
    assert Shelves().load("s1", data) == Shelf(names)


@pytest.mark.parametrize("context", contexts())
def test_no_state_is_dumped_in_another_order_by_another_process(context: str) -> None:
    """A plain set would be: `dumps.Names` is one in order."""
    for decider in gathered(service_of(context).deciders()):
        kind = type(decider)
        if kind.dump is Decider.dump:
            plain = [each.name for each in fields(type(decider.initial("a"))) if str(each.type).startswith("set[")]
            assert plain == [], f"{kind.__name__}: {', '.join(plain)}"
