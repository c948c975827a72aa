"""Events as the rows of a table: `history` and `watch`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

from forgelog.cli.render import Column, column, text_of
from forgelog.cli.tables import clock, cut, width_of
from forgelog.errors import Problem

_MOST_VALUE, _MOST_TEXT = 48, 1000
"""Characters of a value, and of a text, that a line shows of an event's body."""


def _type(event: Mapping[str, Any]) -> str:
    return str(event["type"]).rsplit(".", 1)[-1]


_REFUSAL = "CommandRejected"
_LEFT_OUT = frozenset(("job_id", "project", "owner", "queue", "pool", "launch", "request", "spec"))
"""What other columns show, or what is long."""


def _summary(event: Mapping[str, Any]) -> str:
    """The body on one line: short values only. Of a refusal, what was refused."""
    if _type(event) == _REFUSAL:
        return f"{str(event['data'].get('command_type', '')).rsplit('.', 1)[-1]} of {event['subject']}:"
    parts = [f"{key}={cut(text_of(value), _MOST_VALUE)}" for key, value in _values(event) if not _is_text(value)]
    return cut(" ".join(parts), 160)


def _texts(event: Mapping[str, Any]) -> str:
    """The body's texts, such as a reason. Of a refusal, each error as its sender was told it."""
    if _type(event) == _REFUSAL:
        data = event["data"]
        errors = [Problem(each["field"], each["problem"], each.get("hint", "")) for each in data.get("errors", ())]
        return cut("; ".join(map(str, errors)) or text_of(data.get("message", "")), _MOST_TEXT)
    return " ".join(f"{key}={cut(text_of(value), _MOST_TEXT)}" for key, value in _values(event) if _is_text(value))


def _values(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data = event["data"] if isinstance(event["data"], dict) else {}
    return ((key, value) for key, value in data.items() if key not in _LEFT_OUT and value not in (None, "", [], {}))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and width_of(value) > _MOST_VALUE


def event_columns(today: date) -> list[Column]:
    """Times of another day than `today` have their date."""

    def time(event: Mapping[str, Any]) -> str:
        return clock(event["time"], today) if isinstance(event["time"], datetime) else ""

    return [
        Column("Time", time),
        Column("Position", lambda event: str(event["position"]).removeprefix("events."), rank=3),
        Column("Event", _type),
        column("By", "actor", rank=2),
        Column("What", _summary, rank=1, least=16, more=_texts),
    ]
