"""Whatever an answer's table has a column for, some event changes: a column that keeps its default tells nothing.

Samples of all events are folded in several orders into rows that any key finds. No history is like that; it shows what
folds write, and nothing else.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import combinations
from typing import TypeVar

import pytest

from events.language.base import Event, Model
from events.language.contexts import contexts
from events.language.pipelines.events import PipelineDefined
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import StageCompleted
from events.language.pipelines.windows import StreamState
from events.language.registry import event_types
from events.log.envelope import Meta, Position, Recorded
from events.projections.projection import Key, Projection, Row, Table
from events.projections.rebuild import projection_of
from proto.samples import TIME, full
from proto.shapes import unwrap

M = TypeVar("M", bound=Model)

ORDERS = 5
"""How often all samples are folded: what a fold writes may depend on what was written before."""


class LastRows:
    """Finds for any key the row that was put last. Notes the columns that differ from their defaults."""

    def __init__(self) -> None:
        self._last: dict[str, Row] = {}
        self.written: dict[str, set[str]] = defaultdict(set)

    def get(self, table: Table, key: Key) -> Row | None:
        found = self._last.get(table.name)
        return None if found is None else {**found, **dict(zip(table.key, key, strict=True))}

    def put(self, table: Table, row: Row) -> None:
        self._last[table.name] = row
        self.written[table.name] |= {name for name, value in row.items() if value != table.defaults.get(name)}

    def delete(self, table: Table, key: Key) -> None:
        pass


def samples(kind: type[M], *, inside: bool = True) -> Iterator[M]:
    """The model with all of its fields filled; with each of its words; with each field left out; with other numbers;
    with the values of two fields exchanged; and such samples of the models in it."""
    sample = full(kind)
    yield sample
    for name, info in kind.model_fields.items():
        value, _, _ = unwrap(info.annotation, tuple(info.metadata))
        if not info.is_required():
            yield sample.model_copy(update={name: info.get_default(call_default_factory=True)})
        if not isinstance(value, type):
            continue
        if issubclass(value, StrEnum):
            yield from (sample.model_copy(update={name: word}) for word in value)
        elif issubclass(value, Model) and inside:
            yield from (sample.model_copy(update={name: part}) for part in samples(value, inside=False))
        elif value is int and getattr(sample, name) is not None:
            yield sample.model_copy(update={name: getattr(sample, name) + 1})
    for one, other in combinations(kind.model_fields, 2):
        if kind.model_fields[one].annotation == kind.model_fields[other].annotation:
            yield sample.model_copy(update={one: getattr(sample, other), other: getattr(sample, one)})


def fitting(context: str) -> list[Event]:
    """Events that say something only together, in their order."""
    if context != "pipelines":
        return []
    streaming = {"windows": {"size_seconds": 60}}
    connection = {"url": "here:9092"}
    source = {"type": "kafka", "topic": "orders", "connection": connection, "streaming": streaming}
    spec = {
        "stages": [{"id": "load", "inputs": {"rows": {"source": source}}}],
        "triggers": [{"name": "stream", "topic": {"topic": "orders", "connection": connection}}],
    }
    left = full(StreamState).model_copy(update={"input": "rows"})
    return [
        full(PipelineDefined).model_copy(update={"spec": PipelineSpec.model_validate(spec)}),
        full(StageCompleted).model_copy(update={"stage_id": "load", "streams": (left,)}),
    ]


def folded(projection: Projection) -> LastRows:
    rows = LastRows()
    kinds = [kind for kind in event_types().values() if kind.context in projection.contexts]
    events = [event for kind in kinds for event in samples(kind)]
    for seed in range(ORDERS):
        random.Random(seed).shuffle(events)
        for event in (*events, *fitting(projection.context)):
            meta = Meta("e1", type(event).type_name(), event.subject(), TIME, "local/default", "ada")
            # A fold may count on what deciders see to, such as that a row is there. It then has its turn in another
            # order; where it never has one, its columns stay unwritten.
            with suppress(AssertionError, LookupError, TypeError, ValueError):
                projection.project(Recorded(event, meta, "key", Position("events", 0, 0)), rows)
    return rows


@pytest.mark.parametrize("context", contexts())
def test_every_column_is_written(context: str) -> None:
    projection = projection_of(context)
    rows = folded(projection)
    unwritten = [
        f"{table.name}.{name}"
        for table in projection.tables
        for name in table.defaults
        if name not in rows.written[table.name]
    ]
    assert not unwritten, f"no event changes {', '.join(unwritten)}"
