"""A field that nothing acts on yet is refused with its path by the writer, in every context and command.

Its decider is not asked. The reference lists the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from events.language.base import Command, Event, Model
from events.language.common import NODE_ACTOR, CommandRejected, ErrorCode
from events.language.jobs.spec import JobSpec
from events.language.objects import ObjectRef
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import Streaming
from events.language.planned import planned_of
from events.language.registry import command_types
from events.log import topics
from events.log.envelope import Meta
from events.log.wire import Raw, headers_of, value_of
from events.writer.decider import Decider, DecisionContext
from events.writer.encoding import Unit
from events.writer.partition import Partition
from proto.reference import documents
from proto.samples import full

NUMBERS = re.compile(r"\[[0-9]+\]")
"""Which element of a list an error is about: the reference says the field alone."""

NAMING = {"channels": "alerts"}
"""Planned field → the list beside it whose elements name what is in it, in a field called like it."""

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)


def _sample(model: type[Model]) -> dict[str, Any]:
    return full(model).model_dump()


def _job() -> dict[str, Any]:
    spec = _sample(JobSpec) | {"array": None, "depends_on": (), "service": None}
    nothing = {"inputs": {}, "transformations": (), "sink": None, "rules": (), "for_each": None, "cache": "none"}
    return nothing | {"job": spec}


def _topic() -> dict[str, Any]:
    place = {"type": "kafka", "path": "", "topic": "orders", "trigger": "", "connection": {"url": "here:9092"}}
    return place | {"format": {"type": "json"}, "partitions": (), "streaming": _sample(Streaming)}


EXCLUDED: Mapping[str, Callable[[], dict[str, Any]]] = {
    "spec.stages.job.": _job,
    "spec.definition.stages.job.": _job,
    "spec.stages.inputs.source.streaming.": _topic,
    "spec.stages.sink.": lambda: {"sink": _sample(DataSink), "for_each": None},
    "spec.stages.executors.": lambda: {"executors": 1},
    "manifest.files_object.": lambda: {"files": (), "files_object": _sample(ObjectRef)},
    "quarantine.files_object.": lambda: {"files": (), "files_object": _sample(ObjectRef)},
}
"""Path of a field that samples lack → what its neighbours are then: some fields exclude each other."""


def every() -> Iterator[Any]:
    """Each planned field of each command, and each planned value of a field that is planned in part."""
    for kind in command_types().values():
        for path, mark in planned_of(kind):
            for value in sorted(mark.values) or (None,):
                only = "" if value is None else f"={value}"
                yield pytest.param(kind, path, value, id=f"{kind.__name__}.{path}{only}")


EVERY = list(every())


def setting(kind: type[Command], path: str, value: Any) -> Command:
    """A command with that planned field and no other; None is the field's sample."""
    data: Any = full(kind).model_dump()
    for begin, parts in EXCLUDED.items():
        if f"{path}.".startswith(begin):
            *groups, _ = begin.removesuffix(".").split(".")
            for below in _below(data, groups):
                below.update(parts())
    for other, mark in planned_of(kind):
        *groups, name = other.split(".")
        for below in _below(data, groups):
            if other != path and mark.values:
                below[name] = next(each for each in type(below[name]) if each not in mark.values)
            elif other != path:
                below.pop(name, None)
                for each in below.get(NAMING.get(name, ""), ()):
                    each.pop(name, None)
            elif value is not None:
                below[name] = value
    return kind.model_validate(data)


def _below(data: Any, groups: Sequence[str]) -> list[dict[str, Any]]:
    """The objects at a path; of a list on the way, all its elements."""
    found = [data]
    for group in groups:
        found = [each for one in found for each in _parts(one, group)]
    return found


def _parts(one: Any, group: str) -> list[Any]:
    """Of a map on the way, those of all its values; none of what is left out."""
    if group not in one:
        return [each for value in one.values() if isinstance(value, dict) for each in _parts(value, group)]
    value = one[group]
    return [] if value is None else [*value] if isinstance(value, tuple) else [value]


class Undecided(Decider[None]):
    """A decider that no command may reach."""

    def initial(self, key: str) -> None:
        return None

    def evolve(self, state: None, event: Event, time: datetime) -> None:
        raise AssertionError("there is nothing to fold")

    def decide(self, state: None, command: Command, context: DecisionContext) -> Sequence[Event]:
        raise AssertionError(f"{type(command).__name__} came to be decided")


def sent(command: Command) -> CommandRejected:
    """What the command leads to."""
    kind = type(command)
    members = {"context": kind.context, "aggregate": kind.decider_kind(), "commands": (kind,), "events": ()}
    partition = Partition(type("Decides", (Undecided,), members)(), 0, 1)
    partition.epoch = 0
    actor = f"{NODE_ACTOR}{getattr(command, 'node_id', '')}" if kind.by_agents else "owner"
    meta = Meta("c-1", kind.type_name(), "", NOW, "local/default", actor)
    unit = partition.command(Raw(topics.commands(kind.context), 0, 0, 0, b"", value_of(command), headers_of(meta)), NOW)
    assert isinstance(unit, Unit)
    (record,) = unit.records
    event = record.at(topics.events(kind.context), 0, 1).decode().data
    assert isinstance(event, CommandRejected)
    return event


@pytest.mark.parametrize(("kind", "path", "value"), EVERY)
def test_a_planned_field_is_refused_by_its_path(kind: type[Command], path: str, value: Any) -> None:
    refused = sent(setting(kind, path, value))
    assert refused.code is ErrorCode.UNIMPLEMENTED
    assert refused.errors
    for error in refused.errors:
        field = NUMBERS.sub("", error.field).replace(".sample.", ".")  # a sample's key of a map
        assert f"{field}.".startswith(f"{path}."), error
        assert error.problem.endswith("not acted on yet")
        assert error.hint.startswith("leave it out; ")


@cache
def reference() -> list[str]:
    """The lines of the language's page."""
    return documents()["docs/reference/language.md"].splitlines()


@pytest.mark.parametrize(("kind", "path", "value"), EVERY)
def test_a_planned_field_is_in_the_reference(kind: type[Command], path: str, value: Any) -> None:
    (row,) = (row for row in reference() if f"`{kind.__name__}.{path}`" in row)
    assert value is None or f"`{value}`" in row


def test_several_commands_have_planned_fields() -> None:
    assert {"SubmitJob", "CreateQueue", "ConfigureQueue"} <= {param.values[0].__name__ for param in EVERY}
