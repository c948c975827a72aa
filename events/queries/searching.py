"""Searches: lists with a filter and an order of the asker's own (`events.queries.expressions`), as SQL.

A `Search` is declared once, as a `Listing` is, with the words that its expressions may use: attributes, which are
columns of the row, and values by key, which stand in a table of their own or in a column. What is compared with what,
and each value's type, is checked here, so that every door gives the same refusals.

A page goes on behind the last row of the one before, also in an order by what some rows don't have: those come last, in
either direction, and numbers that are NaN just before them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import grpc

from events.projections.tables import Db
from events.queries.expressions import (
    Comparison,
    Expression,
    ExpressionError,
    Group,
    Order,
    parse_filter,
    parse_order,
)
from events.queries.listing import INT4, INT8, Condition, Filter, Kind, Page, acted_on, next_cursor, page
from events.queries.queries import QueryError
from events.queries.words import Attribute, Entries, Related, Type, Values, Words

_TEXTS = ("=", "!=", "like", "ilike", "in", "not in")
_NUMBERS = ("=", "!=", "<", "<=", ">", ">=")
_NULLS = ("is null", "is not null")

_KINDS: Mapping[Type, tuple[str, Kind, str]] = {
    "text": ("text", str, "''"),
    "word": ("text", str, "''"),
    "number": ("bigint", INT8, "0"),
    "float": ("float8", float, "0"),
    "time": ("timestamptz", datetime, "'epoch'::timestamptz"),
}
"""Of a type: Postgres's, what a cursor holds, and what stands there for a row that has no value."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""What Python and Postgres both know: the years 1 to 9999."""

MAX_ORDERS = 20
"""Most clauses of an order."""


class _Sql:
    """A condition's values, by number."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def put(self, value: Any) -> str:
        self.values.append(value)
        return f"{{{len(self.values) - 1}}}"


def condition(expression: Expression, words: Words, table: str) -> Condition:
    """What must hold of a row of `table`. Raises ExpressionError."""
    sql = _Sql()
    return Condition(_condition(expression, words, table, sql), sql.values)


def _condition(expression: Expression, words: Words, table: str, sql: _Sql) -> str:
    if isinstance(expression, Group):
        parts = [_condition(part, words, table, sql) for part in expression.parts]
        return f"({f' {expression.word} '.join(parts)})"
    found = words.find(expression.name)
    if isinstance(found, Attribute):
        return _tested(expression, found.sql, found.type, found.nullable, sql)
    if isinstance(found, Related):
        return _of_related(expression, found, table, sql)
    key = sql.put(expression.name.key)
    if isinstance(found, Entries):
        return _tested(expression, f"({found.column} ->> {key}::text)", "text", True, sql)
    if expression.operator in _NULLS:
        there = found.test(table, key, "")
        return there if expression.operator == "is not null" else f"not {there}"
    value, sought = f"v.{found.value}", expression.value
    if not (found.indexed and expression.operator == "=" and isinstance(sought, str)):
        return found.test(table, key, _tested(expression, value, found.type, False, sql))
    test = f"left({value}, {found.indexed}) = {sql.put(sought[: found.indexed])}::text"
    if len(sought) >= found.indexed:  # of a shorter one that says all, and the planner would count it twice
        test += f" and {_tested(expression, value, found.type, False, sql)}"
    return found.test(table, key, test)


def _of_related(comparison: Comparison, related: Related, table: str, sql: _Sql) -> str:
    """A comparison that is to hold of one of several things."""
    what = related.find(comparison.name)
    if isinstance(what, Attribute):
        column, there = what.sql, f"{what.sql} <> ''"
    else:
        entries, key = what
        column = f"({entries.column} ->> {sql.put(key)}::text)"
        there = f"{column} is not null"
    if comparison.operator in _NULLS:
        test = related.test(table, there)
        return test if comparison.operator == "is not null" else f"not {test}"
    return related.test(table, _tested(comparison, column, "text", False, sql))


def _tested(comparison: Comparison, column: str, type: Type, nullable: bool, sql: _Sql) -> str:
    """A comparison with a column, or what is computed."""
    operator = comparison.operator
    if operator in _NULLS:
        return f"{column} {operator}" if nullable else ("true" if operator == "is not null" else "false")
    if type in ("text", "word"):
        return _text(comparison, column, type, sql)
    if operator not in _NUMBERS:
        _wrong(comparison, f"it is a {'time' if type == 'time' else 'number'}: compare it with {', '.join(_NUMBERS)}")
    if type == "time":
        return _time(comparison, column, sql)
    value = comparison.value
    if isinstance(value, str):
        _wrong(comparison, f"it is a number, and {value[:40]!r} a text; give a number without quotes")
    test = f"{column} {'<>' if operator == '!=' else operator} {sql.put(float(value))}::float8"  # type: ignore[arg-type]
    # Postgres takes NaN for larger than all numbers.
    return f"{test} and {column} <> 'NaN'" if type == "float" and operator in (">", ">=") else test


def _text(comparison: Comparison, column: str, type: Type, sql: _Sql) -> str:
    operator, value = comparison.operator, comparison.value
    if operator not in _TEXTS:
        _wrong(comparison, f"it is a text: compare it with {', '.join(_TEXTS)}")
    if isinstance(value, int | float):
        _wrong(comparison, f"it is a text, and {value} a number; put it in quotes: '{value}'")
    if isinstance(value, tuple):
        texts = [each.lower() for each in value] if type == "word" else list(value)
        return f"{column} {'<> all' if operator == 'not in' else '= any'}({sql.put(texts)}::text[])"
    assert isinstance(value, str)
    given = sql.put(value.lower() if type == "word" else value)
    if operator in ("like", "ilike"):
        # Without an escape: in MLflow a backslash is a character as any other, also at a pattern's end.
        return f"{column} {operator} {given}::text escape ''"
    return f"{column} {'<>' if operator == '!=' else operator} {given}::text"


def _time(comparison: Comparison, column: str, sql: _Sql) -> str:
    """A column with a time. Of a number it counts in whole milliseconds, as MLflow's clients see times."""
    operator, value = comparison.operator, comparison.value
    if isinstance(value, str):
        try:
            given = datetime.fromisoformat(value)
            if given.tzinfo is None:
                raise ValueError
            moment = sql.put(given.astimezone(UTC))
        except (ValueError, OverflowError):
            _wrong(comparison, f"{value[:40]!r} is no time; give milliseconds, or as '2026-05-09T03:12:00Z'")
        return f"{column} {'<>' if operator == '!=' else operator} {moment}::timestamptz"
    assert isinstance(value, int | float)
    whole = isinstance(value, int) or (math.isfinite(value) and value.is_integer())
    if not whole and operator in ("=", "!="):
        return "false" if operator == "=" else f"{column} is not null"
    least, above = _moment(value, math.ceil), _moment(value, lambda number: math.floor(number) + 1)
    if operator in ("=", "!="):
        begin, end = sql.put(least), sql.put(above)
        inside = f"({column} >= {begin}::timestamptz and {column} < {end}::timestamptz)"
        return inside if operator == "=" else f"not {inside}"
    sign, bound = {"<": ("<", least), "<=": ("<", above), ">": (">=", above), ">=": (">=", least)}[operator]
    return f"{column} {sign} {sql.put(bound)}::timestamptz"


def _moment(value: float, whole: Any) -> datetime:
    """The time of so many milliseconds, made a whole number by `whole`; the nearest that there is."""
    bounded = min(max(value, _FIRST_MS), _LAST_MS - 1)
    return _EPOCH + timedelta(milliseconds=whole(bounded))


def _wrong(comparison: Comparison, problem: str) -> NoReturn:
    name = f"{comparison.name.kind}.{comparison.name.key}" if comparison.name.kind else comparison.name.key
    raise ExpressionError(comparison.at, f"{name[:80]}: {problem}")


@dataclass(frozen=True, slots=True)
class _Term:
    """One of the values that rows are ordered by. It is never null."""

    sql: str
    kind: Kind
    cast: str
    descending: bool


class Search:
    """One list that can be searched. Immutable."""

    def __init__(
        self,
        request: Any,
        table: str,
        words: Words,
        *,
        order: Sequence[Order],
        filters: Mapping[str, str] | None = None,
        where: str = "",
        own: Collection[str] = (),
        rows: str = "",
    ) -> None:
        """`request`: the message class. It has `filter`, `order_by` and `page`; each of its other fields is in
        `filters` (see `Listing`) or in `own`. `order`: what rows are ordered by last, which tells them apart.
        `rows`: the query that gives the rows, if they are not a table's own; they are called `table` in SQL.
        """
        filters = filters or {}
        fields = acted_on(request, filters, {*own, "filter", "order_by"})
        self._filters = [Filter(fields[name], condition) for name, condition in filters.items()]
        self._table = table
        self._rows = f"({rows}) {table}" if rows else table
        self._words = words
        self._order = tuple(order)
        self._where = [where] if where else []

    async def fetch(self, db: Db, request: Any) -> Page:
        """A page. Raises QueryError that names the field, and the place in it.

        1. In an order by numbers that have an index, a full page of rows that have such a number is read along it.
        2. Else, and where there are not as many, all rows are put in order.
        """
        if self._along(request) and (found := await self._page(db, request, along=True)) is not None:
            return found
        found = await self._page(db, request)
        assert found is not None, "only a page along an index may be none"
        return found

    async def _page(self, db: Db, request: Any, *, along: bool = False) -> Page | None:
        """`along`: of rows that have the number that they are ordered by first, in the order of its index. None if they
        fill no page."""
        arguments: list[Any] = []
        joins, terms = self._terms(request, arguments, along)
        keys = {f"o{number}": term.kind for number, term in enumerate(terms)}
        limit, after = page(request, keys)
        conditions = [*self._where, *self._conditions(request, arguments)]
        ordered, values = terms, None if after is None else list(after.values())
        if along:  # the first term says that there is a number
            ordered, number = terms[1:], terms[1]
            conditions.append(f"{number.sql} < 'NaN'::float8")
            if values is not None:
                if values.pop(0):
                    return None
                arguments.append(values[0])
                conditions.append(f"{number.sql} {'<' if number.descending else '>'}= ${len(arguments)}::float8")
        if values is not None:
            conditions.append(_behind(ordered, values, arguments))
        shown = "".join(f", {term.sql} as o{number}" for number, term in enumerate(terms))
        by = ", ".join(f"{term.sql} desc" if term.descending else term.sql for term in ordered)
        where = f" where {' and '.join(conditions)}" if conditions else ""
        arguments.append(limit + 1)
        # Planned each time, for what is sought decides the plan: a status of all rows, or a text of one.
        search = await db.prepare(
            f"select {self._table}.*{shown} from {self._rows}{joins}{where} order by {by} limit ${len(arguments)}"
        )
        rows = await search.fetch(*arguments)
        if along and len(rows) <= limit:
            return None
        return Page(rows[:limit], next_cursor(rows[limit - 1], keys, request) if len(rows) > limit else "")

    def _along(self, request: Any) -> bool:
        """Whether the first that rows are ordered by is a number that has an index."""
        try:
            found = self._words.find(parse_order(request.order_by[0]).name) if request.order_by else None
        except ExpressionError:
            return False  # it is told where the page is made
        return isinstance(found, Values) and found.in_order

    def cursor(self, row: Any, request: Any) -> str:
        """The cursor of what comes behind a row of a page."""
        terms = self._terms(request, [])[1]
        return next_cursor(row, {f"o{number}": term.kind for number, term in enumerate(terms)}, request)

    def _conditions(self, request: Any, arguments: list[Any]) -> Iterator[str]:
        for each in self._filters:
            if (value := each.value(request)) is not None:
                arguments.append(value)
                yield each.condition(value, len(arguments))
        if (more := filter_condition(request.filter, self._words, self._table)) is not None:
            yield more.put(arguments)

    def _terms(self, request: Any, arguments: list[Any], along: bool = False) -> tuple[str, list[_Term]]:
        """The joins that the order needs, and what it consists of. `along`: see `_page`."""
        joins, terms = "", []
        if len(request.order_by) > MAX_ORDERS:
            problem = f"order_by: there are {len(request.order_by)} clauses; at most {MAX_ORDERS} are taken"
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, problem)
        for number, text in enumerate(request.order_by):
            try:
                order = parse_order(text)
                found = self._words.find(order.name)
                if isinstance(found, Related):
                    problem = f"there may be several {order.name.kind}s; order by something else"
                    raise ExpressionError(order.name.at, problem)
            except ExpressionError as error:
                raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"order_by[{number}]: {error}") from None
            if isinstance(found, Values):
                arguments.append(order.name.key)
                walked = along and number == 0
                joins += found.join(self._table, f"${len(arguments)}", f"j{number}", "join" if walked else "left join")
                if walked:
                    terms += [_Term("0", INT4, "int", False), _Term("j0.value", float, "float8", order.descending)]
                    continue
                found = Attribute(f"j{number}.value", found.type, nullable=True)
            elif isinstance(found, Entries):
                arguments.append(order.name.key)
                found = Attribute(f"({found.column} ->> ${len(arguments)}::text)", nullable=True)
            terms += _ordered(found, order.descending)
        for order in self._order:
            attribute = self._words.find(order.name)
            assert isinstance(attribute, Attribute)
            assert not attribute.nullable
            terms += _ordered(attribute, order.descending)
        return joins, terms


def filter_condition(text: str, words: Words, table: str) -> Condition | None:
    """What a request's field `filter` asks for; None if it is empty. Raises QueryError."""
    try:
        expression = parse_filter(text)
        return None if expression is None else condition(expression, words, table)
    except ExpressionError as error:
        raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"filter: {error}") from None


def _ordered(attribute: Attribute, descending: bool) -> list[_Term]:
    cast, kind, empty = _KINDS[attribute.type]
    value = attribute.sql
    if not attribute.nullable:
        return [_Term(value, kind, cast, descending)]
    rank = f"case when {value} is null then 1 else 0 end"
    if attribute.type == "float":
        rank = f"case when {value} is null then 2 when {value} = 'NaN' then 1 else 0 end"
        value = f"nullif({value}, 'NaN')"
    return [_Term(rank, INT4, "int", False), _Term(f"coalesce({value}, {empty})", kind, cast, descending)]


def _behind(terms: Sequence[_Term], values: Sequence[Any], arguments: list[Any]) -> str:
    """The condition on rows that come behind the one with these values."""
    first, *more = terms
    if all(term.descending == first.descending for term in more):
        # As rows: an index in that order is then read from there on.
        places = []
        for term, value in zip(terms, values, strict=True):
            arguments.append(value)
            places.append(f"${len(arguments)}::{term.cast}")
        sign = "<" if first.descending else ">"
        return f"({', '.join(term.sql for term in terms)}) {sign} ({', '.join(places)})"
    arguments.append(values[0])
    place = f"${len(arguments)}::{first.cast}"
    beyond = f"{first.sql} {'<' if first.descending else '>'} {place}"
    return f"({beyond} or ({first.sql} = {place} and {_behind(more, values[1:], arguments)}))"
