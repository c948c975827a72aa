"""What fails a rule, as a condition in DuckDB's SQL. Pure: it knows a table's columns and no connection.

A condition is true for a row that fails, false for one that passes, and null for one that the rule does not look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches

from events.language.common import shown
from events.language.pipelines.columns import Column
from events.language.pipelines.quality import DataQualityRule, QualityRuleType
from forgelog.pipelines.problems import StageError

_FLOATS = frozenset({"FLOAT", "REAL", "DOUBLE"})
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_NUMBERS = _FLOATS | {"DECIMAL", "NUMERIC", *_WHOLE, *(f"U{name}" for name in _WHOLE)}
_DECIMAL_DIGITS = 38
"""Most digits of DuckDB's decimals."""


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def enclosed(sql: str) -> str:
    """An expression in parentheses. The line break ends a comment at its end."""
    return f"({sql}\n)"


def failing(rule: DataQualityRule, columns: Sequence[Column], field: str) -> str:
    """The condition of a rule of level ``row``. `field` is the rule's place, for errors. Raises StageError for a column
    that is not there, and for a bound that is no value of its column."""
    found = {column.name: column for column in columns}
    named = [column_named(name, found, f"{field}.columns") for name in rule.columns]
    match rule.type:
        case QualityRuleType.COMPLETENESS:
            condition = _any(map(_is_missing, named))
        case QualityRuleType.UNIQUENESS:
            condition = _is_repeated(rule, named, columns)
        case QualityRuleType.RANGE:
            condition = _any(beyond for column in named for beyond in _beyond(rule, column, field))
        case QualityRuleType.PATTERN:
            condition = _any(f"NOT regexp_full_match({_text(column)}, {literal(rule.pattern)})" for column in named)
        case QualityRuleType.CUSTOM:
            condition = f"NOT {enclosed(rule.expression)}"
    known = f"coalesce({condition}, false)"
    return f"CASE WHEN {enclosed(rule.where)} THEN {known} END" if rule.where.strip() else known


def column_named(name: str, columns: Mapping[str, Column], field: str) -> Column:
    """The column of that name; as in all SQL, upper and lower case count only where two names differ by nothing else.
    Raises StageError."""
    if name in columns:
        return columns[name]
    alike = [column for column in columns if column.lower() == name.lower()]
    if len(alike) == 1:
        return columns[alike[0]]
    near = get_close_matches(name, columns, 1)
    listed = ", ".join(list(columns)[:20])
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise StageError(field, f"there is no column {shown(name)}", f"{hint}name one of: {listed}")


def reason(rule: DataQualityRule) -> str:
    """Why a row fails, for people: what the quarantine says of it."""
    if rule.description:
        return rule.description
    names = ", ".join(rule.columns)
    several = len(rule.columns) > 1
    match rule.type:
        case QualityRuleType.COMPLETENESS:
            return f"one of {names} is missing" if several else f"{names} is missing"
        case QualityRuleType.UNIQUENESS:
            return f"another row has the same {names}"
        case QualityRuleType.RANGE:
            bounds = (("below", rule.minimum), ("above", rule.maximum))
            beyond = " or ".join(f"{side} {bound}" for side, bound in bounds if bound)
            return f"one of {names} is {beyond}" if several else f"{names} is {beyond}"
        case QualityRuleType.PATTERN:
            return f"one of {names} does not match {rule.pattern}" if several else f"{names} is no {rule.pattern}"
        case QualityRuleType.CUSTOM:
            return f"not {rule.expression}"


def bound_value(text: str, column: Column, field: str) -> str:
    """A bound as SQL. A number stays as exact as it is written: a cast to the column's type would round it. Raises
    StageError for a text that is no number, of a column of numbers."""
    if _type(column) not in _NUMBERS:
        return f"CAST({literal(text)} AS {column.type})"
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        problem = f"is {shown(text)}, which is no number, but the column {column.name} is {column.type}"
        raise StageError(field, problem, "give a number such as 0.5")
    exponent = number.as_tuple().exponent
    exact = isinstance(exponent, int) and abs(exponent) + len(number.as_tuple().digits) <= _DECIMAL_DIGITS
    return format(number, "f") if exact else f"CAST({literal(text.strip())} AS DOUBLE)"


def _type(column: Column) -> str:
    """Its type without precision."""
    return column.type.upper().partition("(")[0]


def _text(column: Column) -> str:
    return f"CAST({identifier(column.name)} AS VARCHAR)"


def _is_missing(column: Column) -> str:
    name = identifier(column.name)
    return f"{name} IS NULL OR isnan({name})" if _type(column) in _FLOATS else f"{name} IS NULL"


def _is_repeated(rule: DataQualityRule, columns: Sequence[Column], all_columns: Sequence[Column]) -> str:
    names = [identifier(column.name) for column in columns]
    parts = ", ".join([*names, *([enclosed(rule.where)] if rule.where.strip() else [])])
    if rule.keep_first_by.strip():
        # Of equals in the user's order the hash decides, so that another attempt keeps the same row.
        tie = f"hash({', '.join(identifier(column.name) for column in all_columns)})"
        again = f"row_number() OVER (PARTITION BY {parts} ORDER BY {rule.keep_first_by}\n, {tie}) > 1"
    else:
        again = f"count(*) OVER (PARTITION BY {parts}) > 1"
    return " AND ".join([*(f"{name} IS NOT NULL" for name in names), again])


def _beyond(rule: DataQualityRule, column: Column, field: str) -> Iterator[str]:
    name = identifier(column.name)
    if rule.minimum:
        yield f"{name} < {bound_value(rule.minimum, column, f'{field}.minimum')}"
    if rule.maximum:
        yield f"{name} > {bound_value(rule.maximum, column, f'{field}.maximum')}"
    if _type(column) in _FLOATS:
        yield f"isnan({name})"


def _any(conditions: Iterable[str]) -> str:
    return " OR ".join(f"coalesce({condition}, false)" for condition in conditions)
