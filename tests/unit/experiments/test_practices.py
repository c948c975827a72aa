"""Given the metrics of a run that has ended, when it is looked at for practices, then each tells what it found."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from pydantic import ValidationError

from events.language.experiments.practices import BestPractices, CheckResult, DataCheck, ValidationCheck
from forgelog_pb.experiments.v1 import points_queries_pb2 as pb
from services.experiments.data_practices import data_results
from services.experiments.practices import results


def metric(key: str = "loss", value: float = 0.5, **fields: Any) -> Any:
    """A series in short; without NaNs its extremes are its value."""
    known = {"min": value, "max": value} if value == value else {}
    return pb.Metric(run_id="r1", key=key, value=value, **{"count": 3, **known, **fields})


def checked(series: list[Any], **check: Any) -> CheckResult:
    practices = BestPractices(checks=(ValidationCheck(name="good", metric="loss", **check),))
    (found,) = results(practices, series)
    return found


def test_recommended_metrics_are_to_be_logged() -> None:
    found = results(BestPractices(metrics=("loss", "accuracy")), [metric(), metric(dataset="test")])
    assert [(each.name, each.passed, each.finding) for each in found] == [
        ("logs loss", True, "6 points"),
        ("logs accuracy", False, "it was not logged"),
    ]


@pytest.mark.parametrize(
    ("check", "series", "passed", "finding"),
    [
        ({"at_most": 1}, [metric()], True, "the last value is 0.5"),
        ({"at_most": 0.1}, [metric()], False, "the last value is 0.5, more than 0.1"),
        ({"at_least": 0.6}, [metric()], False, "the last value is 0.5, less than 0.6"),
        ({"at_most": 0.1, "value": "least"}, [metric(min=0.05)], True, "the least value is 0.05"),
        ({"at_least": 2, "value": "most"}, [metric(max=1)], False, "the largest value is 1, less than 2"),
        ({"at_most": 1}, [], False, "it was not logged"),
        ({"at_most": 1}, [metric(value=nan, nans=3)], False, "the last value is NaN"),
        ({"at_most": 1, "value": "least"}, [metric(value=nan, nans=3)], False, "the least value is NaN"),
        ({"finite": True}, [metric(nans=1)], False, "1 of 3 points are NaN"),
        ({"finite": True}, [metric(max=inf)], False, "it is infinite at some point"),
        ({"finite": True}, [metric()], True, "the last value is 0.5"),
        (
            {"at_most": 0.6},
            [metric(dataset="train"), metric(value=0.7, dataset="test")],
            False,
            "the last value is 0.7, more than 0.6 (of dataset 'test')",
        ),
    ],
)
def test_a_check_tells_what_it_found(check: dict[str, Any], series: list[Any], passed: bool, finding: str) -> None:
    found = checked(series, **check)
    assert (found.passed, found.finding) == (passed, finding)


def read(number: int | None = 2, role: str = "training", **known: Any) -> dict[str, Any]:
    """What a run reads, with what is registered of it."""
    return {
        "name": "mnist",
        "digest": "d" * 64,
        "role": role,
        "number": number,
        "samples": None,
        "statistics": {},
    } | known


AGES = {"age": {"count": 90, "nulls": 10, "distinct": 40, "mean": 41.5, "deviation": 9.0, "least": 18, "most": 80}}


@pytest.mark.parametrize(
    ("check", "inputs", "passed", "finding"),
    [
        ({"value": "samples", "at_least": 100}, [read(samples=100)], True, "samples of mnist/2 is 100"),
        ({"value": "samples", "at_least": 100}, [read(samples=99)], False, "samples of mnist/2 is 99, less than 100"),
        (
            {"column": "age", "value": "missing", "at_most": 0.05},
            [read(statistics=AGES)],
            False,
            "missing of age in mnist/2 is 0.1, more than 0.05",
        ),
        (
            {"column": "age", "value": "mean", "at_least": 40},
            [read(statistics=AGES)],
            True,
            "mean of age in mnist/2 is 41.5",
        ),
        (
            {"column": "age", "value": "mean", "at_least": 40},
            [read(statistics=AGES), read(3)],
            False,
            "mean of age in mnist/3 is not known; register it with statistics",
        ),
        ({"column": "age", "value": "most", "at_most": 90, "role": "test"}, [read(statistics=AGES)], False,
         "the run reads no dataset for 'test'"),
        ({"column": "age", "value": "least", "at_least": 18, "role": "test"},
         [read(statistics=AGES, role="test"), read(None)], True, "least of age in mnist/2 is 18"),
        ({"value": "samples", "at_least": 1}, [read(None)], False,
         "mnist@dddddddddddd is not registered, so nothing is known of it"),
        ({"value": "samples", "at_least": 1}, [], False, "the run reads no dataset"),
    ],
)  # fmt: skip
def test_a_check_of_data_tells_what_it_found(
    check: dict[str, Any], inputs: list[dict[str, Any]], passed: bool, finding: str
) -> None:
    practices = BestPractices(data_checks=(DataCheck(name="good data", **check),))
    (found,) = data_results(practices, inputs)
    assert found == CheckResult(name="good data", passed=passed, finding=finding, column=check.get("column", ""))


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ({"value": "samples", "column": "age", "at_least": 1}, "samples are of the whole dataset; leave column out"),
        ({"value": "mean", "at_least": 1}, "column: name the column"),
        ({"value": "samples"}, "says nothing of its value; give at_least or at_most"),
        ({"value": "samples", "at_least": 2, "at_most": 1}, "at_least is 2 and at_most 1; give at_least the smaller"),
    ],
)
def test_a_check_of_data_that_says_nothing_is_refused(check: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DataCheck.model_validate({"name": "good data", **check})
