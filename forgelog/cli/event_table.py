"""Events as the rows of a table: `history` and `watch`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from forgelog.cli.render import Column, column, text_of
from forgelog.cli.tables import clock, cut, width_of

_MOST_VALUE, _MOST_TEXT = 48, 1000
"""Characters of a value, and of a text, that a line shows of an event's body."""


def _type(event: Mapping[str, Any]) -> str:
    return str(event["type"]).rsplit(".", 1)[-1]


def _summary(event: Mapping[str, Any]) -> str:
    """The body on one line: short values only, without fields that other columns show; a text, such as a reason, whole
    and last."""
    data = event["data"] if isinstance(event["data"], dict) else {}
    left_out = {"job_id", "project", "owner", "queue", "pool", "launch", "request", "spec"}
    parts, texts = [], []
    for key, value in data.items():
        if key in left_out or value in (None, "", [], {}):
            continue
        text = text_of(value)
        if isinstance(value, str) and width_of(text) > _MOST_VALUE:
            texts.append(f"{key}={cut(text, _MOST_TEXT)}")
        else:
            parts.append(f"{key}={cut(text, _MOST_VALUE)}")
    return " ".join([cut(" ".join(parts), 160), *texts]).lstrip()


def event_columns(today: date) -> list[Column]:
    """Times of another day than `today` have their date."""

    def time(event: Mapping[str, Any]) -> str:
        return clock(event["time"], today) if isinstance(event["time"], datetime) else ""

    return [
        Column("Time", time),
        Column("Position", lambda event: str(event["position"]).removeprefix("events."), rank=3),
        Column("Event", _type),
        column("By", "actor", rank=2),
        Column("What", _summary, rank=1, least=16, wrap=True),
    ]
