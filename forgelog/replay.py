"""Folds an aggregate's history step by step, in memory, and says what each event changed.

Uses the projection's own fold (`events.projections.projection`), the one that fills the tables. Knows no context.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from events.language.common import LogEvent
from events.log.envelope import Meta, Position, Recorded
from events.log.wire import decode_event
from events.projections.projection import Key, Projection, Row, Table
from events.projections.rebuild import projection_of


class MemoryRows:
    """The tables of one projection, in a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Key], Row] = {}

    def get(self, table: Table, key: Key) -> Row | None:
        return self.rows.get((table.name, key))

    def put(self, table: Table, row: Row) -> None:
        # In the order of the columns, in which the changes are shown.
        self.rows[(table.name, table.key_of(row))] = {
            **{name: row[name] for name in table.columns if name in row},
            **row,
        }

    def delete(self, table: Table, key: Key) -> None:
        self.rows.pop((table.name, key), None)


def replay_steps(
    context: str, events: Iterable[Mapping[str, Any]], projection: Projection | None = None
) -> list[dict[str, Any]]:
    """One step per event: its place and type, and every column of every row that it changed.

    `events` are as the client's `history` gives them: all events of an aggregate, oldest first.
    """
    projection = projection or projection_of(context)
    memory = MemoryRows()
    steps = []
    for event in events:
        recorded = _recorded(event)
        before = dict(memory.rows)
        if not isinstance(recorded.data, LogEvent):
            projection.project(recorded, memory)
        steps.append(
            {
                "position": event["position"],
                "time": event["time"],
                "type": str(event["type"]).rsplit(".", 1)[-1],
                "actor": event["actor"],
                "changes": list(_changes(before, memory.rows)),
            }
        )
    return steps


def _changes(before: Mapping[tuple[str, Key], Row], after: Mapping[tuple[str, Key], Row]) -> Iterable[dict[str, Any]]:
    for place in [*before, *(place for place in after if place not in before)]:
        old, new = before.get(place, {}), after.get(place, {})
        if old is new:
            continue
        row = "removed" if place not in after else "changed" if place in before else "added"
        for column in {**old, **new}:
            if isinstance(new.get(column, old.get(column)), bytes):
                continue  # an answer kept ready: nothing for the eye
            if old.get(column) != new.get(column):
                key = "/".join(str(part) for part in place[1])
                yield {
                    "table": place[0],
                    "key": key,
                    "row": row,
                    "column": column,
                    "before": old.get(column),
                    "after": new.get(column),
                }


def _recorded(event: Mapping[str, Any]) -> Recorded:
    position = Position.parse(event["position"])
    return Recorded(
        data=decode_event(event["type"], orjson.dumps(event["data"]), position),
        meta=Meta(
            id=event["id"],
            type=event["type"],
            subject=event["subject"],
            time=event["time"],
            project=event["project"],
            actor=event["actor"],
            correlation=event["correlation_id"],
            causation=event["causation_id"],
        ),
        key="",
        position=position,
        cause=event["cause"],
    )
