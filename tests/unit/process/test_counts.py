"""Numbers in texts from outside: what is none is refused in our own words, wherever it comes in."""

from __future__ import annotations

import pytest

from events.process.counts import count_of
from events.process.settings import split_address
from events.queries.queries import QueryError
from forgelog.client.log import _place_offset
from forgelog.errors import InvalidInput
from forgelog.where import checked
from services.jobs.output.follow import _cursor

NONE = ["", "-1", "+1", "1.0", " 1", "1_0", "²", "٣", "①", "9" * 19, "9" * 5_000]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number_is_none(text: str) -> None:
    assert count_of(text) is None


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_a_number_is_read(text: str, number: int) -> None:
    assert count_of(text) == number


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number_is_no_port_no_position_and_no_cursor(text: str) -> None:
    with pytest.raises(InvalidInput, match="host:port"):
        checked(f"here:{text}")
    with pytest.raises(ValueError, match="is not host:port"):
        split_address(f"here:{text}")
    with pytest.raises(InvalidInput, match="topic/partition@offset"):
        _place_offset(f"events.jobs/0@{text}")
    if text:  # none is the beginning
        with pytest.raises(QueryError, match="cursor"):
            _cursor(text)
