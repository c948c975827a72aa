"""What the tables' SQL says, and what their columns take."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from events.language.jobs.spec import JobMetadata
from events.projections import tables
from events.projections.projection import Table

NOTES = Table(
    name="notes",
    key=("id",),
    columns={"id": "text", "labels": "jsonb"},
    indexes=("id desc", "using gin (labels)"),
)


class Connection:
    """Keeps the codec that it is given, and the statements."""

    def __init__(self) -> None:
        self.encoder: Any = None
        self.executed: list[tuple[Any, ...]] = []

    async def set_type_codec(self, _name: str, *, encoder: Any, **_more: Any) -> None:
        self.encoder = encoder

    async def execute(self, *statement: Any) -> None:
        self.executed.append(statement)


@pytest.mark.parametrize(
    "value", [JobMetadata(name="a"), {"a"}, {"a": {1: "b"}}], ids=["model", "set", "number as key"]
)
async def test_what_would_come_back_from_json_as_something_else_is_refused(value: Any) -> None:
    db: Any = Connection()
    await tables.set_codecs(db)
    with pytest.raises(TypeError, match=r"not JSON serializable|must be str"):
        db.encoder(value)
    row = {"id": "one", "labels": [value]}
    with pytest.raises(TypeError, match=r"not JSON serializable|must be str"):
        await tables.upsert_rows(db, NOTES, [(row, datetime(2026, 5, 9, tzinfo=UTC))])
    assert db.executed == []


def test_an_index_is_of_columns_or_as_it_says() -> None:
    first, second, *past = tables._index_statements(NOTES).values()
    assert first == 'create index "notes_index_0" on "notes" (id desc)'
    assert second == 'create index "notes_index_1" on "notes" using gin (labels)'
    assert len(past) == 2


def test_an_index_of_a_part_of_the_key_has_the_whole_key() -> None:
    objects = Table(
        name="objects",
        key=("subject", "digest"),
        columns={"subject": "text", "digest": "text", "size": "bigint"},
        indexes=("digest", "digest, subject", "digest, size", "digest desc"),
    )
    part, whole, mixed, down, *_ = tables._index_statements(objects).items()
    assert part == ("objects_index_0_key", 'create index "objects_index_0_key" on "objects" (digest, subject)')
    assert whole == ("objects_index_1", 'create index "objects_index_1" on "objects" (digest, subject)')
    assert mixed == ("objects_index_2", 'create index "objects_index_2" on "objects" (digest, size)')
    assert down == ("objects_index_3", 'create index "objects_index_3" on "objects" (digest desc)')
