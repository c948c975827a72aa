"""A number that JSON has not is refused with its field: sent as null it would mean that the field is left out."""

from __future__ import annotations

import math

import pytest

from forgelog import AsyncClient
from forgelog.client.finite import not_finite
from forgelog.errors import InvalidInput


def test_numbers_that_are_not_finite_are_found_with_their_fields() -> None:
    body = {"a": 1.5, "b": {"c": [None, 2, math.inf]}, "d": "nan"}
    assert list(not_finite(body)) == [("b.c[2]", math.inf)]
    assert list(not_finite({"a": None, "b": [1.0, {"c": 2}]})) == []


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf])
async def test_they_are_not_sent(seconds: float) -> None:
    async with AsyncClient("127.0.0.1:1", token="flk_key") as client:
        with pytest.raises(InvalidInput, match=r"^limits\.seconds: is (nan|-?inf); give a finite number$"):
            await client.publish(
                ("forgelog.experiments.v1.CreateTuning", {"name": "a", "limits": {"seconds": seconds}})
            )
