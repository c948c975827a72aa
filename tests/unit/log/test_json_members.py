"""The JSON of an event is made once, and that of a part of it is a part of that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.base import kept_json
from events.language.jobs import JobSubmitted
from events.language.jobs.spec import JobEnvironment, JobMetadata, JobSpec
from events.log import json_members
from events.log.envelope import Position
from events.log.json_members import member_json
from events.log.wire import decode_event, value_of
from tests.unit.log.test_native import compiled, needs_compiler

AT = Position("events.jobs", 0, 0)
SPEC = JobSpec(
    metadata=JobMetadata(name="a", annotations={"spec": '},"spec":{'}),
    command="x",
    environment=JobEnvironment(variables={"A": "\\"}),
)
EVENT = JobSubmitted(job_id="a", project="p/q", owner='o","spec":{}', spec=SPEC)

texts = st.text('ab:{}[],"\\ü', max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@needs_compiler
@given(st.dictionaries(st.text("ab:{}[],ü", max_size=3), values, max_size=5), st.sampled_from([None, 2]))
def test_a_member_is_the_text_of_its_value(data: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=False).encode()
    for name, value in data.items():
        found = compiled.member(text, name.encode())
        assert json.loads(found) == value
        assert found == found.strip()
    assert compiled.member(text, b"no such member") is None


@needs_compiler
@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[1]", b'{"a', b'{"a"', b'{"a":', b'{"a":1', b'{"a":"x', b'{"\\u0061":1}', b"\\"]
)
def test_what_has_no_such_member_has_none(text: bytes) -> None:
    assert compiled.member(text, b"a") is None


@needs_compiler
def test_of_two_members_of_a_name_the_last_counts() -> None:
    assert compiled.member(b'{"a":1,"b":[2],"a" : {"a":3} }', b"a") == b'{"a":3}'


@pytest.fixture(params=["compiled", "pure"])
def _either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure":
        monkeypatch.setattr(json_members, "_compiled", None)


@pytest.mark.usefixtures("_either")
def test_a_parts_json_is_that_of_the_part() -> None:
    made = EVENT.model_copy()
    assert member_json(made, "spec") == SPEC.to_json()
    read = decode_event(JobSubmitted.type_name(), value_of(made), AT)
    assert isinstance(read, JobSubmitted)
    assert member_json(made, "spec") == member_json(read, "spec") == SPEC.to_json()


def test_an_event_knows_what_it_was_read_from_or_written_as() -> None:
    text = b'{"spec":{"metadata":{"name":"a"},"command":"x","args":[]}, "job_id":"a","project":"p/q","owner":"o"}'
    read = decode_event(JobSubmitted.type_name(), text, AT)
    assert isinstance(read, JobSubmitted)
    assert kept_json(read) is text
    written = value_of(read)
    assert kept_json(read) is written


def test_a_copy_of_an_event_does_not_know_it() -> None:
    event = EVENT.model_copy()
    value_of(event)
    copied = event.model_copy(update={"owner": "other"})
    assert kept_json(copied) is kept_json(event.model_copy()) is None
    assert copied != event == EVENT
