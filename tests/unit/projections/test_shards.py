"""How a rebuild is divided between processes."""

from __future__ import annotations

import pytest

from events.log.positions import Place
from events.projections.shards import SMALLEST, divide


def of_jobs(*partitions: int) -> list[Place]:
    return [("jobs", number) for number in partitions]


def ends(*events: int) -> dict[Place, int]:
    return {("jobs", number): count for number, count in enumerate(events)}


def test_shares_have_about_as_much_to_do() -> None:
    assert divide(ends(90_000, 30_000, 30_000, 30_000), 2) == [of_jobs(0), of_jobs(1, 2, 3)]
    assert divide(ends(*[SMALLEST] * 4), 2) == [of_jobs(0, 2), of_jobs(1, 3)]


def test_places_of_several_contexts_are_divided_as_well() -> None:
    target = {("scheduling", 2): 50_000, ("resources", 2): 50_000, ("scheduling", 0): 0, ("resources", 0): 10}
    first, second = divide(target, 2)
    assert sorted([first[0], second[0]]) == [("resources", 2), ("scheduling", 2)]
    assert sorted([*first, *second]) == sorted(target)


@pytest.mark.parametrize(
    "target",
    [ends(10, 20, 0, 5), ends(0, 0), ends(10 * SMALLEST), ends(SMALLEST, SMALLEST - 1)],
    ids=["few events", "none", "one partition", "too few for two"],
)
def test_one_share_where_dividing_gains_nothing(target: dict[Place, int]) -> None:
    (share,) = divide(target, 8)
    assert sorted(share) == list(target)


def test_no_more_shares_than_partitions_nor_an_empty_one() -> None:
    found = divide(ends(10 * SMALLEST, 10 * SMALLEST), 8)
    assert found == [of_jobs(0), of_jobs(1)]
    found = divide(ends(10 * SMALLEST, 0, 0, 10 * SMALLEST), 8)
    assert sorted(place for share in found for place in share) == of_jobs(0, 1, 2, 3)
    assert all(found)
