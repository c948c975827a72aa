"""Columns and first rows follow from the model of a table's rows."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.projections.projection import Table
from events.projections.row_models import Int4, table_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Label(Model):
    key: str = "k"


class Note(Model):
    note_id: Identifier
    colour: Colour = Colour.BLUE
    size: int = 0
    lines: Annotated[int, Field(ge=0, le=1_000)] = 0
    pages: Annotated[int, Int4] | None = None
    weight: float = 0.5
    pinned: bool = False
    seal: bytes = b""
    labels: dict[str, str] = Field(default_factory=dict)
    readers: tuple[str, ...] = ()
    label: Label | None = Label()
    either: int | str = 1
    written_at: Timestamp
    read_at: datetime | None = None


NOTES = table_of(Note, "notes", key=("note_id",), indexes=("written_at desc",), born="written_at")

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)


def test_columns_are_of_the_types_of_the_fields() -> None:
    assert (
        Table(
            "notes",
            ("note_id",),
            {
                "note_id": "text",
                "colour": "text",
                "size": "bigint",
                "lines": "int",
                "pages": "int",
                "weight": "float8",
                "pinned": "bool",
                "seal": "bytea",
                "labels": "jsonb",
                "readers": "jsonb",
                "label": "jsonb",
                "either": "jsonb",
                "written_at": "timestamptz",
                "read_at": "timestamptz",
            },
            ("written_at desc",),
            born="written_at",
            defaults=NOTES.defaults,
        )
        == NOTES
    )


def test_a_first_row_has_every_default_as_postgres_takes_it() -> None:
    row = NOTES.first(note_id="n1", written_at=NOON, size=3)
    assert row == {
        "note_id": "n1",
        "colour": "blue",
        "size": 3,
        "lines": 0,
        "pages": None,
        "weight": 0.5,
        "pinned": False,
        "seal": b"",
        "labels": {},
        "readers": [],
        "label": {"key": "k"},
        "either": 1,
        "written_at": NOON,
        "read_at": None,
    }
    assert type(row["colour"]) is str
    assert NOTES.key_of(row) == ("n1",)


@pytest.mark.parametrize("given", [{"key": ("id",)}, {"key": ("note_id",), "born": "id"}])
def test_what_is_no_field_is_told(given: Any) -> None:
    with pytest.raises(ValueError, match="table notes: Note has no field id; name one that it has"):
        table_of(Note, "notes", **given)
