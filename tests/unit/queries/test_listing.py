"""A list's SQL has the conditions that a request asks for, in the list's order; its cursors lead to the next page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from events.queries.listing import INT4, Condition, Listing, Page
from events.queries.queries import QueryError
from forgelog_pb.jobs.v1 import queries_pb2 as jobs
from forgelog_pb.jobs.v1 import types_pb2 as types

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)

FILTERS = {
    "project": "project",
    "queue": "queue",
    "owner": "owner",
    "statuses": "status",
    "labels": "labels",
    "name": "strpos(name, {value}) > 0",
    "submitted_after": "submitted_at >= {value}",
    "submitted_before": "submitted_at < {value}",
    "called": "(job_id = {value} or name = {value})",
}

JOBS = Listing(
    jobs.ListJobsRequest,
    "jobs",
    order={"submitted_at": datetime, "job_id": str},
    descending=True,
    filters=FILTERS,
)

ATTEMPTS = Listing(
    jobs.ListAttemptsRequest,
    "attempts",
    where="job_id = $1",
    order={"task": INT4, "attempt": INT4},
    filters={"task": "task"},
    own=("job_id",),
)


OF_ATTEMPTS = ATTEMPTS.query(jobs.ListAttemptsRequest()).behind({"task": 1, "attempt": 1})
OF_ALL = JOBS.query(jobs.ListJobsRequest()).behind({"submitted_at": NOON, "job_id": "j1"})


def asked(listing: Listing, request: Any, *given: Any) -> tuple[str, tuple[Any, ...]]:
    query = listing.query(request, *given)
    return query.clauses, query.arguments


def test_a_condition_takes_a_map_as_jsonb() -> None:
    listing = Listing(
        jobs.ListJobsRequest,
        "jobs",
        order={"job_id": str},
        filters={**FILTERS, "labels": "matches(labels, {value})"},
    )
    clauses = "from jobs where matches(labels, $1::jsonb) order by job_id limit $2"
    assert asked(listing, jobs.ListJobsRequest(labels={"a": "b"})) == (clauses, ({"a": "b"}, 101))


def test_a_request_without_filters_asks_for_the_first_page_of_all() -> None:
    clauses = "from jobs order by submitted_at desc, job_id desc limit $1"
    assert asked(JOBS, jobs.ListJobsRequest()) == (clauses, (101,))
    assert JOBS.start(jobs.ListJobsRequest()) is None


@pytest.mark.parametrize(
    ("given", "condition", "value"),
    [
        ({"queue": "gpu"}, "queue = $1::text", "gpu"),
        ({"statuses": ["JOB_STATUS_QUEUED"]}, "status = ($1::text[])[1]", ["queued"]),
        ({"statuses": [3, 0, 4]}, "status = any($1::text[])", ["scheduled", "starting"]),
        ({"labels": {"team": "vision"}}, "labels @> $1::jsonb", {"team": "vision"}),
        ({"name": "train"}, "strpos(name, $1::text) > 0", "train"),
        ({"called": "j1"}, "(job_id = $1::text or name = $1::text)", "j1"),
        ({"submitted_before": NOON}, "submitted_at < $1::timestamptz", NOON),
    ],
)
def test_a_field_that_is_given_is_a_condition(given: dict[str, Any], condition: str, value: Any) -> None:
    clauses, arguments = asked(JOBS, jobs.ListJobsRequest(**given))
    assert clauses == f"from jobs where {condition} order by submitted_at desc, job_id desc limit $2"
    assert arguments == (value, 101)


def test_an_unspecified_status_admits_any() -> None:
    assert asked(JOBS, jobs.ListJobsRequest(statuses=[0]))[1] == (101,)


def test_zero_is_a_value_of_a_field_that_may_be_left_out() -> None:
    assert asked(ATTEMPTS, jobs.ListAttemptsRequest(task=0), "j1") == (
        "from attempts where job_id = $1 and task = $2::int order by task, attempt limit $3",
        ("j1", 0, 101),
    )
    assert asked(ATTEMPTS, jobs.ListAttemptsRequest(), "j1") == (
        "from attempts where job_id = $1 order by task, attempt limit $2",
        ("j1", 101),
    )


def test_what_the_caller_adds_must_hold_too() -> None:
    more = [Condition("score > {0}::float8", [0.5]), Condition("(owner = {0} or name = {1})", ["ada", "bob"])]
    query = ATTEMPTS.query(jobs.ListAttemptsRequest(task=2), "j1", more=more)
    assert query.clauses == (
        "from attempts where job_id = $1 and task = $2::int and score > $3::float8 and (owner = $4 or name = $5) "
        "order by task, attempt limit $6"
    )
    assert query.arguments == ("j1", 2, 0.5, "ada", "bob", 101)


async def test_all_pages_are_counted_whichever_is_asked_for() -> None:
    request = jobs.ListJobsRequest(queue="gpu", page={"limit": 5})
    request.page.cursor = JOBS.query(request).behind({"submitted_at": NOON, "job_id": "j1"})
    db = Counting()
    assert await JOBS.query(request).count(db) == 7  # type: ignore[arg-type]
    assert db.asked == ("select count(*) from jobs where queue = $1::text", "gpu")


class Counting:
    """A database that has counted seven rows."""

    asked: tuple[Any, ...] = ()

    async def fetchval(self, *asked: Any) -> int:
        self.asked = asked
        return 7


def test_rows_may_be_in_the_order_of_a_number_with_a_point() -> None:
    best = Listing(
        jobs.ListAttemptsRequest,
        "scores",
        order={"score": float, "rank": range(-1000, 1), "attempt": INT4},
        descending=True,
        filters={"task": "task"},
        own=("job_id",),
    )
    request = jobs.ListAttemptsRequest()
    request.page.cursor = best.query(request).behind({"score": float("-inf"), "rank": -7, "attempt": 1})
    assert asked(best, request) == (
        "from scores where (score, rank, attempt) < ($1::float8, $2::int, $3::int) "
        "order by score desc, rank desc, attempt desc limit $4",
        (float("-inf"), -7, 1, 101),
    )


def test_a_full_page_has_a_cursor_behind_its_last_row() -> None:
    request = jobs.ListAttemptsRequest(page={"limit": 2})
    query = ATTEMPTS.query(request, "j1")
    rows = [{"task": task, "attempt": 1} for task in range(3)]
    page = query.page(rows)
    assert page.rows == rows[:2]
    request.page.cursor = page.next_cursor
    assert ATTEMPTS.start(request) == {"task": 1, "attempt": 1}
    assert asked(ATTEMPTS, request, "j1") == (
        "from attempts where job_id = $1 and (task, attempt) > ($2::int, $3::int) order by task, attempt limit $4",
        ("j1", 1, 1, 3),
    )
    assert query.page(rows[:2]) == Page(rows[:2], "")


def test_descending_pages_go_on_below() -> None:
    cursor = JOBS.query(jobs.ListJobsRequest()).behind({"submitted_at": NOON, "job_id": "j1", "name": "other"})
    clauses, arguments = asked(JOBS, jobs.ListJobsRequest(page={"cursor": cursor}))
    assert "where (submitted_at, job_id) < ($1::timestamptz, $2::text) order by" in clauses
    assert arguments == (NOON, "j1", 101)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"page": {"limit": 10_001}}, "page.limit: is 10001; ask for 1 to 10000 rows"),
        ({"page": {"cursor": "?"}}, "page.cursor: is not one that this list returned; start without a cursor"),
        ({"page": {"cursor": OF_ATTEMPTS}}, "page.cursor: is not one that this list"),
        ({"queue": "gpu", "page": {"cursor": OF_ALL}}, "page.cursor: is of a list with other filters; ask for each"),
        ({"statuses": [99]}, "statuses: 99 is no JobStatus; take one of pending, queued, scheduled, "),
    ],
)
def test_what_a_list_can_not_be_asked_is_said(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(QueryError) as caught:
        JOBS.query(jobs.ListJobsRequest(**given))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith(problem)


def test_every_value_of_the_enum_has_its_word() -> None:
    for value in types.JobStatus.DESCRIPTOR.values[1:]:
        (words, _) = asked(JOBS, jobs.ListJobsRequest(statuses=[value.number]))[1]
        assert words == [value.name.removeprefix("JOB_STATUS_").lower()]


@pytest.mark.parametrize(
    ("filters", "own", "problem"),
    [
        ({**FILTERS, "size": "size"}, (), "ListJobsRequest has no field size; filter by one that it has"),
        ({"project": "project"}, tuple(FILTERS)[2:], "ListJobsRequest.queue changes nothing; add it to `filters`"),
        ({**FILTERS, "options": "at"}, (), "ReadOptions|options is no field to filter by"),
    ],
)
def test_a_list_acts_on_every_field_of_its_request(filters: dict[str, str], own: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Listing(jobs.ListJobsRequest, "jobs", order={"job_id": str}, filters=filters, own=own)
