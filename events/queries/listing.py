"""Lists, as every context answers them: filters, an order, pages and their cursors.

A `Listing` is declared once, from the request's message: which of its fields is compared with which column, and in
which order the rows come. `Listing.query` makes of a request the SQL that it asks for. A field that the request leaves
empty adds no condition, so Postgres plans for those that are asked for. A cursor holds the keys of a page's last row:
the next page begins behind it by the order's index, and rows that come in between shift nothing.

`as_of` needs nothing here: `ReadModel.view` gives tables as of then, and the SQL is the same.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import grpc
import orjson
from blake3 import blake3
from google.protobuf.descriptor import FieldDescriptor

from events.language.proto_names import enum_prefix
from events.projections.tables import Db
from events.queries.queries import QueryError

MAX_PAGE = 10_000
DEFAULT_PAGE = 100

INT4 = range(-1, (1 << 31) - 1)
INT8 = range(-1, (1 << 63) - 1)
"""Whole numbers in a cursor: those that a Postgres ``int`` and ``bigint`` can be, behind which there is another."""

Kind = type[str] | type[datetime] | type[float] | range

Keys = Mapping[str, Kind]
"""Of a list's order: what a cursor holds, by name. The columns are never null."""

VALUE = "{value}"
"""In a condition: where its value stands."""

_BESIDE = frozenset({"options", "page"})
"""Fields of every list's request that are no filters, and may differ from page to page."""

_ASKED = "?"
"""In a cursor, beside its keys: the digest of what was asked."""


def page(request: Any, keys: Keys) -> tuple[int, dict[str, Any] | None]:
    """A list's request as its page's limit and the cursor's content, which has just these keys; None at the beginning.

    Raises QueryError on a bad one, also on a cursor that somebody else made, or that came of other filters."""
    limit = request.page.limit or DEFAULT_PAGE
    if not 0 < limit <= MAX_PAGE:
        raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"page.limit: is {limit}; ask for 1 to {MAX_PAGE} rows")
    if not request.page.cursor:
        return limit, None
    try:
        content = orjson.loads(base64.urlsafe_b64decode(request.page.cursor))
        if not isinstance(content, dict) or content.keys() != {*keys, _ASKED}:
            raise ValueError("other keys")
        after = {name: _key(content[name], kind) for name, kind in keys.items()}
    except (ValueError, OverflowError):
        raise QueryError(
            grpc.StatusCode.INVALID_ARGUMENT, "page.cursor: is not one that this list returned; start without a cursor"
        ) from None
    if content[_ASKED] != _asked(request):
        raise QueryError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "page.cursor: is of a list with other filters; ask for each page with the same, or start without a cursor",
        )
    return limit, after


def _key(value: Any, kind: Kind) -> Any:
    """One of a cursor's values. Raises ValueError or OverflowError."""
    if isinstance(kind, range):
        if type(value) is int and value in kind:
            return value
    elif type(value) is str and "\0" not in value:
        if kind is float:
            return float.fromhex(value)
        return value if kind is str else datetime.fromisoformat(value).astimezone(UTC)
    raise ValueError(f"{value!r} is no {kind}")


def next_cursor(row: Any, keys: Keys, request: Any) -> str:
    """An opaque cursor of what comes behind a row, in the order of the keys, for the same request."""
    content = {name: _said(row[name], kind) for name, kind in keys.items()}
    return base64.urlsafe_b64encode(orjson.dumps({**content, _ASKED: _asked(request)})).decode()


def _said(value: Any, kind: Kind) -> Any:
    """A key as JSON has it. (Numbers with a point as text: JSON knows neither infinity nor NaN.)"""
    if kind is datetime:
        return value.isoformat()
    return float(value).hex() if kind is float else value


def _asked(request: Any) -> str:
    """A digest of all that a request says beside `_BESIDE`."""
    rest = type(request)()
    rest.CopyFrom(request)
    for name in _BESIDE:
        rest.ClearField(name)
    return blake3(rest.SerializeToString(deterministic=True)).hexdigest(length=8)


class Condition(NamedTuple):
    """What must hold of a row, beside a list's filters: a condition, such as ``score > {0}::float8``, and the values
    that stand in it by number."""

    sql: str
    values: Sequence[Any]

    def put(self, arguments: list[Any]) -> str:
        """The condition with parameters; their values are added to `arguments`."""
        first = len(arguments) + 1
        arguments += self.values
        return self.sql.format(*(f"${first + number}" for number in range(len(self.values))))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list, and where it goes on."""

    rows: Sequence[Any]
    next_cursor: str
    """Empty on the last page."""


@dataclass(frozen=True, slots=True)
class Query:
    """What one request asks of a list, as SQL."""

    clauses: str
    """All behind the columns: ``from``, ``where``, ``order by`` and ``limit``. It yields one row more than the page
    has, if there is one: then there is a further page."""
    arguments: tuple[Any, ...]
    limit: int
    """Rows of a page."""
    order: Keys
    request: Any
    counted: str
    """The SQL that counts the rows of all pages, with the first of the arguments."""
    counting: int
    """How many arguments that takes."""

    @property
    def most(self) -> str:
        """The parameter that holds the number of rows that the clauses yield at most: `limit` and one."""
        return f"${len(self.arguments)}"

    async def fetch(self, db: Db, columns: str = "*") -> Page:
        """The page, of these columns. They must have those of the order."""
        return self.page(await db.fetch(f"select {columns} {self.clauses}", *self.arguments))

    def page(self, rows: Sequence[Any]) -> Page:
        """The page that these rows are, which the clauses yielded."""
        return Page(rows[: self.limit], self.behind(rows[self.limit - 1]) if len(rows) > self.limit else "")

    def behind(self, row: Any) -> str:
        """The cursor of what comes behind a row."""
        return next_cursor(row, self.order, self.request)

    async def count(self, db: Db) -> int:
        """How many rows all pages have. It looks at each of them, so ask for it only where somebody wants to know."""
        number: int = await db.fetchval(self.counted, *self.arguments[: self.counting])
        return number


class Listing:
    """One list that can be asked for. Immutable."""

    def __init__(
        self,
        request: Any,
        source: str,
        *,
        order: Keys,
        descending: bool = False,
        filters: Mapping[str, str] | None = None,
        where: str = "",
        own: Collection[str] = (),
    ) -> None:
        """`request`: the message class. It has a `page`; each of its other fields is in `filters` or in `own`.
        `source`: what is read: a table, or what may stand behind ``from``.
        `order`: columns that tell rows apart, with their types; all `descending` or none. They are of the row itself
        (its number among others changes when those come and go), and never null: use ``coalesce`` in the source.
        `filters`: field → the column that it is compared with. A repeated field admits any of its values, a map's
        entries must all be in the column (jsonb), an enum is its word. Or field → a condition with `VALUE` in it.
        `where`: a condition that always holds. It and `source` may have parameters ``$1``, ``$2`` ...: see `query`.
        `own`: fields that the caller acts on.

        Raises ValueError for a field that there is not, or that nothing acts on.
        """
        self._source = source
        self._where = [where] if where else []
        self._order = order
        self._descending = descending
        filters = filters or {}
        fields = acted_on(request, filters, own)
        self._filters = [Filter(fields[name], condition) for name, condition in filters.items()]

    def start(self, request: Any) -> Mapping[str, Any] | None:
        """The keys that the page comes behind; None at the list's beginning. Raises QueryError for a bad page."""
        return page(request, self._order)[1]

    def query(self, request: Any, *given: Any, more: Sequence[Condition] = ()) -> Query:
        """What a request asks for. `given` are ``$1``, ``$2`` ... of source and condition. `more` must hold, too: what
        the caller made of the request's `own` fields, such as a search expression.

        Raises QueryError that names the field: for a bad limit, a cursor that this list did not make, a number that is
        no value of an enum.
        """
        limit, after = page(request, self._order)
        arguments = [*given]
        conditions = [*self._where]
        for each in self._filters:
            if (value := each.value(request)) is not None:
                arguments.append(value)
                conditions.append(each.condition(value, len(arguments)))
        conditions += [condition.put(arguments) for condition in more]
        counted, counting = f"select count(*) from {self._source}{_where(conditions)}", len(arguments)
        if after is not None:
            first = len(arguments) + 1
            arguments += after.values()
            places = ", ".join(f"${first + n}::{_sql_type(kind)}" for n, kind in enumerate(self._order.values()))
            conditions.append(f"({', '.join(self._order)}) {'<' if self._descending else '>'} ({places})")
        arguments.append(limit + 1)
        by = ", ".join(f"{name} desc" if self._descending else name for name in self._order)
        clauses = f"from {self._source}{_where(conditions)} order by {by} limit ${len(arguments)}"
        return Query(clauses, tuple(arguments), limit, self._order, request, counted, counting)


def _where(conditions: Sequence[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


def acted_on(request: Any, filters: Collection[str], own: Collection[str]) -> dict[str, FieldDescriptor]:
    """The fields of a request's message, by name. Raises ValueError for one that there is not, or that nothing acts
    on."""
    fields = {field.name: field for field in request.DESCRIPTOR.fields}
    if stray := sorted({*filters, *own} - fields.keys()):
        raise ValueError(f"{request.DESCRIPTOR.name} has no field {stray[0]}; filter by one that it has")
    if forgotten := sorted(fields.keys() - {*filters} - {*own} - _BESIDE):
        raise ValueError(
            f"{request.DESCRIPTOR.name}.{forgotten[0]} changes nothing; add it to `filters`, or to `own` if the "
            "caller acts on it"
        )
    return fields


_TYPES = {
    FieldDescriptor.CPPTYPE_BOOL: "bool",
    FieldDescriptor.CPPTYPE_DOUBLE: "float8",
    FieldDescriptor.CPPTYPE_ENUM: "text",
    FieldDescriptor.CPPTYPE_INT32: "int",
    FieldDescriptor.CPPTYPE_INT64: "bigint",
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_UINT32: "bigint",
}


_SQL: Mapping[Any, str] = {datetime: "timestamptz", float: "float8", str: "text"}


def _sql_type(kind: Kind) -> str:
    if isinstance(kind, range):
        return "int" if kind.stop < 1 << 31 else "bigint"
    return _SQL[kind]


class Filter:
    """A request's field, and what a row must be to pass."""

    __slots__ = ("_column", "_condition", "_field", "_map", "_sql", "_time", "_words")

    def __init__(self, field: FieldDescriptor, condition: str) -> None:
        self._field = field
        self._column = "" if VALUE in condition else condition
        self._condition = condition
        self._words = _words(field.enum_type) if field.enum_type is not None else {}
        message = field.message_type
        self._map = message is not None and bool(message.GetOptions().map_entry)
        self._time = message is not None and message.full_name == "google.protobuf.Timestamp"
        if self._map:
            self._sql = "jsonb"
        elif self._time:
            self._sql = "timestamptz"
        elif field.cpp_type in _TYPES:
            self._sql = _TYPES[field.cpp_type]
        else:
            raise ValueError(f"{field.full_name} is no field to filter by; take a text, a number, an enum or a time")

    def value(self, request: Any) -> Any:
        """What the request says, as Postgres takes it; None if it leaves the field empty."""
        field = self._field
        if field.has_presence and not request.HasField(field.name):
            return None
        value = getattr(request, field.name)
        if self._time:
            return value.ToDatetime(tzinfo=UTC)
        if self._map:
            return dict(value) or None
        if field.is_repeated:
            if field.enum_type is None:
                return list(value) or None
            return [word for number in value if (word := self._word(number))] or None
        if field.enum_type is not None:
            value = self._word(value)
        return value if value or field.has_presence else None

    def condition(self, value: Any, number: int) -> str:
        """What must hold of a row; `value` is the parameter of this number."""
        parameter = f"${number}::{self._sql}"
        if not self._column:
            several = self._field.is_repeated and not self._map
            return self._condition.replace(VALUE, f"{parameter}[]" if several else parameter)
        if self._map:
            return f"{self._column} @> {parameter}"
        if not self._field.is_repeated:
            return f"{self._column} = {parameter}"
        if len(value) > 1:
            return f"{self._column} = any({parameter}[])"
        # Of one value, an index that has the list's order behind the column is read in that order, without a sort.
        return f"{self._column} = ({parameter}[])[1]"

    def _word(self, number: int) -> str:
        """An enum's word; empty for the unspecified value."""
        if number and number not in self._words:
            enum: Any = self._field.enum_type
            raise QueryError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{self._field.name}: {number} is no {enum.name}; take one of {', '.join(self._words.values())}",
            )
        return self._words.get(number, "")


def _words(enum: Any) -> dict[int, str]:
    """An enum's words by number, without the unspecified one."""
    prefix = enum_prefix(enum.name)
    return {each.number: each.name.removeprefix(prefix).lower() for each in enum.values if each.number}
