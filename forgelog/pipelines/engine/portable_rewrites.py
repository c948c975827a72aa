"""How single expressions of DuckDB are written for Spark where it would compute them in another way.

Each function here gets a node of sqlglot and the field of the query, and gives the node, or what takes its place, or
raises StageError. What types nodes have is known for columns, literals, casts and arithmetic; else they are None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from forgelog.pipelines.problems import StageError

REMEDY = "run the stage on the engine duckdb, or write custom.spark"


def refused(field: str, what: str, why: str) -> StageError:
    """Why a query can't run on Spark."""
    return StageError(field, f"{what} is not portable to Spark: {why}", REMEDY)


@cache
def rewritten_kinds() -> dict[type, Callable[[Any, str], Any]]:
    """What needs a look: the same under some condition, or written in another way."""
    from sqlglot import exp

    return {
        exp.Star: _star,
        exp.WindowSpec: _frame,
        exp.In: _member,
        exp.Group: _groups,
        exp.Literal: _literal,
        exp.Div: _division,
        exp.IntDiv: _integers,
        exp.Mod: _integers,
        exp.Sub: _subtraction,
        exp.Avg: _average,
        exp.Cast: _cast,
        exp.DayOfWeek: _day_of_week,
        exp.Extract: _extract,
        exp.TimestampTrunc: _truncated,
        exp.DateTrunc: _truncated,
        exp.Like: _like,
        exp.Escape: _escape,
        exp.Substring: _substring,
        exp.Trim: _trim,
        exp.Round: _exact_only,
        exp.Floor: _exact_only,
        exp.Ceil: _exact_only,
        exp.Abs: _abs,
        exp.Concat: _concat,
    }


def _star(node: Any, field: str) -> Any:
    from sqlglot import exp

    if isinstance(node.parent, exp.Count):
        return node
    raise refused(field, "*", "its columns are not known")


def _frame(node: Any, field: str) -> Any:
    if str(node.args.get("kind") or "").upper() == "GROUPS":
        raise refused(field, "a window's frame of GROUPS", "Spark has none")
    return node


def _member(node: Any, field: str) -> Any:
    """As a value, Spark's ``x IN (SELECT ...)`` is false where it is to be null. As a condition that is the same, if it
    is not negated within another one."""
    from sqlglot import exp

    if node.args.get("query") is None:
        return node
    above: Any = node.parent
    passing: tuple[type, ...] = (exp.And, exp.Or, exp.Paren)
    if isinstance(above, exp.Not):
        above = above.parent
        passing = (exp.And, exp.Paren)
    while type(above) in passing:
        above = above.parent
    if isinstance(above, exp.Where | exp.Having):
        return node
    raise refused(field, node.sql("duckdb")[:60], "Spark gives false in place of null; ask it in WHERE, or by a join")


def _groups(node: Any, _field: str) -> Any:
    """``GROUP BY ()``: all rows are one group."""
    from sqlglot import exp

    if (
        len(node.expressions) == 1
        and isinstance(node.expressions[0], exp.Tuple)
        and not node.expressions[0].expressions
    ):
        return exp.Group(grouping_sets=[exp.GroupingSets(expressions=[exp.Tuple()])])
    return node


def _literal(node: Any, _field: str) -> Any:
    if not node.is_string and "e" in node.name.lower():
        return _double(node)
    return node


def _double(node: Any) -> Any:
    from sqlglot import exp

    return exp.Cast(this=node.copy(), to=exp.DataType.build("DOUBLE"))


def _division(node: Any, _field: str) -> Any:
    """DuckDB divides as DOUBLE, by IEEE 754: by zero gives an infinity or NaN, where Spark fails."""
    from sqlglot import parse_one

    template = parse_one(
        "CASE WHEN b = CAST(0 AS DOUBLE) THEN a * (CASE WHEN ATAN2(b, CAST(-1 AS DOUBLE)) < CAST(0 AS DOUBLE) "
        "THEN CAST('-Infinity' AS DOUBLE) ELSE CAST('Infinity' AS DOUBLE) END) ELSE a / b END",
        dialect="spark",
    )
    parts = {"a": _double(node.this), "b": _double(node.expression)}
    return _as_double(_filled(template, parts))


def _filled(template: Any, parts: Mapping[str, Any]) -> Any:
    from sqlglot import exp

    def fill(node: Any) -> Any:
        return parts[node.name].copy() if isinstance(node, exp.Column) and node.name in parts else node

    return exp.Paren(this=template.transform(fill))


def _integers(node: Any, field: str) -> Any:
    if _all_typed(node, _integer_types()):
        return node
    raise refused(field, node.sql("duckdb"), "of numbers that are no integers")


def _subtraction(node: Any, field: str) -> Any:
    from sqlglot import exp

    left, right = _kind(node.this), _kind(node.expression)
    if left is exp.DataType.Type.DATE and right is exp.DataType.Type.DATE:
        # DuckDB gives a number of days, Spark an interval.
        days = exp.Anonymous(this="DATEDIFF", expressions=[node.this.copy(), node.expression.copy()])
        days.type = exp.DataType.build("BIGINT")
        return days
    times = (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ, exp.DataType.Type.DATE)
    if left in times and right in times:
        raise refused(field, node.sql("duckdb"), "intervals are not the same there")
    if exp.DataType.Type.UNKNOWN in (left, right) or None in (left, right):
        raise refused(field, node.sql("duckdb"), "the types are not known; cast both sides")
    return node


def _average(node: Any, _field: str) -> Any:
    """DuckDB averages as DOUBLE, and adds up decimals exactly before it divides; Spark rounds averages of decimals.
    What is no DOUBLE already waits for `exact_averages`."""
    from sqlglot import exp

    if _kind(node.this) not in (exp.DataType.Type.DOUBLE, exp.DataType.Type.FLOAT):
        node.meta[_EXACT] = True
        return _as_double(node)
    return _as_double(exp.Avg(this=_double(node.this)))


_EXACT = "forgelog exact"


def exact_averages(tree: Any) -> Any:
    """A tree whose other nodes are written for Spark, with averages of decimals and integers as sums that are divided.
    A sum that is too large for its type is added up as DOUBLE."""
    from sqlglot import exp, parse_one

    template = parse_one("COALESCE(CAST(a AS DOUBLE), b) / CAST(NULLIF(c, 0) AS DOUBLE)", dialect="spark")
    for node in reversed(list(tree.walk(bfs=False))):
        if not isinstance(node, exp.Avg) or not node.meta.get(_EXACT):
            continue
        whole: Any = node
        while isinstance(whole.parent, exp.Filter | exp.Window) and whole.parent.this is whole:
            whole = whole.parent
        values = node.this.expressions if isinstance(node.this, exp.Distinct) else [node.this]
        wide: Any = [_double(each) for each in values]
        wide = exp.Distinct(expressions=wide) if isinstance(node.this, exp.Distinct) else wide[0]
        parts = {}
        for name, made in {
            "a": exp.Anonymous(this="TRY_SUM", expressions=[node.this.copy()]),
            "b": exp.Sum(this=wide),
            "c": exp.Count(this=node.this.copy(), big_int=True),
        }.items():
            parts[name] = _in_place_of(node, whole, made)
        replacement = _filled(template, parts)
        if whole is tree:
            tree = replacement
        else:
            whole.replace(replacement)
    return tree


def _in_place_of(node: Any, whole: Any, other: Any) -> Any:
    """A copy of `whole`, which is `node` or what is around it, with another node in place of that."""
    if whole is node:
        return other
    around = whole.copy()
    inner = around
    while not inner.meta.get(_EXACT):
        inner = inner.this
    inner.replace(other)
    return around


def _as_double(node: Any) -> Any:
    from sqlglot import exp

    node.type = exp.DataType.build("DOUBLE")
    return node


def _cast(node: Any, field: str) -> Any:
    """To integers DuckDB rounds, half to even for DOUBLE and half away from zero for decimals; Spark cuts."""
    from sqlglot import exp

    kind, to = _kind(node.this), _kind(node.to)
    if isinstance(node.this, exp.Literal) and node.this.is_string:
        if to in (exp.DataType.Type.DATE, *_text_types()):
            return node
        if to in _time_types():
            return exp.Cast(this=node.this.copy(), to=exp.DataType.build("TIMESTAMP_NTZ", dialect="spark"))
    if kind in _integer_types() and to in _number_types():
        return node
    if to is exp.DataType.Type.DOUBLE and kind in _number_types():
        return node
    if kind in _exact_types() and to is exp.DataType.Type.DECIMAL:
        return node
    if to in _integer_types() and kind is exp.DataType.Type.DOUBLE:
        return exp.Cast(this=exp.Anonymous(this="RINT", expressions=[node.this.copy()]), to=node.to.copy())
    if to in _integer_types() and kind is exp.DataType.Type.DECIMAL:
        return exp.Cast(this=exp.Anonymous(this="ROUND", expressions=[node.this.copy()]), to=node.to.copy())
    if to in _text_types() and kind in (*_integer_types(), *_text_types(), exp.DataType.Type.DATE):
        return node
    if kind in (exp.DataType.Type.DATE, *_time_types()) and to in (exp.DataType.Type.DATE, *_time_types()):
        return node
    if kind is exp.DataType.Type.BOOLEAN and to in _integer_types():
        return node
    raise refused(field, node.sql("duckdb"), "the engines convert such values in different ways")


def _day_of_week(node: Any, _field: str) -> Any:
    """Sunday is 0 in DuckDB and 1 in Spark."""
    from sqlglot import exp

    call = exp.Anonymous(this="DAYOFWEEK", expressions=[node.this.copy()])
    return exp.Paren(this=exp.Sub(this=call, expression=exp.Literal.number(1)))


def _extract(node: Any, field: str) -> Any:
    part = node.name.upper()
    if part in ("YEAR", "MONTH", "DAY", "QUARTER", "HOUR", "MINUTE", "WEEK"):
        return node
    if part in ("DOW", "DAYOFWEEK"):
        from sqlglot import exp

        return _day_of_week(exp.DayOfWeek(this=node.expression), field)
    raise refused(field, f"extract({part.lower()})", "it is not known to give the same there")


def _truncated(node: Any, field: str) -> Any:
    unit = node.unit.name.upper() if node.unit else ""
    if unit.startswith("WEEK") or unit in ("YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE"):
        from sqlglot import exp

        word = exp.Literal.string("WEEK" if unit.startswith("WEEK") else unit)
        return exp.Anonymous(this="DATE_TRUNC", expressions=[word, node.this.copy()])
    raise refused(field, f"date_trunc({unit.lower()!r})", "it is not known to give the same there")


def _like(node: Any, field: str) -> Any:
    pattern = node.expression
    if not (pattern.is_string and "\\" not in pattern.name):
        raise refused(field, node.sql("duckdb"), "a backslash in the pattern escapes there; give a text without one")
    return node


def _escape(node: Any, field: str) -> Any:
    raise refused(field, node.sql("duckdb"), "escapes in patterns are not the same there")


def _substring(node: Any, field: str) -> Any:
    from sqlglot import exp

    start, length = node.args.get("start"), node.args.get("length")
    numbers = [part for part in (start, length) if part is not None]
    if (
        start is not None
        and all(isinstance(part, exp.Literal) and part.is_int for part in numbers)
        and start.name != "0"
    ):
        return node
    raise refused(field, node.sql("duckdb"), "give a start of 1 or more, and a length, as numbers")


def _trim(node: Any, field: str) -> Any:
    if node.expression is None:
        return node
    raise refused(field, node.sql("duckdb"), "of other characters than blanks")


def _exact_only(node: Any, field: str) -> Any:
    from sqlglot import exp

    if _kind(node.this) in _exact_types() and not node.args.get("decimals"):
        return exp.Anonymous(this=type(node).__name__.upper(), expressions=[node.this.copy()])
    raise refused(field, node.sql("duckdb"), "of DOUBLE, or to digits; cast to a decimal of the digits wanted")


def _abs(node: Any, field: str) -> Any:
    if _kind(node.this) in _number_types():
        return node
    raise refused(field, node.sql("duckdb"), "the type is not known; cast it")


def _concat(node: Any, field: str) -> Any:
    """DuckDB leaves nulls out; with a null Spark gives null."""
    from sqlglot import exp

    parts = []
    for each in node.expressions:
        if _kind(each) not in _text_types():
            raise refused(field, node.sql("duckdb"), "of other types than text; cast each")
        parts.append(each.copy())
    return exp.Anonymous(this="CONCAT_WS", expressions=[exp.Literal.string(""), *parts])


def _kind(node: Any) -> Any:
    kind = node if not hasattr(node, "type") or type(node).__name__ == "DataType" else node.type
    return kind.this if kind is not None else None


def _all_typed(node: Any, kinds: Collection[Any]) -> bool:
    return _kind(node.this) in kinds and _kind(node.expression) in kinds


@cache
def _integer_types() -> frozenset[Any]:
    from sqlglot.expressions import DataType

    return frozenset({DataType.Type.TINYINT, DataType.Type.SMALLINT, DataType.Type.INT, DataType.Type.BIGINT})


@cache
def _exact_types() -> frozenset[Any]:
    from sqlglot.expressions import DataType

    return _integer_types() | {DataType.Type.DECIMAL}


@cache
def _number_types() -> frozenset[Any]:
    from sqlglot.expressions import DataType

    return _exact_types() | {DataType.Type.DOUBLE, DataType.Type.FLOAT}


@cache
def _text_types() -> frozenset[Any]:
    from sqlglot.expressions import DataType

    return frozenset({DataType.Type.TEXT, DataType.Type.VARCHAR})


@cache
def _time_types() -> frozenset[Any]:
    from sqlglot.expressions import DataType

    return frozenset({DataType.Type.TIMESTAMP, DataType.Type.TIMESTAMPNTZ})
