"""The columns that an engine describes, as the platform names them; or why it can't name them."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from events.language.common import shown
from events.language.pipelines.columns import MAX_COLUMNS, Column
from forgelog.pipelines.problems import StageError

_NAME_HINT = "give it another name with AS, of 1 to 255 visible characters"
_TYPE_HINT = "make it simpler, or leave the column out"


def described_column(name: str, type: str, *, nullable: bool = True, field: str = "") -> Column:
    """One column. Raises StageError of `field` for a name or a type that no column can have."""
    try:
        return Column(name=name, type=type, nullable=nullable)
    except ValidationError as error:
        if any(each["loc"] == ("name",) for each in error.errors()):
            raise StageError(field, f"has a column that is called {shown(name)}", _NAME_HINT) from None
        problem = f"column {shown(name)} has a type that is too long or not readable, {shown(type)}"
        raise StageError(field, problem, _TYPE_HINT) from None


def described_columns(rows: Iterable[tuple[str, str]], *, field: str = "") -> tuple[Column, ...]:
    """Columns of these names and types. Raises StageError of `field`."""
    return tuple(described_column(name, type, field=field) for name, type in rows)


def writable(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns, if a dataset can have so many. Raises StageError."""
    if len(columns) > MAX_COLUMNS:
        problem = f"the result has {len(columns)} columns, and a dataset has at most {MAX_COLUMNS}"
        raise StageError("sink", problem, "leave some out, or write them as rows")
    return columns
