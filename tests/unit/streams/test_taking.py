"""Given records of a stream, when they are taken, then it is known what to write, what is held and what is overdue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import pytest

from events.language.streams import StreamTopic
from events.log.wire import Raw
from events.projections.tables import Db
from events.streams import taking
from events.streams.stream import Stream, Unusable
from events.streams.taking import OVERHEAD, Item, KeyStates, Late

NO_DATABASE = cast(Db, None)
WAIT = 10.0


@dataclass
class Count:
    """How far it was counted, and who came too early."""

    reached: int = 0
    early: dict[int, int] = field(default_factory=dict)
    """Number → offset."""
    since: float = 0.0


class Counting(Stream[tuple[str, int, int], str, Count, tuple[str, int]]):
    """Numbers of a name, in order: 1, 2, 3. A record's value is ``name number``."""

    context: ClassVar = "jobs"
    topic: ClassVar = StreamTopic("numbers.jobs")
    schema: ClassVar = "numbers"
    tables: ClassVar = ()

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def read(self, raw: Raw) -> tuple[str, int, int]:
        name, number = (raw.value or b"").decode().split()
        return name, int(number), raw.offset

    def key(self, piece: tuple[str, int, int]) -> str:
        return piece[0]

    async def load(self, db: Db, keys: Sequence[str]) -> Mapping[str, Count]:
        self.loaded += keys
        return {key: Count() for key in keys}

    def take(self, state: Count, piece: tuple[str, int, int], now: float) -> Sequence[tuple[str, int]]:
        name, number, offset = piece
        if number == 0:
            raise Unusable(f"{name} counts from 1")
        if number > state.reached + 1:
            state.since = state.since if state.early else now
            state.early.setdefault(number, offset)
            return ()
        if number <= state.reached:
            return ()
        state.reached = number
        found = [(name, number)]
        while state.early.pop(state.reached + 1, None) is not None:
            state.reached += 1
            found.append((name, state.reached))
        return found

    def held(self, state: Count) -> Sequence[int]:
        return list(state.early.values())

    def due(self, state: Count) -> float | None:
        return state.since + WAIT if state.early else None

    def overdue(self, state: Count, now: float) -> Sequence[tuple[str, int]]:
        state.reached = min(state.early)
        del state.early[state.reached]
        return [("?", state.reached)]

    async def store(self, db: Db, numbers: range, chunks: Sequence[Any], states: Mapping[str, Count]) -> None:
        raise AssertionError("nothing is stored here")


def item(stream: Counting, offset: int, text: str, came: float = 0.0) -> Item:
    piece = stream.read(Raw("numbers.jobs", 0, offset, 0, b"", text.encode(), ()))
    return Item(Raw("numbers.jobs", 0, offset, 0, b"", text.encode(), ()), stream.key(piece), piece, came)


async def test_what_is_new_is_to_be_written_once_with_the_states_that_gave_it() -> None:
    stream = Counting()
    states = KeyStates(stream)
    items = [item(stream, 0, "a 1"), item(stream, 1, "b 1"), item(stream, 2, "a 1"), item(stream, 3, "c 5")]
    taken = await states.take(NO_DATABASE, items, [], 0.0)
    assert (taken.chunks, set(taken.states)) == ([("a", 1), ("b", 1)], {"a", "b"})
    taken = await states.take(NO_DATABASE, items[:3], [], 0.0)
    assert (taken.chunks, taken.states) == ([], {})


async def test_a_record_that_the_stream_does_not_take_is_told_with_the_reason_and_the_others_are_taken() -> None:
    stream = Counting()
    states = KeyStates(stream)
    items = [item(stream, 0, "a 1"), item(stream, 1, "a 0"), item(stream, 2, "a 2")]
    taken = await states.take(NO_DATABASE, items, [], 0.0)
    assert taken.chunks == [("a", 1), ("a", 2)]
    assert [(raw.offset, reason) for raw, reason in taken.unusable] == [(1, "a counts from 1")]


async def test_held_records_are_told_in_the_order_in_which_they_came() -> None:
    stream = Counting()
    states = KeyStates(stream)
    await states.take(NO_DATABASE, [item(stream, 4, "a 3", 2.0), item(stream, 9, "b 3", 1.0)], [], 2.0)
    await states.take(NO_DATABASE, [item(stream, 7, "a 3", 3.0)], [], 3.0)  # a repeat of what is held
    assert [held.offset for held in states.held] == [9, 4]
    await states.take(NO_DATABASE, [item(stream, 10, "a 1"), item(stream, 11, "a 2")], [], 4.0)
    assert [held.offset for held in states.held] == [9]


def now_read(_partition: int) -> float:
    """Everything is read, up to any time."""
    return math.inf


def nothing_read(_partition: int) -> float:
    return -math.inf


async def test_what_was_waited_for_long_enough_is_late_until_it_is_given_up() -> None:
    stream = Counting()
    states = KeyStates(stream)
    await states.take(NO_DATABASE, [item(stream, 4, "a 3", 1.0)], [], 1.0)
    assert states.late(1.0 + WAIT / 2, now_read) == []
    late = states.late(1.0 + WAIT, now_read)
    assert [each.key for each in late] == ["a"]
    taken = await states.take(NO_DATABASE, [], late, 1.0 + WAIT)
    assert taken.chunks == [("?", 3)]
    assert (states.late(100.0, now_read), states.held) == ([], [])


async def test_nothing_is_late_before_all_is_read_that_was_there_when_it_was_due() -> None:
    stream = Counting()
    states = KeyStates(stream)
    await states.take(NO_DATABASE, [item(stream, 4, "a 3", 1.0), item(stream, 5, "b 3", 2.0)], [], 2.0)
    assert states.due(1.0 + WAIT) == {0: 1.0 + WAIT}
    assert states.due(5.0 + WAIT) == {0: 2.0 + WAIT}
    read_to = {0: 1.5 + WAIT}
    assert states.late(5.0 + WAIT, nothing_read) == []
    assert [late.key for late in states.late(5.0 + WAIT, read_to.__getitem__)] == ["a"]


async def test_a_state_that_is_not_due_is_not_asked_for_what_is_overdue() -> None:
    """What it waited for came with the same records, or its record is not taken again after an error."""
    stream = Counting()
    states = KeyStates(stream)
    late = [Late("a", 0, 50.0), Late("b", 0, 50.0), Late("c", 0, 50.0)]
    items = [item(stream, 4, "b 3", 45.0), item(stream, 5, "c 3", 1.0)]
    taken = await states.take(NO_DATABASE, items, late, 50.0)
    assert taken.chunks == [("?", 3)]
    assert set(taken.states) == {"c"}


async def test_while_too_much_is_held_what_was_waited_for_longest_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "MOST_HELD", 2 * OVERHEAD + 20)
    stream = Counting()
    states = KeyStates(stream)
    items = [
        item(stream, number, f"{name} 3", came) for number, (name, came) in enumerate([("a", 3), ("b", 1), ("c", 2)])
    ]
    await states.take(NO_DATABASE, items[:2], [], 3.0)
    assert states.late(4.0, now_read) == []
    await states.take(NO_DATABASE, items[2:], [], 3.0)
    late = states.late(4.0, nothing_read)
    assert [each.key for each in late] == ["b"]
    assert (await states.take(NO_DATABASE, [], late, 4.0)).chunks == [("?", 3)]
    assert states.late(4.0, now_read) == []


async def test_states_that_nothing_waits_for_are_forgotten_and_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "REMEMBERED", 2)
    stream = Counting()
    states = KeyStates(stream)
    await states.take(NO_DATABASE, [item(stream, 0, "held 7")], [], 0.0)
    for number, name in enumerate("abcdef"):
        await states.take(NO_DATABASE, [item(stream, 1 + number, f"{name} 1")], [], 0.0)
    await states.take(NO_DATABASE, [item(stream, 20, "a 1"), item(stream, 21, "held 7")], [], 0.0)
    assert stream.loaded == ["held", *"abcdef", "a"]


async def test_after_a_failed_transaction_everything_is_loaded_again() -> None:
    stream = Counting()
    states = KeyStates(stream)
    await states.take(NO_DATABASE, [item(stream, 0, "a 1"), item(stream, 1, "a 3")], [], 0.0)
    states.forget()
    assert (states.held, states.late(100.0, now_read)) == ([], [])
    await states.take(NO_DATABASE, [item(stream, 2, "a 1")], [], 0.0)
    assert stream.loaded == ["a", "a"]
