"""How a rebuild is divided between processes."""

from __future__ import annotations

import pytest

from events.log.positions import Place
from events.projections.shards import SMALLEST, divide
from tests.unit.writer.sample import SampleProjection


class Tangled(SampleProjection):
    divisible = False


class Widely(SampleProjection):
    inputs = ("jobs", "resources")


def ends(*events: int) -> dict[Place, int]:
    return {("jobs", number): count for number, count in enumerate(events)}


def test_shares_have_about_as_much_to_do() -> None:
    assert divide(SampleProjection(), ends(90_000, 30_000, 30_000, 30_000), 2) == [[0], [1, 2, 3]]
    assert divide(SampleProjection(), ends(*[SMALLEST] * 4), 2) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "target",
    [ends(10, 20, 0, 5), ends(0, 0), ends(10 * SMALLEST), ends(SMALLEST, SMALLEST - 1)],
    ids=["few events", "none", "one partition", "too few for two"],
)
def test_one_share_where_dividing_gains_nothing(target: dict[Place, int]) -> None:
    (share,) = divide(SampleProjection(), target, 8)
    assert sorted(share) == [number for _, number in target]


def test_no_more_shares_than_partitions_nor_an_empty_one() -> None:
    found = divide(SampleProjection(), ends(10 * SMALLEST, 10 * SMALLEST), 8)
    assert found == [[0], [1]]
    found = divide(SampleProjection(), ends(10 * SMALLEST, 0, 0, 10 * SMALLEST), 8)
    assert sorted(number for share in found for number in share) == [0, 1, 2, 3]
    assert all(found)


@pytest.mark.parametrize("projection", [Tangled(), Widely()])
def test_rows_of_several_partitions_are_not_divided(projection: SampleProjection) -> None:
    assert len(divide(projection, ends(*[10 * SMALLEST] * 4), 8)) == 1
