"""A request that says a thing twice is refused: nobody knows which of the two was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from forgelog_pb.jobs.v1.queries_pb2 import GetJobRequest, ListJobsRequest
from services.gateway.errors import DoorError
from services.gateway.transcode import request_from_json, request_from_parameters


def refused(work: Callable[[], Any]) -> list[tuple[str, str]]:
    with pytest.raises(DoorError) as error:
        work()
    return [(each.field, each.problem) for each in error.value.errors]


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([("limit", "1"), ("limit", "2")], "limit"),
        ([("page.limit", "1"), ("limit", "2")], "limit"),
        ([("labels.zone", "a"), ("labels.zone", "b")], "labels.zone"),
        ([("name", "a"), ("name", "a")], "name"),
    ],
)
def test_a_parameter_of_one_value_is_given_once(pairs: list[tuple[str, str]], field: str) -> None:
    assert refused(lambda: request_from_parameters(pairs, ListJobsRequest)) == [(field, "is given twice")]


def test_what_the_path_names_is_not_named_again() -> None:
    assert refused(lambda: request_from_parameters([("job_id", "a"), ("job_id", "b")], GetJobRequest)) == [
        ("job_id", "is given twice")
    ]


def test_a_list_is_given_by_repeating_its_parameter() -> None:
    request = request_from_parameters([("statuses", "running"), ("statuses", "queued")], ListJobsRequest)
    assert len(request.statuses) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"job_id": "a", "jobId": "b"}, "jobId"),
        ({"jobId": "a", "job_id": "a"}, "job_id"),
    ],
)
def test_a_field_is_given_under_one_of_its_names(body: dict[str, Any], field: str) -> None:
    assert refused(lambda: request_from_json(body, GetJobRequest)) == [(field, "is given twice")]


@pytest.mark.parametrize(
    ("body", "limit"),
    [({"limit": None}, 0), ({"page": {"limit": None}}, 0), ({"limit": None, "page": {"limit": 2}}, 2)],
)
def test_null_gives_nothing(body: dict[str, Any], limit: int) -> None:
    request: Any = request_from_json(body, ListJobsRequest)
    assert request.page.limit == limit


@pytest.mark.parametrize("first", ["limit", "page"])
def test_a_field_of_a_group_is_given_inside_or_outside_of_it(first: str) -> None:
    body: dict[str, Any] = {"limit": 1, "page": {"limit": 2}}
    ordered = {first: body.pop(first), **body}
    assert {problem for _, problem in refused(lambda: request_from_json(ordered, ListJobsRequest))} == {
        "is given twice"
    }
