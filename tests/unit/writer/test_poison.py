"""No record of any producer ends a writer: it is a command, a refusal or a dead letter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events.language.base import Message
from events.language.common import DEFAULT_ACTOR, DEFAULT_PROJECT, CommandRejected, ErrorCode
from events.language.jobs import ReportJobStarted
from events.log import topics
from events.log.wire import Raw
from events.writer import admission
from events.writer.encoding import DeadLetter, Forward, Unit
from events.writer.partition import Partition
from tests.unit.writer.sample import SampleDecider

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
SUBMIT = b"forgelog.jobs.v1.SubmitJob"
GOOD = orjson.dumps({"job_id": "a", "spec": {"metadata": {"name": "a"}, "command": "true"}})

names = st.sampled_from(
    [
        *("ce_id", "ce_type", "ce_time", "ce_subject", "ce_project", "ce_actor", "ce_source"),
        *("ce_correlationid", "ce_causationid", "traceparent", "fl_epoch", "fl_cause", "fl_hash"),
        *("fl_forwarded", "fl_position", "fl_reason", "fl_replayed", "", "é", "x"),
    ]
)
contents = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.sampled_from(
        [
            *(
                SUBMIT,
                b"forgelog.jobs.v1.CancelJob",
                b"forgelog.jobs.v9.SubmitJob",
                b"forgelog.resources.v1.RegisterNode",
            ),
            *(b"forgelog.jobs.v1.JobSubmitted", b"forgelog.log.v1.WriterStarted", b"SubmitJob", b"a" * 2000, b"\xff"),
            *(b"2026-05-09T03:12:00Z", b"9999-12-31T23:59:59-12:00", b"0001-01-01T00:00:00+12:00", b"\x00", b"1|2|3"),
        ]
    ),
)
values = st.one_of(
    st.none(), st.binary(max_size=40), st.sampled_from([GOOD, b"{}", b"null", b"[]", b'{"job_id":"a"}', b"[" * 5000])
)


def record(
    headers: list[tuple[str, Any]], value: bytes | None = GOOD, key: bytes | None = b"a", at: int = 0, offset: int = 0
) -> Raw:
    return Raw(topics.commands("jobs"), 0, offset, at, key, value, headers)


def named(*more: tuple[str, Any]) -> list[tuple[str, Any]]:
    return [("ce_id", b"1"), ("ce_type", SUBMIT), *more]


@given(
    headers=st.lists(st.tuples(names, contents), max_size=8),
    value=values,
    key=st.one_of(st.none(), st.binary(max_size=10)),
    at=st.integers(-(1 << 63), (1 << 63) - 1),
)
@example(headers=named(), value=GOOD, key=b"a", at=(1 << 63) - 1)
@example(headers=named(), value=GOOD, key=b"a", at=-1)
@example(headers=named(("ce_subject", None)), value=GOOD, key=b"a", at=0)
@example(headers=[("ce_id", None), ("ce_type", None)], value=GOOD, key=b"a", at=0)
@example(headers=named(("ce_time", b"0001-01-01T00:00:00+12:00")), value=GOOD, key=b"a", at=0)
@settings(max_examples=500, deadline=None)
def test_any_record_is_a_command_a_refusal_or_a_dead_letter(
    headers: list[tuple[str, Any]], value: bytes | None, key: bytes | None, at: int
) -> None:
    partition = Partition(SampleDecider(), 0, 1)
    partition.epoch = 0
    result = partition.command(record(headers, value, key, at), NOW)
    assert isinstance(result, Unit | Forward | DeadLetter)
    if isinstance(result, DeadLetter):
        assert result.reason.encode()
        result = result.unit
    if isinstance(result, Unit):
        for each in result.records:  # what is written of it can be read again
            assert isinstance(each.at("events.jobs", 0, 1).decode().data, Message)


@pytest.mark.parametrize(
    ("header", "content", "hint"),
    [
        ("ce_project", b"no-organization", "organization/project"),
        ("ce_project", b"a/B", "organization/project"),
        ("ce_actor", b"x" * 201, ""),
        ("ce_actor", b"Ada Lovelace", "leave it out"),
        ("ce_actor", b"node:n1", "leave it out"),
        ("ce_actor", b"forgelog", "leave it out"),
    ],
)
def test_a_command_of_nobody_or_nowhere_is_refused_by_the_headers_name(header: str, content: bytes, hint: str) -> None:
    partition = Partition(SampleDecider(), 0, 1)
    partition.epoch = 0
    unit = partition.command(record(named((header, content))), NOW)
    assert isinstance(unit, Unit)
    (event,) = [each.at("events.jobs", 0, 1).decode() for each in unit.records]
    assert isinstance(event.data, CommandRejected)
    assert event.data.code is ErrorCode.INVALID_ARGUMENT
    assert [error.field for error in event.data.errors] == [header]
    assert hint in (event.data.errors[0].hint or "")
    assert (event.meta.project, event.meta.actor) == (DEFAULT_PROJECT, DEFAULT_ACTOR)


@pytest.mark.parametrize("actor", [b"node:n1", b"owner", b""])
def test_what_an_agent_reports_is_its_node_s(actor: bytes) -> None:
    task = {"task": 0, "attempt": 1, "allocation_id": "a", "pid": 1, "started_at": NOW.isoformat()}
    report = ReportJobStarted.model_validate({"job_id": "j", "node_id": "n1", "tasks": [task]})
    headers = [("ce_id", b"1"), ("ce_type", report.type_name().encode()), ("ce_actor", actor)]
    found = admission.read(record(headers, report.to_json()), NOW, {ReportJobStarted}, "jobs")
    assert isinstance(found, admission.Admitted)
    assert found.meta.actor == (actor.decode() or "owner")


@pytest.mark.parametrize("header", ["ce_actor", "ce_project", "ce_subject", "ce_correlationid", "traceparent"])
@pytest.mark.parametrize(("content", "reason"), [(b"a\x00b", "U+0000"), (b"a\xff", "UTF-8"), (b"y" * 600, "512 bytes")])
def test_a_header_that_no_table_can_hold_is_a_dead_letter_and_answered(
    header: str, content: bytes, reason: str
) -> None:
    partition = Partition(SampleDecider(), 0, 1)
    partition.epoch = 0
    letter = partition.command(record(named((header, content))), NOW)
    assert isinstance(letter, DeadLetter)
    assert header in letter.reason
    assert reason in letter.reason
    assert letter.unit is not None
    (event,) = [each.at("events.jobs", 0, 1).decode() for each in letter.unit.records]
    assert isinstance(event.data, CommandRejected)
    assert event.data.command_id == "1"


@pytest.mark.parametrize("content", [b"a\x00b", b"a\xff", b"y" * 600])
def test_what_has_no_id_that_a_refusal_can_name_is_only_a_dead_letter(content: bytes) -> None:
    letter = Partition(SampleDecider(), 0, 1).command(record([("ce_id", content), ("ce_type", SUBMIT)]), NOW)
    assert isinstance(letter, DeadLetter)
    assert letter.unit is None
