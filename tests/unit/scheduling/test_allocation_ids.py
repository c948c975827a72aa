"""Given any two placements, their allocations have ids of their own, which the language accepts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from events.language.common import Identifier
from services.scheduling.engine.plan import allocation_id

IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
LONGEST = 10**18
"""Number of an allocation that no queue will reach."""

jobs = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?", fullmatch=True)
long_jobs = st.tuples(st.just("x" * 96), jobs.map(lambda id: id[-32:].strip("._-") or "y")).map("".join)
attempts = st.integers(1, 1_000_000)
numbers = st.integers(1, LONGEST)


def test_long_job_ids_that_begin_alike_are_told_apart() -> None:
    first, second = "x" * 127 + "a", "x" * 127 + "b"
    assert allocation_id(first, 1, 1) != allocation_id(second, 1, 1)


def test_no_job_id_can_be_chosen_to_meet_a_shortened_one() -> None:
    shortened = allocation_id("x" * 128, 1, 1).removesuffix(".1.1")
    assert allocation_id(shortened, 1, 1) != f"{shortened}.1.1"


def test_people_find_the_job_in_an_allocations_id() -> None:
    assert allocation_id("train-7", 2, 31) == "train-7.2.31"
    assert allocation_id("y" * 128, 2, 31).startswith("y" * 70)


@pytest.mark.parametrize("length", [1, 95, 96, 97, 128])
def test_the_longest_id_is_within_the_bound(length: int) -> None:
    IDENTIFIER.validate_python(allocation_id("x" * length, 1_000_000, LONGEST))


@given(st.tuples(jobs | long_jobs, attempts, numbers), st.tuples(jobs | long_jobs, attempts, numbers))
def test_ids_are_equal_only_for_equal_placements(one: tuple[str, int, int], two: tuple[str, int, int]) -> None:
    assert IDENTIFIER.validate_python(allocation_id(*one)) == allocation_id(*one)
    assert (allocation_id(*one) == allocation_id(*two)) is (one == two)
