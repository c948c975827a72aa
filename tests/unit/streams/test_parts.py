"""Given many records at once, when they are stored, then a transaction takes a bounded part of them, in their order."""

from __future__ import annotations

from typing import Any

import pytest

from events.log.wire import Raw
from events.streams import storing
from events.streams.storing import parts_of
from events.streams.taking import OVERHEAD, Item


class Counting:
    """A stream whose pieces are what they count."""

    @staticmethod
    def count(piece: int) -> int:
        return piece


STREAM: Any = Counting()


def item(offset: int, counted: int | None, value: bytes = b"") -> Item:
    return Item(Raw("t", 0, offset, 0, b"k", value, ()), "k", counted)


def offsets(items: list[Item]) -> list[list[int]]:
    return [[each.offset for each in part] for part in parts_of(items, STREAM)]


def test_nothing_is_one_part_for_what_waits() -> None:
    assert offsets([]) == [[]]


def test_a_part_ends_where_it_would_count_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_COUNTED", 10)
    assert offsets([item(n, counted) for n, counted in enumerate([4, 6, 1, None, 9, 50, 2])]) == [
        [0, 1],
        [2, 3, 4],
        [5],
        [6],
    ]


def test_a_part_ends_where_it_would_have_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_BYTES", 3 * OVERHEAD)
    large = item(2, 0, b"x" * 4 * OVERHEAD)
    assert offsets([item(0, 0), item(1, 0), large, item(3, 0)]) == [[0, 1], [2], [3]]
