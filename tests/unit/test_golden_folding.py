"""What is compared of a recorded history's states: those that are packed too, each kind's, and where they come from."""

from __future__ import annotations

import pytest

from events.writer import states
from tests.golden.folding import known_to
from tests.unit.writer.library import Desk, Lend, Put, library

__all__ = ["library"]


@pytest.mark.usefixtures("library")
def test_states_of_all_kinds_are_told_with_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PACK", 1)
    desk = Desk()
    desk.send(Put(shelf="a"), "1", "lab/vision")
    for book in "abc":
        desk.send(Lend(book=book, loan="x"), f"2{book}", "lab/sound")
    desk.after(31)
    desk.send(Lend(book="c", loan="y"), "3", "lab/vision")
    assert desk.partition.kinds["book"].states.packed
    known = known_to(desk.partition, "library/0")
    assert known["library/0/states/shelf"] == {"a": {"books": 1, "lent": []}}
    assert {key: book["returned"] for key, book in known["library/0/states/book"].items()} == {"a": 1, "b": 1, "c": 1}
    assert known["library/0/provenance/shelf"] == {"a": {"own": ["lab/vision", "owner", "1", "", ""]}}
    assert known["library/0/provenance/book"]["c"] == {"own": None, "loan y": ["lab/vision", "owner", "3", "", ""]}
