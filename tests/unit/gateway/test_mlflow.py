"""MLflow's requests and answers, translated without a platform behind the door."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from events.language.common import FieldError
from events.log.envelope import Position
from services.gateway.errors import DoorError
from services.gateway.forward import Relayed
from services.gateway.mlflow.asked import Asked, word_of
from services.gateway.mlflow.calls import MOST_PROJECTS, Written
from services.gateway.mlflow.errors import refusal
from services.gateway.mlflow.run_ids import inward, inward_filter, outward

LAB = "lab/vision"


def problem(call: Any) -> str:
    with pytest.raises(DoorError) as caught:
        call()
    (error,) = caught.value.errors
    return f"{error.field}: {error.problem}"


def test_fields_are_taken_as_mlflows_json_has_them() -> None:
    asked = Asked(
        {
            "run_id": "",
            "run_uuid": "r1",
            "start_time": "1700000000123",
            "max_results": 2000,
            "status": 3,
            "view": "ALL",
            "order_by": "name",
            "tags": [{"key": "a", "value": "b"}, {"key": "c"}, {"key": "a", "value": "b"}],
            "value": "-Infinity",
        }
    )
    assert asked.text("run_id", "run_uuid", required=True) == "r1"
    assert asked.time("start_time") == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert (asked.most("max_results", 100, 1_000), asked.most("other", 100, 1_000)) == (1_000, 100)
    assert asked.word("status", ("RUNNING", "SCHEDULED", "FINISHED")) == "FINISHED"
    assert asked.word("view", ("ALL",)) == "ALL"
    assert asked.texts("order_by") == ["name"]
    assert asked.pairs("tags") == {"a": "b", "c": ""}
    assert asked.number("value") == -math.inf


@pytest.mark.parametrize(
    ("fields", "call", "told"),
    [
        ({}, lambda a: a.text("run_id", "run_uuid", required=True), "run_id: is missing"),
        ({"run_id": 3}, lambda a: a.text("run_id"), "run_id: 3 is not text"),
        ({"n": 2**63}, lambda a: a.integer("n"), "n: 9223372036854775808 is not a whole number of 64 bits"),
        ({"n": True}, lambda a: a.integer("n"), "n: True is not a whole number of 64 bits"),
        ({"t": 10**17}, lambda a: a.time("t"), "t: 100000000000000000 is no time"),
        ({"s": "DONE"}, lambda a: a.word("s", ("RUNNING",)), "s: 'DONE' is none of RUNNING"),
        ({"s": 2}, lambda a: a.word("s", ("RUNNING",)), "s: 2 is none of RUNNING"),
        ({"v": "much"}, lambda a: a.number("v"), "v: 'much' is not a number"),
        ({"o": ["a", 1]}, lambda a: a.texts("o"), "o[1]: 1 is not text"),
        ({"tags": {}}, lambda a: a.pairs("tags"), "tags: {} is no list"),
        ({"tags": ["x"]}, lambda a: a.pairs("tags"), "tags[0]: 'x' is no object"),
        ({"tags": [{"value": "x"}]}, lambda a: a.pairs("tags"), "tags[0].key: is missing"),
        (
            {"params": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]},
            lambda a: a.pairs("params"),
            "params[1].key: 'a' is given two values",
        ),
        ({"max_results": 0}, lambda a: a.most("max_results", 1, 1), "max_results: is 0"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], call: Any, told: str) -> None:
    assert problem(lambda: call(Asked(fields))) == told


@pytest.mark.parametrize(
    ("number", "word"), [(0.5, 0.5), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")]
)
def test_what_is_not_finite_is_a_word(number: float, word: Any) -> None:
    assert word_of(number) == word


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (DoorError.about("key", "is missing", "give it"), 400, "INVALID_PARAMETER_VALUE", "key: is missing; give it"),
        (Relayed(grpc.StatusCode.NOT_FOUND, "no run"), 404, "RESOURCE_DOES_NOT_EXIST", "no run"),
        (DoorError(grpc.StatusCode.FAILED_PRECONDITION, "deleted"), 400, "INVALID_PARAMETER_VALUE", "deleted"),
        # what a limit of the run refuses, no other try will mend
        (DoorError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many"), 400, "INVALID_PARAMETER_VALUE", "too many"),
        (
            DoorError(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after=0.2),
            429,
            "REQUEST_LIMIT_EXCEEDED",
            "busy",
        ),
        (
            DoorError(grpc.StatusCode.INVALID_ARGUMENT, "large", http_status=413),
            413,
            "INVALID_PARAMETER_VALUE",
            "large",
        ),
        (DoorError(grpc.StatusCode.INTERNAL, "defect"), 500, "INTERNAL_ERROR", "defect"),
        (
            DoorError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "two things",
                [FieldError(field="a", problem="is x", hint="y"), FieldError(field="b", problem="is z", hint="")],
            ),
            400,
            "INVALID_PARAMETER_VALUE",
            "two things (a: is x; y; b: is z)",
        ),
    ],
    ids=str,
)
def test_a_refusal_has_mlflows_code(error: Any, status: int, code: str, message: str) -> None:
    answer = refusal(error)
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, body["error_code"], body["message"]) == (status, code, message)


def test_a_busy_door_says_when_to_come_back() -> None:
    assert refusal(DoorError(grpc.StatusCode.UNAVAILABLE, "starting", retry_after=1.5)).headers["retry-after"] == "2"


def test_a_runs_id_has_no_dot_for_the_client() -> None:
    id = "rabcdefghijklm.jg5nz"
    assert outward(id, LAB) == "rabcdefghijklm-jg5nz"
    assert inward("rabcdefghijklm-jg5nz", LAB) == id
    assert (inward(id, LAB), outward("r1.other", LAB)) == (id, "r1.other")
    assert (outward("r-1", "local/default"), inward("r-1", "local/default")) == ("r-1", "r-1")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("run_id = 'r1-jg5nz'", "\"run_id\" = 'r1.jg5nz'"),
        ("run.run_id in ('r1-jg5nz', 'r2')", "run.\"run_id\" in ('r1.jg5nz', 'r2')"),
        (
            "params.a = '1' and (parent_run_id != 'r1-jg5nz' or tags.run_id = 'r1-jg5nz')",
            "params.\"a\" = '1' and (\"parent_run_id\" != 'r1.jg5nz' or tags.\"run_id\" = 'r1-jg5nz')",
        ),
        ("tags.run_id = 'r1-jg5nz'", "tags.run_id = 'r1-jg5nz'"),
        ("run_id = r1", "run_id = r1"),
        ("", ""),
    ],
)
def test_a_filter_names_runs_as_the_platform_does(text: str, meant: str) -> None:
    assert inward_filter(text, LAB) == meant
    assert inward_filter(text, "local/default") == text


def test_the_newest_position_of_each_partition_is_waited_for() -> None:
    written = Written()
    for partition, offset in ((0, 5), (1, 3), (0, 4)):
        written.note("a/b", Position("events.experiments", partition, offset))
    assert written.of("a/b") == ["events.experiments/0@5", "events.experiments/1@3"]
    assert written.of("c/d") == []


def test_projects_that_wrote_longest_ago_are_forgotten_first() -> None:
    written = Written()
    for number in range(MOST_PROJECTS + 1):
        written.note(f"a/{number}", Position("events.experiments", 0, number))
        written.note("a/0", Position("events.experiments", 0, number))
    assert written.of("a/0")
    assert not written.of("a/1")
    assert written.of("a/2")
