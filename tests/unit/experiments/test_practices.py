"""Given the metrics of a run that has ended, when it is looked at for practices, then each tells what it found."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from events.language.experiments.practices import BestPractices, CheckResult, ValidationCheck
from forgelog_pb.experiments.v1 import points_queries_pb2 as pb
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
