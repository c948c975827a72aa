"""Given dead letters, when they are listed or put back, then none hides another, and none chooses where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from events.log.deadletters import Gathered, NotReplayable, origin_of
from events.log.wire import Raw

COUNTS = {"commands.jobs": 2, "logs.jobs": 2, "events.jobs": 2, "commands.resources": 2}


def letter(offset: int, origin: str, *, replayed: bool = False, partition: int = 0) -> Raw:
    headers = [("fl_position", origin.encode()), *([("fl_replayed", b"1")] if replayed else [])]
    return Raw("deadletter.jobs", partition, offset, 1_767_225_600_000 + offset, b"", b"value", headers)


def gathered(*raws: Raw, limit: int = 3) -> Gathered:
    found = Gathered(limit)
    for raw in raws:
        found.add(raw)
    return found


def test_letters_of_a_stream_hide_none_of_commands() -> None:
    raws = [letter(0, "commands.jobs/0@5"), *(letter(n, f"logs.jobs/0@{n}") for n in range(1, 20))]
    origins = [each.origin for each in gathered(*raws).letters]
    assert origins == ["commands.jobs/0@5", "logs.jobs/0@17", "logs.jobs/0@18", "logs.jobs/0@19"]


def test_the_newest_letters_are_listed_in_whatever_order_they_are_read() -> None:
    offsets = [7, 1, 9, 4, 8, 2, 6, 3, 5, 0]
    found = gathered(*(letter(n, f"logs.jobs/0@{n}") for n in offsets)).letters
    assert [each.position.offset for each in found] == [7, 8, 9]


def test_a_letter_is_told_once_and_says_whether_it_was_put_back() -> None:
    at = "commands.jobs/0@5"
    found = gathered(letter(0, at), letter(1, at), letter(2, at, replayed=True), letter(3, "commands.jobs/0@6")).letters
    assert [(each.origin, each.replayed) for each in found] == [(at, True), ("commands.jobs/0@6", False)]


def test_a_record_that_names_no_place_hides_no_letter() -> None:
    foreign = Raw("deadletter.jobs", 0, 0, 1_767_225_600_000, b"", b"value", [("fl_position", b"\xff")])
    found = gathered(foreign, letter(1, "commands.jobs/0@5")).letters
    assert [each.origin for each in found] == ["\ufffd", "commands.jobs/0@5"]


def test_a_header_without_a_value_hides_no_letter() -> None:
    """It is valid in Kafka; the list of letters ended in an error at it."""
    headers: list[tuple[str, Any]] = [("ce_id", None), ("fl_position", b"commands.jobs/0@5")]
    (found,) = gathered(Raw("deadletter.jobs", 0, 0, 1_767_225_600_000, b"", b"value", headers)).letters
    assert found.headers == [("ce_id", b"")]


@pytest.mark.parametrize("origin", ["commands.jobs/1@5", "logs.jobs/0@7"])
def test_a_letter_goes_back_to_a_topic_of_its_context(origin: str) -> None:
    (found,) = gathered(letter(0, origin)).letters
    assert str(origin_of(found, COUNTS)) == origin


@pytest.mark.parametrize(
    "origin", ["events.jobs/0@5", "commands.resources/0@5", "logs.jobs/2@7", "nonsense", "", "repairs/0@1"]
)
def test_a_letter_goes_nowhere_else(origin: str) -> None:
    (found,) = gathered(letter(0, origin)).letters
    with pytest.raises(NotReplayable, match=r"no place in commands\.jobs or logs\.jobs"):
        origin_of(found, COUNTS)
