"""Records of requests are taken once."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from events.language.deployments.telemetry import InferenceRequest
from events.queries.listing import INT8, Listing
from events.streams.stream import Unusable
from forgelog_pb.deployments.v1 import telemetry_queries_pb2 as pb
from services.deployments.requests.queries import FILTERS
from services.deployments.requests.stream import COLUMNS, RequestStream, Source


def request(**changes: Any) -> dict[str, Any]:
    return {
        "request_id": "a",
        "router": "router-0",
        "deployment_id": "digits",
        "started_at": "2026-11-28T01:00:00Z",
        "latency_ms": 1.5,
        "outcome": "succeeded",
        "status": 200,
        **changes,
    }


def content(*numbers: int, **changes: Any) -> dict[str, Any]:
    requests = [request(request_id=str(number)) for number in numbers]
    return {"source": "log", "deployment_id": "digits", "numbers": numbers, "requests": requests, **changes}


def piece(*numbers: int, **changes: Any) -> Any:
    return RequestStream().read(raw(content(*numbers, **changes)))


def raw(value: Any, key: bytes = b"digits") -> Any:
    class Record:
        pass

    record: Any = Record()
    record.value = value if isinstance(value, bytes) else orjson.dumps(value)
    record.key = key
    return record


def test_lines_that_were_stored_are_left_out() -> None:
    stream, state = RequestStream(), Source()
    first = stream.take(state, piece(1, 2, 5), 0.0)
    again = stream.take(state, piece(1, 2, 5), 0.0)
    more = stream.take(state, piece(2, 5, 6, 9), 0.0)
    assert [row.number for row in first] == [1, 2, 5]
    assert again == []
    assert [row.request.request_id for row in more] == ["6", "9"]


@pytest.mark.parametrize(
    ("value", "key", "problem"),
    [
        (b"no json", b"digits", "no records of requests"),
        (content(1, requests=[request(latency_ms=-1)]), b"digits", "requests.0.latency_ms"),
        (content(2, 1), b"digits", "ascending"),
        (content(1, 2, requests=[request()]), b"digits", "numbers has 2 entries and requests 1"),
        (content(1, requests=[request(deployment_id="other")]), b"digits", "all must be of digits"),
        (content(1), b"other", "its key is not its deployment_id, digits"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(value: Any, key: bytes, problem: str) -> None:
    with pytest.raises(Unusable, match=problem):
        RequestStream().read(raw(value, key))


def test_every_field_of_a_request_has_a_column() -> None:
    assert list(COLUMNS) == list(InferenceRequest.model_fields)


def test_requests_are_found_by_their_trace_and_every_filter_is_of_a_column() -> None:
    listing = Listing(pb.ListInferenceRequestsRequest, "requests", order={"arrival": INT8}, filters=FILTERS)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    asked = listing.query(pb.ListInferenceRequestsRequest(deployment_id="digits", trace_id=trace))
    assert "trace_id = $2" in asked.clauses
    assert asked.arguments[:2] == ("digits", trace)
    assert {condition.split()[0] for condition in FILTERS.values()} <= COLUMNS.keys()
