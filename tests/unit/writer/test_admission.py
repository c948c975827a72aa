"""Every record of a command topic is a command, a refusal or a dead letter: none stops a partition."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.common import DEFAULT_ACTOR, MAX_COMMAND_BYTES, ErrorCode
from events.language.jobs import CancelJob, ReportJobStarted, SubmitJob
from events.log.wire import Raw
from events.writer import admission
from events.writer.admission import Admitted, Refusal
from events.writer.encoding import DeadLetter, Unit
from events.writer.partition import Partition
from tests.chaos.poison import Poison, poisons
from tests.unit.writer.sample import SampleDecider

NOW = datetime(2026, 5, 9, tzinfo=UTC)
CANCEL = [("ce_id", b"1"), ("ce_type", CancelJob.type_name().encode())]
COMMANDS = (CancelJob, SubmitJob)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("\0\ud800ab", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def read(value: bytes | None, headers: list[Any], timestamp_ms: int = 0) -> Admitted | Refusal | DeadLetter:
    return admission.read(Raw("commands.jobs", 0, 7, timestamp_ms, b"a", value, headers), NOW, COMMANDS, "jobs")


@pytest.mark.parametrize("poison", poisons("jobs", lambda: "id"), ids=lambda poison: poison.name)
def test_a_poison_is_a_refusal_or_a_dead_letter(poison: Poison) -> None:
    found = read(poison.value, list(poison.headers), poison.timestamp_ms or 0)
    assert not isinstance(found, Admitted)
    if poison.answered:
        assert isinstance(found, Refusal)
    assert poison.dead == (isinstance(found, DeadLetter) or found.dead)


@given(st.dictionaries(st.sampled_from(["job_id", "reason", "a", "\0", "a\0b"]), values))
def test_any_json_gets_an_answer(data: Any) -> None:
    raw = Raw("commands.jobs", 0, 7, 0, b"a", json.dumps(data).encode(), CANCEL)
    found = Partition(SampleDecider(), 0, 1).command(raw, NOW)
    assert isinstance(found.unit if isinstance(found, DeadLetter) else found, Unit)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (rb'{"job_id": "a", "a\u0000b": 1}', r"a\x00b"),
        (rb'{"job_id": "a", "\u0000": 1, "\u0000": 2}', r"\x00"),
        (rb'{"job_id": "a", "\ud800": 1, "\ud800": 2}', r"\ud800"),
    ],
)
def test_a_key_that_no_table_can_hold_is_named_with_escapes(value: bytes, field: str) -> None:
    found = read(value, CANCEL)
    assert isinstance(found, Refusal)
    assert found.refused.code is ErrorCode.INVALID_ARGUMENT
    assert [error.field for error in found.refused.errors] == [field]


@pytest.mark.parametrize("actor", [b"somebody", b"forgelog", b"node:n1"])
@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        (CancelJob.type_name(), b'{"job_id": "a"}'),
        (CancelJob.type_name(), b'{"job_id": 1}'),
        (CancelJob.type_name(), b"no JSON"),
        (CancelJob.type_name(), b"x" * (MAX_COMMAND_BYTES + 1)),
        ("forgelog.jobs.v1.NoCommand", b"{}"),
        ("", b"{}"),
    ],
    ids=["a command", "wrong fields", "no JSON", "too long", "no type of ours", "no type"],
)
def test_no_refusal_says_that_another_acted(actor: bytes, type_name: str, value: bytes) -> None:
    """What is refused is history too, and who acts is never the sender's word."""
    found = read(value, [("ce_id", b"1"), ("ce_type", type_name.encode()), ("ce_actor", actor)])
    assert isinstance(found, Refusal)
    assert found.meta.actor == DEFAULT_ACTOR


def test_an_agents_wrong_report_is_its_nodes() -> None:
    headers = [("ce_id", b"1"), ("ce_type", ReportJobStarted.type_name().encode()), ("ce_actor", b"node:n1")]
    found = read(b"{}", headers)
    assert isinstance(found, Refusal)
    assert found.meta.actor == "node:n1"


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_project", "ce_time", "ce_correlationid"])
def test_an_attribute_that_is_given_twice_is_refused_and_another_header_is_nobodys_business(name: str) -> None:
    given = dict(CANCEL).get(name, b"local/other")
    found = read(b'{"job_id": "a"}', [*CANCEL, (name, given), *([(name, given)] if name not in dict(CANCEL) else [])])
    assert isinstance(found, Refusal)
    assert found.dead
    assert found.refused.message == f"header {name} is given 2 times; give it once"
    assert isinstance(read(b'{"job_id": "a"}', [*CANCEL, ("x", b"1"), ("x", b"2")]), Admitted)
