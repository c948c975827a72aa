"""What a method of the client is given changes what it asks the platform: another value makes another request.

No platform: a channel that notes each request, and answers it with a message in which every field has a value. A method
is called with what it needs, and again with one argument changed at a time: what is asked must change too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from forgelog.client import aio, core, job_runs
from forgelog_pb.gateway.v1 import commands_pb2

Asked = list[str]
"""Each request: its method and its fields; and the error that ended the call, if one did."""

NAMESPACES: dict[str, type] = {
    name: each.kind for name, each in vars(aio.AsyncClient).items() if isinstance(each, core.namespace)
}
ENOUGH = 4
"""Requests of one call, after which no more is answered: some watch until something changes."""
A, B = datetime(2026, 5, 9, 3, 12, tzinfo=UTC), datetime(2026, 5, 9, 3, 13, tzinfo=UTC)

JOBS = {"name": "one", "command": "true"}, {"name": "two", "command": "true"}
VALUES: dict[str, tuple[Any, Any]] = {
    "str": ("one", "two"),
    "str | None": ("one", "two"),
    "int": (3, 4),
    "int | None": (3, 4),
    "float": (3.0, 4.0),
    "float | None": (3.0, 4.0),
    "bool": (False, True),
    "bool | None": (False, True),
    "datetime": (A, B),
    "datetime | None": (A, B),
    "tuple[datetime, datetime] | None": ((A, B), (A, A)),
    "Iterable[str]": (["one"], ["two"]),
    "Sequence[str]": (["one"], ["two"]),
    "Iterable[int]": ([3], [4]),
    "Sequence[int] | None": ([3], [4]),
    "Sequence[float]": ([3.0], [4.0]),
    "float | Sequence[float]": (3.0, 4.0),
    "Mapping[int, int] | None": ({1: 1}, {1: 2}),
    "Mapping[str, int] | None": ({"one": 1}, {"one": 2}),
    "Mapping[str, float]": ({"one": 1.0}, {"one": 2.0}),
    "Mapping[str, float] | None": ({"one": 1.0}, {"one": 2.0}),
    "Mapping[str, str] | None": ({"one": "1"}, {"one": "2"}),
    "Mapping[str, str | None]": ({"one": "1"}, {"one": "2"}),
    "Mapping[str, str | None] | None": ({"one": "1"}, {"one": "2"}),
    "Mapping[str, Any]": ({"one": 1}, {"one": 2}),
    "Mapping[str, Any] | None": ({"one": 1}, {"one": 2}),
    "Iterable[Mapping[str, str]]": ([{"one": "1"}], [{"one": "2"}]),
    "Iterable[Mapping[str, Any]]": ([{"one": 1}], [{"one": 2}]),
    "Sequence[Mapping[str, Any]]": ([{"name": "one"}], [{"name": "two"}]),
    "Iterable[tuple[str, str, Mapping[str, bytes]]]": ([("one", "x", {})], [("two", "x", {})]),
    "Any": (1, 2),
    # A job of a manifest's keys, where one is taken.
    "JobSpec | Mapping[str, Any] | str | Path | None": JOBS,
    "str | Path | Iterable[JobSpec | Mapping[str, Any]]": ([JOBS[0]], [JOBS[1]]),
    "Mapping[str, Any] | str | Path | None": JOBS,
}
NEEDED: dict[str, dict[str, Any]] = {
    "jobs.submit": {"described": {"name": "one", "command": "true"}},
    "datasets.register": {"digest": "0" * 64},
}
"""What a method needs beside what it can't be called without."""

OTHERWISE = {
    "wait": "whether this machine waits",
    "timeout": "how long this machine waits",
    "folder": "what is read on this machine",
    "into": "where files go on this machine",
    "force": "what may be replaced on this machine",
    "progress": "who is told on this machine",
    "say": "who is told on this machine",
    "left_out": "who is told on this machine",
}
"""Arguments that are none of the platform's business, and why."""

ELSEWHERE = {
    **dict.fromkeys(("jobs.upload", "runs.log_artifact", "runs.log_artifacts", "templates.save"), "reads files"),
    "models.create_version": "sends files",
    **dict.fromkeys(
        ("deployments.apply", "pipelines.apply", "pipeline_data.apply", "pipeline_templates.apply"), "reads a manifest"
    ),
    **dict.fromkeys(("captures.save", "captures.read", "purges.execute"), "takes what another call gave"),
    **dict.fromkeys(("tunings.best", "tunings.importances"), "computes from the trials"),
    "jobs.dependencies": "takes what another call gave",
    **dict.fromkeys(("jobs.fetch", "models.load", "templates.begin"), "chooses from the files that it gets"),
    "jobs.job": "asks nothing",
    "lineage.trace": "goes on from what it gets",
    "deployments.predict": "asks the router",
}
"""Methods that are not looked at here, and why: they have tests of their own."""


class Enough(Exception):
    """More was asked than is answered here."""


def filled(message: Message, depth: int = 3) -> Message:
    """The message with a value in every field, that many messages deep; the next page of a list is the end."""
    field: Any
    for field in message.DESCRIPTOR.fields:
        kind = field.message_type
        if field.name in ("next_cursor", "rejection", "positions") or field.containing_oneof is not None:
            continue
        if kind is None:
            one: Any = {field.TYPE_BYTES: b"x", field.TYPE_STRING: "x"}.get(field.type, 1)
            if field.is_repeated:
                getattr(message, field.name).append(one)
            else:
                setattr(message, field.name, one)
        elif depth and not kind.GetOptions().map_entry:
            value = getattr(message, field.name)
            below = value.add() if field.is_repeated else value
            if isinstance(below, Timestamp):
                below.FromDatetime(A)
            else:
                filled(below, depth - 1)
    return message


class Recording:
    """A channel without a platform."""

    def __init__(self) -> None:
        self.heard: Asked = []

    def _note(self, path: str, request: Message) -> None:
        if len(self.heard) == ENOUGH:
            raise Enough
        self.heard.append(f"{path} {MessageToJson(request)}")

    def unary_unary(self, path: str, *_: Any, response_deserializer: Callable[[bytes], Message], **__: Any) -> Any:
        async def call(request: Message, **_: Any) -> Message:
            self._note(path, request)
            answer = filled(response_deserializer(b""))
            if isinstance(answer, commands_pb2.PublishAndWaitResponse):
                answer.outcome.result = commands_pb2.RESULT_ACCEPTED
            return answer

        return call

    def unary_stream(self, path: str, *_: Any, response_deserializer: Callable[[bytes], Message], **__: Any) -> Any:
        note = self._note

        class Call:
            def __init__(self, request: Message, **_: Any) -> None:
                note(path, request)

            async def initial_metadata(self) -> tuple[()]:
                return ()

            async def __aiter__(self) -> AsyncIterator[Message]:
                yield filled(response_deserializer(b""))

            def cancel(self) -> None:
                pass

        return Call

    stream_unary = stream_stream = unary_stream


async def asked(name: str, method: str, given: Mapping[str, Any]) -> Asked:
    """What a call asks of the platform."""
    client = aio.AsyncClient("127.0.0.1:1", token="none", timeout=7)
    client._core.connection._channel = channel = Recording()
    try:
        called = getattr(getattr(client, name), method)(**given)
        if hasattr(called, "__aiter__"):
            await anext(called)
        elif inspect.isawaitable(called):
            await called
    except Exception as error:  # noqa: BLE001 - a filled answer need make no sense to it: what it asked before counts
        channel.heard.append(f"{type(error).__name__}: {error}")
    return channel.heard


def parameters(name: str, method: str) -> list[inspect.Parameter]:
    found = inspect.signature(getattr(NAMESPACES[name], method)).parameters.values()
    return [each for each in found if each.name != "self" and each.kind is not each.VAR_KEYWORD]


def methods(name: str) -> Iterator[str]:
    for method, _ in inspect.getmembers(NAMESPACES[name], inspect.isfunction):
        if not method.startswith("_") and f"{name}.{method}" not in ELSEWHERE:
            yield method


def needed(name: str, method: str) -> dict[str, Any]:
    without = {each.name: VALUES[each.annotation][0] for each in parameters(name, method) if each.default is each.empty}
    return without | NEEDED.get(f"{name}.{method}", {})


async def with_other(name: str, method: str, argument: inspect.Parameter, value: Any) -> Asked:
    """What is asked with another value of one argument; where only some words are taken, with the last of them."""
    given = needed(name, method)
    found = await asked(name, method, {**given, argument.name: value})
    if found and (words := re.search(r"is none of ([a-z0-9_, -]+)", found[-1])):
        word = words[1].split(", ")[-1]
        value = word if isinstance(value, str) else [word]
        found = await asked(name, method, {**given, argument.name: value})
    return found


@pytest.fixture(autouse=True)
def one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (core, job_runs):
        monkeypatch.setattr(module, "new_id", lambda: "the-same")


@pytest.mark.parametrize("name", NAMESPACES)
async def test_another_value_of_an_argument_asks_for_something_else(name: str) -> None:
    ignored: list[str] = []
    for method in methods(name):
        plainly = await asked(name, method, needed(name, method))
        for argument in parameters(name, method):
            if argument.name in OTHERWISE:
                continue
            first, second = VALUES[argument.annotation]
            value = first if argument.default == second else second
            if await with_other(name, method, argument, value) == plainly:
                ignored.append(f"{name}.{method}({argument.name})")
    assert ignored == []


@pytest.mark.parametrize("name", NAMESPACES)
async def test_one_text_where_several_are_taken_is_one(name: str) -> None:
    taken_apart: list[str] = []
    for method in methods(name):
        for argument in parameters(name, method):
            if argument.annotation in ("Iterable[str]", "Sequence[str]"):
                given = needed(name, method)
                alone = await asked(name, method, {**given, argument.name: "one"})
                if alone != await asked(name, method, {**given, argument.name: ["one"]}):
                    taken_apart.append(f"{name}.{method}({argument.name})")
    assert taken_apart == []
