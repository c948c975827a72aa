"""Given what is registered of two versions of a dataset, when they are compared, then what changed is told, and a
column that differs by more than chance has drifted."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from forgelog.drift import Drift, SchemaChange, StepChange, compared
from forgelog.errors import InvalidInput


def version(number: int = 1, statistics: Any = None, **fields: Any) -> dict[str, Any]:
    columns = dict.fromkeys(statistics or {}, "DOUBLE")
    empty = {"samples": 1000, "splits": {}, "columns": columns, "preprocessing": []}
    return {"name": "d", "number": number, **empty, "statistics": statistics or {}, **fields}


def drift(before: dict[str, Any], now: dict[str, Any], measure: str, **limits: float) -> Drift:
    found = compared(version(statistics={"x": before}), version(2, {"x": now}), limits)
    (one,) = [each for each in found.columns if each.measure == measure]
    return one


NUMBERS = {"count": 1000, "nulls": 0, "mean": 10.0, "deviation": 2.0}


def test_schema_counts_and_steps_that_differ_are_told() -> None:
    before = version(columns={"a": "BIGINT", "b": "VARCHAR"}, splits={"train": 900, "test": 100})
    now = version(
        2,
        samples=1100,
        columns={"a": "DOUBLE", "c": "DATE"},
        splits={"train": 1000, "test": 100},
        preprocessing=[{"name": "resize", "parameters": {"size": "28", "mode": "bilinear"}}],
    )
    found = compared(before, now)
    assert (found.before, found.now, found.samples) == ("d/1", "d/2", (1000, 1100))
    assert found.splits == {"train": (900, 1000)}
    assert found.schema == [
        SchemaChange("a", "BIGINT", "DOUBLE"),
        SchemaChange("b", "VARCHAR", ""),
        SchemaChange("c", "", "DATE"),
    ]
    assert found.steps == [StepChange(1, "", "resize mode=bilinear size=28")]
    assert (found.unmeasured, found.drifted) == (["a"], [])


@pytest.mark.parametrize(
    ("before", "now", "measure", "value"),
    [
        (NUMBERS, {**NUMBERS, "mean": 11.0}, "mean_shift", 0.5),
        (NUMBERS, {**NUMBERS, "deviation": 1.0}, "spread", 1.0),
        (NUMBERS, {**NUMBERS, "count": 900, "nulls": 100}, "missing", 0.1),
        ({**NUMBERS, "deviation": 0.0}, {**NUMBERS, "deviation": 0.0, "mean": 9.0}, "mean_shift", inf),
        (
            {"count": 1000, "nulls": 0, "frequent": {"cat": 500, "dog": 500}},
            {"count": 1000, "nulls": 0, "frequent": {"cat": 300, "dog": 500, "bee": 200}},
            "total_variation",
            0.2,
        ),
        ({"mean": 10.0, "deviation": 2.0}, {"mean": 11.0, "deviation": 2.0}, "mean_shift", 0.5),
    ],
)
def test_a_column_that_differs_has_drifted(before: Any, now: Any, measure: str, value: float) -> None:
    found = drift(before, now, measure)
    assert (found.value, found.drifted) == (pytest.approx(value), True)
    assert not drift(before, before, measure).drifted


def test_a_difference_within_its_limit_is_no_drift() -> None:
    slight = {**NUMBERS, "mean": 10.38}  # 0.19 deviations, and far more than chance
    assert not drift(NUMBERS, slight, "mean_shift").drifted
    assert drift(NUMBERS, slight, "mean_shift", mean_shift=0.1).drifted


def test_of_few_samples_a_difference_may_be_chance() -> None:
    few = {**NUMBERS, "count": 10}
    assert not drift(few, {**few, "mean": 11.0}, "mean_shift").drifted
    one, other = ({"count": 40, "nulls": 0, "frequent": {"cat": cats, "dog": 40 - cats}} for cats in (18, 23))
    found = drift(one, other, "total_variation")
    assert (found.value > found.limit, found.drifted) == (True, False)


def test_values_that_are_not_named_count_together() -> None:
    before = {"count": 1000, "nulls": 0, "frequent": {"cat": 995}}
    now = {"count": 1000, "nulls": 0, "frequent": {"cat": 600, "dog": 300}}
    found = drift(before, now, "total_variation")
    assert (found.value, found.kind, found.before, found.now) == (pytest.approx(0.395), "cat", 0.995, 0.6)


def test_what_drifted_stands_first() -> None:
    before = version(statistics={"a": NUMBERS, "b": NUMBERS})
    now = version(2, {"a": NUMBERS, "b": {**NUMBERS, "mean": 20.0}})
    found = compared(before, now)
    assert (found.columns[0].column, found.columns[0].measure, found.drifted) == ("b", "mean_shift", ["b"])


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"psi": 0.1}, "there is no measure 'psi'; they are missing, total_variation, mean_shift, spread"),
        ({"spread": float("nan")}, "spread is nan; give a number of at least 0"),
        ({"spread": -1.0}, "spread is -1; give a number of at least 0"),
    ],
)
def test_limits_are_numbers_of_known_measures(limits: dict[str, float], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        compared(version(), version(2), limits)
