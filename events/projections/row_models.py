"""A table from the model of its rows: the columns, and the row that a fold begins with.

The model is written once, as a pydantic class: its annotations give the columns, its defaults the first row. It is
never instantiated: rows stay dicts, since a fold makes and copies many of them. A model that stands in the context's
language gives the protobuf message of the same fields too, so a row becomes an answer by `to_message` alone.

    class Announcement(Model):
        announcement_id: Identifier
        text: str
        severity: Severity = Severity.INFO
        posted_at: Timestamp
        withdrawn_at: Timestamp | None = None

    ANNOUNCEMENTS = table_of(Announcement, "announcements", key=("announcement_id",))
    ANNOUNCEMENTS.first(announcement_id="a1", text="...", posted_at=time)   # severity 'info', withdrawn_at None
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Le, Lt
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from events.projections.projection import Row, Table

INT4_MAX = (1 << 31) - 1


class Int4:
    """``Annotated[int, Int4]``: a column of 4 bytes for a number whose type has no such bound."""


_WITH_PARTS = (BaseModel, Mapping, Sequence, Set)

_PLAIN: Mapping[type, str] = {bool: "bool", float: "float8", bytes: "bytea", datetime: "timestamptz"}


def table_of(
    model: type[BaseModel],
    name: str,
    *,
    key: tuple[str, ...],
    indexes: tuple[str, ...] = (),
    rendered: Mapping[str, Callable[[Row], bytes]] | None = None,
    born: str = "",
) -> Table:
    """The table of such rows; the other arguments are those of `Table`.

    Texts and enums (as their words) are ``text``, whole numbers ``int`` if their upper bound fits and else ``bigint``,
    times ``timestamptz``; what has parts (lists, maps, models), or may be of several types, is ``jsonb``. Raises
    ValueError for a key or `born` that is no field, and for a field whose type has no column.
    """
    columns = {}
    for field, info in model.model_fields.items():
        try:
            columns[field] = column_type(info)
        except ValueError as error:
            raise ValueError(f"table {name}: {model.__name__}.{field} is {error}") from None
    for part in (*key, *filter(None, (born,))):
        if part not in columns:
            raise ValueError(f"table {name}: {model.__name__} has no field {part}; name one that it has")
    defaults = {
        field: _plain(info.get_default(call_default_factory=True, validated_data={}))
        for field, info in model.model_fields.items()
        if not info.is_required()
    }
    return Table(name, key, columns, indexes, dict(rendered or {}), born, defaults)


def column_type(info: FieldInfo) -> str:
    """The Postgres type of a field's column. Raises ValueError for a type that has none."""
    kinds, marks = _kinds(info.annotation, tuple(info.metadata))
    if len(kinds) != 1:
        return "jsonb"
    (kind,) = kinds
    if kind is AwareDatetime:
        return "timestamptz"
    if not isinstance(kind, type):
        return "jsonb"
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind is int:
        tops: list[Any] = [mark.le if isinstance(mark, Le) else mark.lt for mark in marks if isinstance(mark, Le | Lt)]
        return "int" if Int4 in marks or (tops and min(tops) <= INT4_MAX) else "bigint"
    if issubclass(kind, str):
        return "text"
    if kind is object or issubclass(kind, _WITH_PARTS):
        return "jsonb"
    # As JSON it would be a text: a fold would find now what was put, and now its text.
    raise ValueError(f"a {kind.__name__}; use a text, a number, a bool, bytes, a time, an enum of words or a model")


def _kinds(annotation: Any, marks: tuple[Any, ...]) -> tuple[set[Any], tuple[Any, ...]]:
    """The types that a value may have, None left out, and all that `Annotated` says of them."""
    # A name for another type: of `NewType`, or of `type` (and what has its form before Python 3.12).
    named = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    if named is not None and not isinstance(annotation, type):
        return _kinds(named, marks)
    origin = get_origin(annotation)
    if origin is Literal:
        return {type(word) for word in get_args(annotation) if word is not None}, marks
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _kinds(inner, (*marks, *_flat(more)))
    if origin in (Union, types.UnionType):
        parts = [_kinds(each, ()) for each in get_args(annotation) if each is not type(None)]
        return {kind for kinds, _ in parts for kind in kinds}, (*marks, *(m for _, found in parts for m in found))
    return {origin or annotation}, marks


def _flat(more: list[Any]) -> Iterator[Any]:
    for each in more:
        yield from each.metadata if isinstance(each, FieldInfo) else (each,)


def _plain(default: Any) -> Any:
    """A default as a row has it. (All rows share it: a fold copies what it changes.)"""
    return default if isinstance(default, datetime | bytes) else to_jsonable_python(default)
