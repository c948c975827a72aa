"""A line of the access log becomes the record of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from events.language.deployments.telemetry_records import InferenceRecords
from events.language.deployments.traffic_records import TrafficRecord
from events.log.producer import ToSend
from services.deployments.router.records import record, recorded
from services.deployments.router.spool import Part
from services.deployments.router.telemetry import AT_ONCE, to_send
from tests.unit.router.inputs import revision, table

TIMING = 'pre;dur=1.5, infer;dur=2.25, post;dur=0, batch;dur=0.5;desc="17:4:32", cpu;dur=3.5, mem;desc="1048576"'


def line(**changes: Any) -> dict[str, Any]:
    return {
        "time": "1795000000.250",
        "deployment": "digits.abc234",
        "endpoint": "rest",
        "cluster": "digits.abc234/1/http",
        "revision": "1",
        "replica": "dep.digits.abc234.1.1",
        "status": 200,
        "grpc": None,
        "flags": "-",
        "details": "via_upstream",
        "attempts": 1,
        "received": 120,
        "sent": 340,
        "micros": 5_250,
        "upstream": 4_800,
        "timing": TIMING,
        "request": "0c0ffee0-0000-4000-8000-000000000000",
        "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        **changes,
    }


def test_all_that_a_line_and_its_replica_tell_is_in_the_record() -> None:
    found = record(line(), "router-0", table(revision(1, 10_000, "r1")))
    assert found == {
        "request_id": "0c0ffee0-0000-4000-8000-000000000000",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "router": "router-0",
        "deployment_id": "digits.abc234",
        "endpoint": "rest",
        "endpoint_type": "rest",
        "revision": 1,
        "model": "digits",
        "model_version": 1,
        "replica_id": "dep.digits.abc234.1.1",
        "started_at": 1795000000.25,
        "latency_ms": 5.25,
        "replica_ms": 4.8,
        "request_bytes": 120,
        "response_bytes": 340,
        "preprocessing_ms": 1.5,
        "queue_ms": 0.5,
        "inference_ms": 2.25,
        "postprocessing_ms": 0.0,
        "batch_id": "dep.digits.abc234.1.1/17",
        "batch_requests": 4,
        "batch_rows": 32,
        "outcome": "succeeded",
        "status": 200,
        "attempts": 1,
        "cpu_ms": 3.5,
        "memory_bytes": 1_048_576,
    }


@pytest.mark.parametrize(
    ("changes", "outcome", "error"),
    [
        ({}, "succeeded", None),
        ({"status": 400}, "refused", "invalid"),
        ({"status": 401, "replica": None, "revision": None, "cluster": None}, "refused", "unauthenticated"),
        ({"status": 403}, "refused", "forbidden"),
        ({"status": 404}, "refused", "not_found"),
        ({"status": 413}, "refused", "too_large"),
        ({"status": 429, "flags": "RL"}, "refused", "rate_limited"),
        ({"status": 503, "flags": "UO"}, "failed", "overloaded"),
        ({"status": 503, "flags": "UAEX", "replica": None}, "failed", "not_ready"),
        ({"status": 503, "flags": "-"}, "failed", "overloaded"),
        ({"status": 503, "flags": "UF,URX"}, "failed", "unreachable"),
        ({"status": 504, "flags": "UT"}, "failed", "timeout"),
        ({"status": 504}, "failed", "timeout"),
        ({"status": 500}, "failed", "model_failed"),
        ({"status": 0, "flags": "DC"}, "cancelled", "cancelled"),
        ({"grpc": 0}, "succeeded", None),
        ({"grpc": 3}, "refused", "invalid"),
        ({"grpc": 4}, "failed", "timeout"),
        ({"grpc": 13}, "failed", "model_failed"),
        ({"grpc": 14}, "failed", "overloaded"),
        ({"status": 101}, "succeeded", None),
    ],
)
def test_what_became_of_a_request(changes: dict[str, Any], outcome: str, error: str | None) -> None:
    found = record(line(**changes), "router-0", None)
    assert found is not None
    assert (found["outcome"], found.get("error_type")) == (outcome, error)


def test_an_error_says_what_the_replica_or_the_router_said() -> None:
    told = record(line(status=400, error="input 'x': data has 7%2C%0A and more"), "router-0", None)
    own = record(line(status=504, flags="UT", details="response_timeout"), "router-0", None)
    assert told is not None
    assert own is not None
    assert told["error_message"] == "input 'x': data has 7,\n and more"
    assert own["error_message"] == "response_timeout"


@pytest.mark.parametrize(
    "timing",
    ["", "-", "nonsense", "cache;desc=hit, db;dur=53", 'infer;dur=..., batch;dur=1;desc="x:y"', "infer;dur=1e999"],
)
def test_what_another_program_says_of_its_times_is_left_out(timing: str) -> None:
    found = record(line(timing=timing), "router-0", None)
    assert found is not None
    assert not {"inference_ms", "batch_id", "cpu_ms"} & {name for name, value in found.items() if value}


def test_a_line_of_no_deployment_is_no_request() -> None:
    assert record(line(deployment=None), "router-0", None) is None
    assert record(line(time="-"), "router-0", None) is None


def test_a_share_of_requests_is_recorded_and_every_failed_one() -> None:
    good, bad = record(line(), "r", None), record(line(status=500), "r", None)
    assert good is not None
    assert bad is not None
    kept = [number for number in range(20_000) if recorded(good, 0.1, "log", number)]
    assert 1_800 < len(kept) < 2_200
    assert kept == [number for number in range(20_000) if recorded(good, 0.1, "log", number)]
    assert all(recorded(bad, 0, "log", number) for number in range(100))


def sent_to(topic: str, lines: list[dict[str, Any]], tables: Mapping[str, Any] | None = None) -> list[ToSend]:
    sent = to_send(Part("log", 1, 41, lines), tables or {}, "router-0", "p.")
    return [each for each in sent if each.topic == f"p.{topic}"]


def test_records_are_the_requests_of_one_deployment_each_with_its_line() -> None:
    lines = [line(), line(deployment="other.abc234"), {"status": 404}, line(status=500)]
    sent = sent_to("inference.deployments", lines)
    read = [InferenceRecords.model_validate_json(each.value) for each in sent]
    assert [each.key for each in sent] == [b"digits.abc234", b"other.abc234"]
    assert [each.numbers for each in read] == [(41, 44), (42,)]


def test_a_deployment_that_records_none_records_failures() -> None:
    tables = {"digits.abc234": table(revision(1, 10_000, "r1"), observability={"access_log": 0})}
    (sent,) = sent_to("inference.deployments", [line(), line(status=500)], tables)
    assert InferenceRecords.model_validate_json(sent.value).numbers == (42,)


def test_the_longest_records_fit_into_a_record_of_kafka() -> None:
    long = line(error="%E2%82%AC" * 500, status=500, request="x" * 500)
    tables = {"digits.abc234": table(revision(1, 10_000, "r1"))}
    sent = sent_to("inference.deployments", [long] * 450, tables)
    assert [len(orjson.loads(each.value)["numbers"]) for each in sent] == [AT_ONCE, AT_ONCE, 50]
    assert max(len(each.value) for each in sent) < 900_000


def test_all_requests_are_counted_by_revision_and_minute_whatever_share_is_recorded() -> None:
    policy = {"access_log": 0}
    tables = {"digits.abc234": table(revision(1, 10_000, "r1"), observability=policy)}
    lines = [
        line(),
        line(micros=10_000, timing="-"),
        line(status=504, flags="UT"),
        line(status=429, flags="RL", revision=None, replica=None, cluster=None),
        line(status=0, flags="DC"),
        line(status=101, micros=90_000_000),
        line(time="1795000079.999", revision="2"),
    ]
    (sent,) = sent_to("traffic.deployments", lines, tables)
    record = TrafficRecord.model_validate_json(sent.value)
    assert (record.source, record.sequence, record.deployment_id) == ("log", 1, "digits.abc234")
    minutes = {(each.revision, each.minute): each.requests for each in record.minutes}
    assert [(key, each.total) for key, each in minutes.items()] == [
        ((0, 29_916_666), 1),
        ((1, 29_916_666), 5),
        ((2, 29_916_667), 1),
    ]
    counted = minutes[1, 29_916_666]
    assert (counted.failures, counted.refusals, counted.cancelled, counted.timeouts) == (1, 0, 1, 1)
    assert (counted.latency.count, counted.latency.total_microseconds) == (2, 15_250)
    assert (counted.longest_microseconds, counted.request_bytes) == (10_000, 600)
    assert (counted.inference.count, counted.inference.microseconds) == (4, 9_000)
    assert minutes[0, 29_916_666].refusals == 1


def test_a_deployment_without_metrics_is_not_counted() -> None:
    tables = {"digits.abc234": table(revision(1, 10_000, "r1"), observability={"metrics": False})}
    assert sent_to("traffic.deployments", [line()], tables) == []
    assert len(sent_to("inference.deployments", [line()], tables)) == 1
