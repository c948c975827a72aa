"""No request costs or breaks more than it may: every field of every query is held to the same bounds."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.descriptor import FieldDescriptor

from events.log.envelope import Position
from events.queries.listing import INT4, INT8, next_cursor, page
from events.queries.queries import CLOCKS_DIFFER, QueryError, ReadModel, read_options
from events.queries.requests import MAX_ENTRIES, MAX_TEXT, check_request
from forgelog_pb.jobs.v1.queries_pb2 import ListJobsRequest
from forgelog_pb.query.v1.options_pb2 import ReadOptions
from services.gateway.catalog import Catalog

METHODS = sorted(Catalog().methods.values(), key=lambda method: method.path)


def texts(descriptor: Any) -> Iterator[list[Any]]:
    """Every path to a text in a message."""
    for field in descriptor.fields:
        if field.message_type is not None:
            for rest in texts(field.message_type):
                yield [field, *rest]
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            yield [field]


def request_with(message: Any, path: list[Any], text: str) -> Any:
    at = message
    for field in path[:-1]:
        if field.message_type.GetOptions().map_entry:
            of_key = path[-1].name == "key"
            default = type(field.message_type.fields_by_name["value"].default_value)
            key, value = (text, default()) if of_key else ("k", text)
            getattr(at, field.name)[key] = value
            return message
        at = getattr(at, field.name).add() if field.is_repeated else getattr(at, field.name)
    if path[-1].is_repeated:
        getattr(at, path[-1].name).append(text)
    else:
        setattr(at, path[-1].name, text)
    return message


CASES = [(method, path) for method in METHODS for path in texts(method.request.DESCRIPTOR)]


@pytest.mark.parametrize(
    ("method", "path"), CASES, ids=lambda each: each.path if hasattr(each, "path") else ".".join(f.name for f in each)
)
def test_no_text_of_a_request_has_a_nul(method: Any, path: list[Any]) -> None:
    check_request(request_with(method.request(), path, "a"))
    with pytest.raises(QueryError, match=path[0].name) as caught:
        check_request(request_with(method.request(), path, "a\0"))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_request_is_bounded() -> None:
    find = Catalog().find
    request: Any = find("JobQueries", "WatchJobs").request()
    request.job_ids.extend(["a"] * (MAX_ENTRIES + 1))
    with pytest.raises(QueryError, match="job_ids: has 10001 entries"):
        check_request(request)
    request = find("JobQueries", "GetJob").request(job_id="a" * (MAX_TEXT + 1))
    with pytest.raises(QueryError, match="job_id: has 200001 characters"):
        check_request(request)


@pytest.mark.parametrize("seconds", [-(1 << 62), -62135596800, 253402300800, 1 << 62])
def test_a_time_that_nobody_can_say_is_refused(seconds: int) -> None:
    request: Any = Catalog().find("JobQueries", "ListJobs").request()
    request.options.as_of.seconds = seconds
    with pytest.raises(QueryError, match=r"options\.as_of"):
        check_request(request)


@pytest.mark.parametrize("method", ["WatchJobs"])
def test_what_has_no_past_is_not_asked_for_it(method: str) -> None:
    request: Any = Catalog().find("JobQueries", method).request()
    request.options.at_least.append("events.jobs/3@1042")
    check_request(request)
    request.options.as_of.FromDatetime(datetime(2026, 5, 9, tzinfo=UTC))
    with pytest.raises(QueryError, match=r"options\.as_of: .*; leave it out") as caught:
        check_request(request)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("service", "method", "field"),
    [("JobQueries", "FollowLogs", "attempt"), ("JobQueries", "FollowLogs", "tail_bytes"),
     ("JobQueries", "ListAttempts", "task"), ("LogQueries", "ListDeadLetters", "limit")],
)  # fmt: skip
def test_a_number_below_zero_is_refused(service: str, method: str, field: str) -> None:
    request = Catalog().find(service, method).request(**{field: -1})
    with pytest.raises(QueryError, match=f"{field}: is -1; give 0 or more"):
        check_request(request)


NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)


def test_a_moment_of_the_future_is_refused_but_for_what_clocks_differ_by() -> None:
    soon, later = NOW + CLOCKS_DIFFER, NOW + CLOCKS_DIFFER + timedelta(seconds=1)
    assert read_options(ReadOptions(as_of=soon), NOW)["as_of"] == soon
    with pytest.raises(QueryError, match=r"options\.as_of: 2026-05-09T03:13:01Z is in the future \(here it is 2026-"):
        read_options(ReadOptions(as_of=later), NOW)


KEYS: Any = {"at": datetime, "id": str, "small": INT4, "large": INT8, "score": float}
ROW = {"at": datetime(2026, 5, 9, 1, 12, tzinfo=UTC), "id": "a", "small": 1, "large": 1 << 40, "score": 0.1}
GOOD = orjson.loads(base64.urlsafe_b64decode(next_cursor(ROW, KEYS, ListJobsRequest())))


def asked(cursor: str, **filters: Any) -> tuple[int, Any]:
    return page(ListJobsRequest(page={"cursor": cursor}, **filters), KEYS)


@pytest.mark.parametrize("score", [0.1, -1.5e308, float("inf"), -float("inf"), 3])
def test_a_cursor_comes_back_as_it_was_given(score: float) -> None:
    row = {**ROW, "score": score}
    assert asked(next_cursor(row, KEYS, ListJobsRequest())) == (100, row)
    assert asked("") == (100, None)


def test_a_number_that_is_none_has_a_place_in_a_list_too() -> None:
    _, found = asked(next_cursor({**ROW, "score": float("nan")}, KEYS, ListJobsRequest()))
    assert math.isnan(found["score"])


def test_a_cursor_is_for_the_filters_that_it_came_of() -> None:
    request = ListJobsRequest(queue="gpu", labels={"team": "vision", "size": "l"}, page={"limit": 5})
    cursor = next_cursor(ROW, KEYS, request)
    later = {"at_least": ["events.jobs/0@7"], "as_of": NOW}
    again = ListJobsRequest(labels={"size": "l", "team": "vision"}, queue="gpu", page={"cursor": cursor}, options=later)
    assert page(again, KEYS) == (100, ROW), "a page may have another size, and other options"
    for other in ({}, {"queue": "cpu"}, {"queue": "gpu"}):
        with pytest.raises(QueryError, match=r"page\.cursor: is of a list with other filters; ask for each") as caught:
            asked(cursor, **other)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"null", b"1", b'"a"', b"{}", b"{", b"\xff"),
        *(
            orjson.dumps(GOOD | wrong)
            for wrong in (
                {"at": "yesterday"},
                {"at": "0001-01-01T00:00:00+14:00"},
                {"at": 1},
                {"at": None},
                {"id": 1},
                {"id": "a\0"},
                {"id": ["a"]},
                {"small": 1 << 31},
                {"small": True},
                {"small": 1.5},
                {"small": "1"},
                {"score": 1.5},
                {"score": "high"},
                {"score": "0x1p+99999"},
                {"large": -2},
                {"more": 1},
            )
        ),
        orjson.dumps(GOOD).replace(b"1099511627776", b"9" * 30),
    ],
)
def test_a_forged_cursor_is_refused(content: bytes) -> None:
    cursor = base64.urlsafe_b64encode(content).decode() or "="
    with pytest.raises(QueryError, match=r"page\.cursor: is not one that this list returned") as caught:
        asked(cursor)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("text", ["", "é", "not base64!", "a", "events.jobs/0@1"])
def test_a_garbled_cursor_is_refused(text: str) -> None:
    if text:
        with pytest.raises(QueryError):
            asked(text)


@pytest.mark.parametrize("text", ["events.jobs/0@9223372036854775808", "events.jobs/2147483648@0", "events.jobs/-1@0"])
def test_a_position_that_no_log_has_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a position"):
        Position.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jobs/0@9", "lacks its topic's kind; write events.jobs/0@9"),
        ("commands.jobs/1@3", "is where a command stands; give the positions of its events"),
        ("events.jobs", "is not a position"),
    ],
)
async def test_a_position_that_nobody_would_wait_for_is_refused(text: str, says: str) -> None:
    nothing: Any = SimpleNamespace(listeners=[])
    with pytest.raises(QueryError, match=re.escape(says)) as caught:
        await ReadModel(nothing, nothing).wait_for([text])
    assert [error.field for error in caught.value.fields] == ["options.at_least"]
