"""The query of each relational transformation, in DuckDB's SQL.

The columns of what is read are known, so each query names all columns of its result: it says the same to every engine,
and to what finds where columns come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.language.base import Model
from events.language.pipelines.columns import Column
from events.language.pipelines.relational import (
    AggregateSettings,
    ComputedColumn,
    FilterSettings,
    FrameUnit,
    JoinSettings,
    JoinType,
    MapSettings,
    SortKey,
    SortSettings,
    WindowFrame,
    WindowSettings,
)
from forgelog.pipelines.engine.sql import different, expression, quoted, type_name
from forgelog.pipelines.problems import StageError

Schema = tuple[Column, ...]

_NO_RIGHT_COLUMNS = (JoinType.SEMI, JoinType.ANTI)


@dataclass(slots=True)
class Writer:
    """Writes queries, and keeps what their expressions read."""

    values: Mapping[str, Any]
    """The parameters' values."""
    reads: dict[str, None] = field(default_factory=dict)
    """Relations that queries within expressions read."""
    functions: set[str] = field(default_factory=set)

    def expression(self, text: str, place: str) -> str:
        """An expression in brackets, with the parameters' values."""
        bound = self._bound(text, place)
        return f"({bound}\n)" if "--" in bound else f"({bound})"

    def windowed(self, text: str, place: str) -> str:
        """A call of a function, to be followed by OVER."""
        if expression(text, place).root != "FUNCTION":
            raise StageError(place, f"{text!r} is no call of a function", "write one call, and compute with it later")
        bound = self._bound(text, place)
        return f"{bound}\n" if "--" in bound else f"{bound} "

    def _bound(self, text: str, place: str) -> str:
        found = expression(text, place)
        self.reads.update(dict.fromkeys(found.reads))
        self.functions.update(found.functions)
        return found.bound(self.values, place)


def check_texts(settings: Model, writer: Writer) -> None:
    """Reads the expressions and types of settings whose columns are not known yet. Raises StageError."""
    write = writer.windowed if isinstance(settings, WindowSettings) else writer.expression
    for nth, column in enumerate(getattr(settings, "columns", ())):
        write(column.expression, f"columns[{nth}].expression")
    for name in ("where", "on", "having", "keep"):
        text = getattr(settings, name, "")
        if isinstance(text, str) and text.strip():
            writer.expression(text, name)
    for name in ("by", "order_by"):
        order(getattr(settings, name, ()), name, writer)
    for nth, cast in enumerate(getattr(settings, "cast", ())):
        type_name(cast.type, f"cast[{nth}].type")


def map_query(settings: MapSettings, source: str, schema: Schema, writer: Writer) -> str:
    """See `MapSettings` for the order of its parts."""
    inner = quoted(source)
    if settings.cast:
        casts = {}
        for nth, cast in enumerate(settings.cast):
            place = f"cast[{nth}]"
            name = known(cast.name, schema, f"{place}.name")
            function = "TRY_CAST" if cast.lenient else "CAST"
            casts[name] = f"{function}({quoted(name)} AS {type_name(cast.type, f'{place}.type')})"
        listed = (f"{casts[c.name]} AS {quoted(c.name)}" if c.name in casts else quoted(c.name) for c in schema)
        inner = f"(SELECT {', '.join(listed)} FROM {inner}) AS {quoted(source)}"
    columns = with_computed(settings.columns, schema, lambda text, place: writer.expression(text, place))
    if settings.keep:
        kept = [known_name(name, columns, f"keep[{nth}]") for nth, name in enumerate(settings.keep)]
        columns = {name: columns[name] for name in kept}
    for nth, name in enumerate(settings.drop):
        del columns[known_name(name, columns, f"drop[{nth}]")]
    if not columns:
        raise StageError("drop", "names all columns", "leave one")
    names = {name: name for name in columns}
    for nth, rename in enumerate(settings.rename):
        names[known_name(rename.name, columns, f"rename[{nth}].name")] = rename.to
    different(names.values(), "rename")
    return f"SELECT {', '.join(f'{how} AS {quoted(names[name])}' for name, how in columns.items())} FROM {inner}"


def filter_query(settings: FilterSettings, source: str, schema: Schema, writer: Writer) -> str:
    return f"SELECT {listed(schema)} FROM {quoted(source)} WHERE {writer.expression(settings.where, 'where')}"


def join_query(settings: JoinSettings, source: str, schema: Schema, right: Schema, writer: Writer) -> str:
    """The left relation's columns, then those of the right one that are not in `using`."""
    one, other = quoted(source), quoted(settings.right)
    keys = [known(name, schema, f"using[{nth}]") for nth, name in enumerate(settings.using)]
    for nth, name in enumerate(settings.using):
        known(name, right, f"using[{nth}]")
    shared = {name.casefold() for name in keys}
    columns = [
        quoted(c.name) if c.name.casefold() in shared else f"{one}.{quoted(c.name)} AS {quoted(c.name)}" for c in schema
    ]
    if settings.type not in _NO_RIGHT_COLUMNS:
        taken = {column.name.casefold() for column in schema}
        names = [column.name for column in schema]
        for column in right:
            if column.name.casefold() in shared:
                continue
            name = column.name + settings.suffix if column.name.casefold() in taken else column.name
            names.append(name)
            columns.append(f"{other}.{quoted(column.name)} AS {quoted(name)}")
        different(names, "suffix")
    condition = ""
    if keys:
        condition = f" USING ({', '.join(quoted(name) for name in keys)})"
    elif settings.on.strip():
        condition = f" ON {writer.expression(settings.on, 'on')}"
    return f"SELECT {', '.join(columns)} FROM {one} {settings.type.upper()} JOIN {other}{condition}"


def aggregate_query(settings: AggregateSettings, source: str, schema: Schema, writer: Writer) -> str:
    groups = [quoted(known(name, schema, f"group_by[{nth}]")) for nth, name in enumerate(settings.group_by)]
    columns = list(groups)
    for nth, column in enumerate(settings.columns):
        columns.append(f"{writer.expression(column.expression, f'columns[{nth}].expression')} AS {quoted(column.name)}")
    text = f"SELECT {', '.join(columns)} FROM {quoted(source)} GROUP BY {', '.join(groups) or '()'}"
    return text + (f" HAVING {writer.expression(settings.having, 'having')}" if settings.having.strip() else "")


def window_query(settings: WindowSettings, source: str, schema: Schema, writer: Writer) -> str:
    parts = []
    if settings.partition_by:
        keys = (quoted(known(name, schema, f"partition_by[{nth}]")) for nth, name in enumerate(settings.partition_by))
        parts.append(f"PARTITION BY {', '.join(keys)}")
    if settings.order_by:
        parts.append(f"ORDER BY {order(settings.order_by, 'order_by', writer)}")
    if settings.frame is not None:
        parts.append(_frame(settings.frame))
    over = f"OVER ({' '.join(parts)})"
    columns = with_computed(settings.columns, schema, lambda text, place: f"{writer.windowed(text, place)}{over}")
    text = f"SELECT {', '.join(f'{how} AS {quoted(name)}' for name, how in columns.items())} FROM {quoted(source)}"
    if not settings.keep.strip():
        return text
    names = ", ".join(quoted(name) for name in columns)
    return f"SELECT {names} FROM ({text}) AS {quoted(source)} WHERE {writer.expression(settings.keep, 'keep')}"


def sort_query(settings: SortSettings, source: str, schema: Schema, writer: Writer) -> str:
    text = f"SELECT {listed(schema)} FROM {quoted(source)} ORDER BY {order(settings.by, 'by', writer)}"
    if settings.limit is not None:
        text += f" LIMIT {settings.limit}"
    return text + (f" OFFSET {settings.offset}" if settings.offset else "")


def order(keys: Sequence[SortKey], place: str, writer: Writer) -> str:
    """What follows ORDER BY."""
    said = []
    for nth, key in enumerate(keys):
        where = f"{place}[{nth}].expression"
        if expression(key.expression, where).root == "CONSTANT":
            raise StageError(where, f"{key.expression!r} is the same for all rows", "name a column")
        direction = "DESC" if key.descending else "ASC"
        said.append(f"{writer.expression(key.expression, where)} {direction} NULLS {key.nulls.upper()}")
    return ", ".join(said)


def with_computed(columns: Sequence[ComputedColumn], schema: Schema, write: Any) -> dict[str, str]:
    """All columns by name, each with its expression: computed ones in the places of those that they replace."""
    found = {column.name: quoted(column.name) for column in schema}
    folded = {name.casefold(): name for name in found}
    for nth, column in enumerate(columns):
        text = write(column.expression, f"columns[{nth}].expression")
        found[folded.get(column.name.casefold(), column.name)] = text
    return found


def listed(schema: Schema) -> str:
    """All columns, for a SELECT."""
    return ", ".join(quoted(column.name) for column in schema)


def known(name: str, schema: Schema, place: str) -> str:
    """A column's name as its relation spells it. Raises StageError if there is none."""
    return known_name(name, {column.name: "" for column in schema}, place)


def known_name(name: str, columns: Mapping[str, str], place: str) -> str:
    """As `known`, among these names."""
    if name in columns:
        return name
    for other in columns:
        if other.casefold() == name.casefold():
            return other
    raise StageError(place, f"there is no column {name!r}", f"columns are: {_some(columns)}")


def _frame(frame: WindowFrame) -> str:
    ends = []
    following = None if frame.to_end else frame.following
    for count, direction in ((frame.preceding, "PRECEDING"), (following, "FOLLOWING")):
        if count is None:
            ends.append(f"UNBOUNDED {direction}")
        else:
            ends.append(f"{count} {direction}" if count and frame.unit is FrameUnit.ROWS else "CURRENT ROW")
    return f"{frame.unit.upper()} BETWEEN {' AND '.join(ends)}"


def _some(names: Mapping[str, str]) -> str:
    shown = list(names)[:20]
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
