"""No field of the language takes what a table can't hold; what the log has of it already is read with replacements."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import SchemaValidator, core_schema

from events.language.base import Model
from events.language.bounds import INT_MAX, INT_MIN, REPLACEMENT, TEXT_PATTERN, TIME_MAX, TIME_MIN
from events.language.common import ErrorCode, Refused
from events.language.jobs import CancelJob, JobCancelRequested, JobExited
from events.language.problems import decode_command
from events.language.registry import command_types, event_types
from events.language.task_ranges import parse_ranges
from events.log.envelope import Position
from events.log.wire import Raw, Undecodable, decode_event

AT = Position("events.jobs", 0, 7)


def leaves(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every text, whole number, number and time that a core schema takes."""
    if isinstance(schema, dict):
        if schema.get("type") in ("str", "int", "datetime", "float"):
            yield place, schema
        for key, value in schema.items():
            if key not in ("metadata", "default", "serialization", "cls", "expected", "members"):
                yield from leaves(value, f"{place}.{key}")
    elif isinstance(schema, list | tuple):
        for item in schema:
            yield from leaves(item, place)


TYPES = [*command_types().values(), *event_types().values()]


@pytest.mark.parametrize("model", TYPES, ids=lambda model: model.__name__)
def test_every_field_is_bounded(model: type[Model]) -> None:
    model.model_rebuild()
    found = list(leaves(model.__pydantic_core_schema__, model.__name__))
    assert found
    for _, leaf in found:
        validator = SchemaValidator(leaf)  # type: ignore[arg-type]
        for wrong in WRONG[leaf["type"]]:
            with pytest.raises(ValidationError):
                validator.validate_json(wrong)


WRONG = {
    "str": [rb'"a\u0000b"', rb'"\u0000"', rb'"\ud800"'],
    "int": [str(INT_MAX + 1).encode(), str(INT_MIN - 1).encode(), b"9" * 4_000, b"1e999999999"],
    "float": [b"NaN", b"Infinity", b"1e999999999"],
    "datetime": [b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59-12:00"', b'"2026-05-09T03:12:00"'],
}


def test_the_bounds_take_what_is_within() -> None:
    taken = JobCancelRequested(
        job_id="a", project="a/b", queue="q", tasks="0", grace_seconds=0, reason="tab\t, newline\n, 😀, \x7f"
    )
    assert json.loads(taken.to_json())["reason"] == taken.reason
    assert SchemaValidator(core_schema.str_schema(pattern=TEXT_PATTERN)).validate_python("a\nb\n") == "a\nb\n"


def test_a_refusal_names_the_field_and_what_to_do() -> None:
    with pytest.raises(Refused) as caught:
        decode_command(CancelJob.type_name(), rb'{"job_id":"a","reason":"be\u0000cause"}')
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert [(error.field, error.hint) for error in caught.value.errors] == [
        ("reason", "leave it out: no table can hold it")
    ]


@pytest.mark.parametrize("text", ["0-999999999", "10000", "0-10000", "5,0-99999", "٣", "0-٣"])
def test_a_range_beyond_any_array_is_refused_and_never_expanded(text: str) -> None:
    with pytest.raises(ValueError, match=r"names task|is not a task number"):
        parse_ranges(text)


def test_a_range_has_no_more_parts_than_an_array_has_tasks() -> None:
    assert parse_ranges(",".join(["7"] * 10_000)) == ((7, 7),)
    with pytest.raises(ValueError, match="10001 ranges"):
        parse_ranges(",".join(["7"] * 10_001))


def exited(ended_at: str, rss: int = 0, message: str = "") -> bytes:
    usage = {"max_rss_bytes": rss}
    task = {"task": 0, "attempt": 1, "ended_at": ended_at, "usage": usage, "message": message}
    return json.dumps({"job_id": "a", "tasks": [task]}).encode()


@pytest.mark.parametrize(
    ("given", "read"), [("0001-01-01T00:00:00+14:00", TIME_MIN), ("9999-12-31T23:59:59-12:00", TIME_MAX)]
)
def test_an_event_with_a_time_out_of_range_is_read_with_the_nearest(
    given: str, read: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        event = decode_event(JobExited.type_name(), exited(given), AT)
    assert isinstance(event, JobExited)
    assert event.tasks[0].ended_at == read
    assert "events.jobs/0@7" in caplog.text
    assert "tasks.0.ended_at" in caplog.text


def test_an_event_with_all_of_it_at_once_is_read() -> None:
    event = decode_event(JobExited.type_name(), exited("0001-01-01T00:00:00+14:00", INT_MAX + 1, "a\0b"), AT)
    assert isinstance(event, JobExited)
    (task,) = event.tasks
    assert (task.message, task.usage.max_rss_bytes, task.ended_at) == (f"a{REPLACEMENT}b", INT_MAX, TIME_MIN)


def test_what_is_wrong_otherwise_is_no_event_still() -> None:
    for value in (b'{"job_id":"a\\u0000"}', b"{}", exited("yesterday"), exited("2026-01-01T00:00:00Z", -1), b"\xff"):
        with pytest.raises(Undecodable, match="JobExited does not decode"):
            decode_event(JobExited.type_name(), value, AT)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b'{"job_id":"a"}', "tasks: is missing"),
        (b"{}", "job_id: is missing; tasks: is missing"),
        (exited("yesterday"), "tasks[0].ended_at: 'yesterday' is no time"),
        (b'{"job_id":"a",', "Invalid JSON: EOF while parsing a value at line 1 column 14"),
        (b"[]", "a list is not an object"),
        (b'{"job_id":"a","tasks":[{},{},{}]}', None),
    ],
)
def test_what_is_wrong_names_fields_and_no_page_of_a_library(value: bytes, why: str | None) -> None:
    with pytest.raises(Undecodable) as raised:
        decode_event(JobExited.type_name(), value, AT)
    told = str(raised.value)
    assert told.startswith(f"{AT}: {JobExited.type_name()} does not decode: {why or 'tasks[0].'}")
    assert why is None or told.endswith(why)
    assert why is not None or re.search(r" \(and [0-9]+ more\)$", told)
    assert "pydantic" not in told
    assert "\n" not in told


def event_of(*headers: tuple[str, bytes]) -> Raw:
    kind = ("ce_type", JobExited.type_name().encode())
    return Raw("events.jobs", 0, 7, 0, b"a", exited("2026-01-01T00:00:00Z"), [("ce_id", b"1"), kind, *headers])


@pytest.mark.parametrize("header", ["ce_id", "ce_subject", "ce_actor", "ce_project", "ce_correlationid", "traceparent"])
def test_an_events_envelope_is_read_with_replacements(header: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = event_of((header, b"x")).decode().meta
    assert "x" in plain
    for content, read in ((b"a\0b", f"a{REPLACEMENT}b"), (b"a\xff", f"a{REPLACEMENT}"), (b"y" * 3000, "y" * 1024)):
        raw = event_of((header, content))
        assert read in raw.decode().meta
        assert "events.jobs/0@7" in caplog.text
        with pytest.raises(Undecodable, match=header):
            raw.meta()


def test_an_events_time_out_of_range_is_replaced() -> None:
    raw = event_of(("ce_time", b"0001-01-01T00:00:00+14:00"))
    assert raw.decode().meta.time == TIME_MIN
    assert event_of(("ce_time", b"2026-01-01T00:00:00Z")).decode().meta.time == datetime(2026, 1, 1, tzinfo=UTC)
