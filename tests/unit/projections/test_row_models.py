"""Columns and first rows follow from the model of a table's rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal, NewType

import pytest
from pydantic import BaseModel, Field, create_model
from typing_extensions import TypeAliasType

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.projections.projection import Table
from events.projections.row_models import Int4, table_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Label(Model):
    key: str = "k"


Level = NewType("Level", int)
Shelf = TypeAliasType("Shelf", Annotated[str, Field(max_length=9)])


class Note(BaseModel):
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
    plan: Literal["free", "paid"] | None = "free"
    level: Level = Level(1)
    shelf: Shelf = "a"
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
                "plan": "text",
                "level": "bigint",
                "shelf": "text",
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
        "plan": "free",
        "level": 1,
        "shelf": "a",
        "written_at": NOON,
        "read_at": None,
    }
    assert type(row["colour"]) is str
    assert NOTES.key_of(row) == ("n1",)


@pytest.mark.parametrize("given", [{"key": ("id",)}, {"key": ("note_id",), "born": "id"}])
def test_what_is_no_field_is_told(given: Any) -> None:
    with pytest.raises(ValueError, match="table notes: Note has no field id; name one that it has"):
        table_of(Note, "notes", **given)


class Size(IntEnum):
    SMALL = 1


@pytest.mark.parametrize("kind", [date, timedelta, Decimal, Size, date | None])
def test_a_type_that_would_come_back_from_a_table_as_another_has_no_column(kind: Any) -> None:
    model = create_model("Day", day_id=(str, ...), day=(kind, ...))
    with pytest.raises(ValueError, match=r"table days: Day\.day is an? \w+; use a text, a number, a bool"):
        table_of(model, "days", key=("day_id",))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"sise": 3, "note_id": "n1", "written_at": NOON}, "table notes has no column sise"),
        ({"note_id": "n1"}, "notes.written_at has no value"),
    ],
)
def test_a_first_row_has_the_tables_columns_and_no_other(given: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        NOTES.first(**given)


@pytest.mark.parametrize(
    ("name", "column"), [("notes", "user"), ("notes", "offset"), ("order", "id"), ("notes", "Id"), ("notes", "a b")]
)
def test_a_name_is_one_that_sql_needs_no_quotes_for(name: str, column: str) -> None:
    with pytest.raises(ValueError, match=r"is no name in SQL unless it is quoted; use another"):
        Table(name, ("id",), {"id": "text", column: "text"})
