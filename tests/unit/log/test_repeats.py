"""A JSON text that says a thing twice is refused by every door, by the key; any other is let through."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.common import CommandRejected, ErrorCode
from events.log import repeats
from events.log.repeats import repeated_key
from events.log.wire import Raw
from events.writer.encoding import Unit
from events.writer.partition import Partition
from forgelog.errors import ManifestError
from forgelog.manifest.jobs import parse
from services.gateway import http_bodies, http_commands
from services.gateway.errors import DoorError
from tests.unit.writer.sample import SampleDecider

TWICE = b'{"job_id":"a","spec":{"metadata":{"name":"a"},"command":"true"},"spec":{"metadata":{"name":"b"}}}'

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab:{}"\\', max_size=3), inner, max_size=5),
    max_leaves=30,
)


@pytest.fixture(params=["as compiled", "in Python"])
def look(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], str | None]:
    if request.param == "in Python":
        monkeypatch.setattr(repeats, "_may_repeat", lambda _: True)
    return repeated_key


@given(values, st.sampled_from([None, 2]), st.booleans())
def test_what_says_each_thing_once_has_no_repeated_key(value: Any, indent: int | None, ascii: bool) -> None:
    assert repeated_key(json.dumps(value, indent=indent, ensure_ascii=ascii).encode()) is None


@given(values, values, st.text(max_size=5), st.sampled_from(["", " ", "\n\t "]))
def test_a_key_said_twice_is_found_wherever_it_stands(before: Any, after: Any, key: str, space: str) -> None:
    name = json.dumps(key)
    text = f'[{json.dumps(before)}, {{"x1":{{}}, {name}{space}: 1, "x2":[{json.dumps(after)}], {name}:{space}2}}]'
    assert repeated_key(text.encode()) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (TWICE, "spec"),
        (rb'{"a":1,"\u0061":2}', "a"),
        (rb'{"\"":1,"\"":2}', '"'),
        (b'{"":1,"":2}', ""),
        (b'{"a":{"b":1},"c":{"b":2,"b":3}}', "b"),
        (b'{"a":{"b":1},"c":{"b":2}}', None),
        (b'[{"a":1},{"a":2}]', None),
        (b'{"a":"\\"a\\":","b":"a"}', None),
        (b"{" + b",".join(b'"k%d":1' % n for n in range(1000)) + b"}", None),
        (b"{" + b",".join(b'"k%d":1' % (n % 999) for n in range(1000)) + b"}", "k0"),
        (b'{"a":' * 127 + b'{"b":1,"b":2}' + b"}" * 127, "b"),
        *(
            (text, None)
            for text in (b"", b"{", b"}", b'{"a', b'{"a\\', b"\xff", b'{"a":' * 100_000, b'"a":"a":', b"]}")
        ),
    ],
)
def test_the_key_is_named(look: Callable[[bytes], str | None], text: bytes, key: str | None) -> None:
    assert look(text) == key


def test_a_command_by_kafka_is_refused() -> None:
    headers = [("ce_id", b"1"), ("ce_type", b"forgelog.jobs.v1.SubmitJob")]
    partition = Partition(SampleDecider(), 0, 1)
    unit = partition.command(Raw("commands.jobs", 0, 0, 0, b"a", TWICE, headers), datetime(2026, 5, 9, tzinfo=UTC))
    assert isinstance(unit, Unit)
    rejected = unit.records[0].at("events.jobs", 0, 1).decode().data
    assert isinstance(rejected, CommandRejected)
    assert rejected.code is ErrorCode.INVALID_ARGUMENT
    assert [error.field for error in rejected.errors] == ["spec"]


@pytest.mark.parametrize("door", [http_bodies.json_of, http_commands._parse])
def test_a_body_by_http_is_refused(door: Callable[[bytes], Any]) -> None:
    with pytest.raises(DoorError, match="key 'spec' is given twice") as caught:
        door(TWICE)
    assert [error.field for error in caught.value.errors] == ["spec"]


@pytest.mark.parametrize("text", ['{"name":"a","name":"b","command":"x"}', "name: a\nname: b\ncommand: x"])
def test_a_manifest_is_refused(text: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(text)
    assert "given twice" in str(caught.value)


@pytest.mark.parametrize("text", ['{\n\t"name": "a",\n\t"command": "x"\n}', '\ufeff{"name":"a","command":"x"}'])
def test_a_manifest_is_json_by_what_it_holds(text: str) -> None:
    assert [job.name for job in parse(text, "job.txt")] == ["a"]
