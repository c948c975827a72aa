"""Evaluates rules on a table, in one query.

1. Each rule becomes a condition (`conditions`); what is wrong with a rule is said before data is read.
2. The table is computed once, into a temporary table with a column of conditions for each rule about rows. So the rows
   that are judged are those that are written, also where the query is not repeatable, and DuckDB spills it to disk.
3. One pass over it counts; rules about the table as a whole are part of the same query.
4. Views divide its rows: the clean ones, and those in quarantine with their reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from events.language.common import shown
from events.language.pipelines.columns import Column
from events.language.pipelines.quality import DataQualityRule, QualityLevel, RuleOutcome
from forgelog.pipelines.described import described_column
from forgelog.pipelines.problems import StageError
from forgelog.pipelines.quality.conditions import enclosed, failing, identifier, literal, reason

RULES_COLUMN = "_rules"
"""Of the quarantine: the ids of the rules that a row failed, ``VARCHAR[]``."""
REASONS_COLUMN = "_reasons"
"""Of the quarantine: why, for people, in the order of the rules."""
INPUT_COLUMN = "_input"
"""Of a row that was set aside before a stage has read it: the stage's input."""
ROW_COLUMN = "_row"
"""The same row as JSON: its columns are those of the source, and need not be the stage's."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A table after its rules were evaluated. The relations last as long as the connection."""

    outcomes: tuple[RuleOutcome, ...]
    """In the order of the rules that are enabled."""
    clean: str
    """Name of the relation of the rows that go on, with the columns of the table."""
    quarantine: str | None
    """Name of the relation of the rows that do not, with `quarantine_columns`. None: there is no such row."""
    quarantined: int
    """Rows in quarantine."""
    failing: DataQualityRule | None
    """The first rule whose breach fails the stage."""

    def error(self) -> StageError | None:
        """What to say of the rule that fails the stage."""
        if self.failing is None:
            return None
        rule = self.failing
        outcome = next(outcome for outcome in self.outcomes if outcome.rule_id == rule.rule_id and outcome.stops)
        what = (
            f"the table breaks it: {reason(rule)}"
            if rule.level is QualityLevel.TABLE
            else f"{outcome.failed} of {outcome.rows} rows fail: {reason(rule)}"
        )
        remedy = f"mend the data, or lower the rule's threshold of {rule.threshold:g} or its severity"
        return StageError(f"rules.{rule.rule_id}", f"{what}. Nothing is committed", remedy)


@dataclass(frozen=True, slots=True)
class _Rule:
    rule: DataQualityRule
    revision: int
    field: str
    flag: str
    """Name of its column of conditions, or of its answer."""

    @property
    def of_rows(self) -> bool:
        return self.rule.level is QualityLevel.ROW


def check(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    rules: Sequence[DataQualityRule],
    dataset_rules: Sequence[tuple[DataQualityRule, int]] = (),
) -> Checked:
    """Evaluate the rules of a stage, and those of the dataset that it writes, each with its revision.

    `relation` is the name of a table or a view of the connection. A rule may name other relations of it in subqueries,
    such as ``customer_id IN (SELECT id FROM customers)``. Raises StageError with the rule's place for one that can't be
    evaluated; what the relation's own query raises is left as it is.
    """
    columns = described(connection, f"SELECT * FROM {identifier(relation)}")
    asked = list(_asked(rules, dataset_rules, columns))
    if not asked:
        return Checked((), relation, None, 0, None)
    for one in asked:
        _check_expressions(connection, one, relation)
    conditions = {one.flag: failing(one.rule, columns, one.field) for one in asked if one.of_rows}
    checked = _free_name(connection, f"{relation}_checked")
    try:
        flags = "".join(f", {condition} AS {identifier(flag)}" for flag, condition in conditions.items())
        connection.execute(f"CREATE TABLE {identifier(checked)} AS SELECT *{flags} FROM {identifier(relation)}")
        counts, quarantined = _counted(connection, checked, asked)
    except _OF_A_RULE:
        _blame(connection, relation, asked, conditions)
        raise
    return _divided(connection, checked, asked, counts, quarantined, columns)


def described(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Column, ...]:
    """The columns of a query's result."""
    rows = connection.execute(f"DESCRIBE {query}").fetchall()
    return tuple(described_column(name, type, nullable=null != "NO") for name, type, null, *_ in rows)


def _asked(
    rules: Sequence[DataQualityRule], own: Sequence[tuple[DataQualityRule, int]], columns: Sequence[Column]
) -> Iterator[_Rule]:
    prefix = "_failed_"
    while any(column.name.lower().startswith(prefix) for column in columns):
        prefix = f"_{prefix}"
    both = [*((rule, 0) for rule in rules), *own]
    for number, (rule, revision) in enumerate(both):
        if rule.enabled:
            yield _Rule(rule, revision, f"rules.{rule.rule_id}", f"{prefix}{number}")


def _check_expressions(connection: duckdb.DuckDBPyConnection, one: _Rule, relation: str) -> None:
    """Raises StageError for an expression that is none, that the table has no columns for, or that is no condition."""
    rule, table = one.rule, identifier(relation)
    for part in ("where", "expression"):
        text = getattr(rule, part)
        if not text.strip():
            continue
        field = f"{one.field}.{part}"
        try:
            duckdb.SQLExpression(text)
        except duckdb.Error as error:
            raise StageError(field, f"is no expression: {_said(error)}", _CONDITION) from None
        # A condition on all rows can stand beside an aggregate, one on each row beside the columns.
        beside = "*" if one.of_rows or part == "where" else "count(*)"
        try:
            column, *_ = described(connection, f"SELECT {enclosed(text)}, {beside} FROM {table}")
        except duckdb.Error as error:
            raise StageError(field, _said(error), _remedy(one, part)) from None
        if column.type.upper() not in ("BOOLEAN", '"NULL"'):
            raise StageError(field, f"gives {column.type}, which is no condition", _CONDITION)
    if rule.keep_first_by.strip():
        try:
            described(connection, f"SELECT row_number() OVER (ORDER BY {rule.keep_first_by}\n) FROM {table}")
        except duckdb.Error as error:
            remedy = "write an order by the table's columns, such as updated_at DESC"
            raise StageError(f"{one.field}.keep_first_by", _said(error), remedy) from None


_CONDITION = "write a condition, such as price > 0"


def _remedy(one: _Rule, part: str) -> str:
    if part == "where":
        return "write a condition on the table's columns"
    if one.of_rows:
        return "write a condition on the table's columns; for one on all rows, such as count(*) > 10, say level: table"
    return "write a condition on all rows, such as count(*) > 10"


def _counted(
    connection: duckdb.DuckDBPyConnection, checked: str, asked: Sequence[_Rule]
) -> tuple[Mapping[str, tuple[int, int]], int]:
    """Flag → rows that the rule looked at, and those that failed it (1 for a condition on all rows that does not
    hold); and the rows that are set aside."""
    table, bare = identifier(checked), _without_flags(checked, asked)
    wanted = []
    for one in asked:
        flag = identifier(one.flag)
        if one.of_rows:
            wanted += [f"count({flag})", f"count(*) FILTER ({flag})"]
            continue
        where = f" WHERE {enclosed(one.rule.where)}" if one.rule.where.strip() else ""
        broken = f"NOT coalesce((SELECT {enclosed(one.rule.expression)} FROM ({bare}){where}), true)"
        wanted += [f"(SELECT count(*) FROM ({bare}){where})", f"CAST({broken} AS INTEGER)"]
    wanted.append(f"count(*) FILTER ({_set_aside(asked)})")
    (numbers,) = connection.execute(f"SELECT {', '.join(wanted)} FROM {table}").fetchall()
    return {one.flag: (numbers[2 * at], numbers[2 * at + 1]) for at, one in enumerate(asked)}, numbers[-1]


def _set_aside(asked: Sequence[_Rule]) -> str:
    """The condition of the rows that go to the quarantine; never null."""
    flags = [f"coalesce({identifier(one.flag)}, false)" for one in asked if one.of_rows and one.rule.sets_aside]
    return " OR ".join(flags) or "false"


def _without_flags(checked: str, asked: Sequence[_Rule]) -> str:
    flags = ", ".join(identifier(one.flag) for one in asked if one.of_rows)
    return f"SELECT *{f' EXCLUDE ({flags})' if flags else ''} FROM {identifier(checked)}"


def _divided(
    connection: duckdb.DuckDBPyConnection,
    checked: str,
    asked: Sequence[_Rule],
    counts: Mapping[str, tuple[int, int]],
    quarantined: int,
    columns: Sequence[Column],
) -> Checked:
    rows, aside = _without_flags(checked, asked), _set_aside(asked)
    clean = _free_name(connection, f"{checked}_clean")
    connection.execute(f"CREATE VIEW {identifier(clean)} AS {rows} WHERE NOT ({aside})")
    quarantine = None
    if quarantined:
        quarantine = _free_name(connection, f"{checked}_quarantine")
        rules, reasons, input, row = map(identifier, added_columns(columns))
        said = (
            f"{_failed(asked, lambda rule: rule.rule_id)} AS {rules}, {_failed(asked, reason)} AS {reasons}, "
            f"CAST(NULL AS VARCHAR) AS {input}, CAST(NULL AS VARCHAR) AS {row}"
        )
        flags = ", ".join(identifier(one.flag) for one in asked if one.of_rows)
        connection.execute(
            f"CREATE VIEW {identifier(quarantine)} AS "
            f"SELECT * EXCLUDE ({flags}), {said} FROM {identifier(checked)} WHERE {aside}"
        )
    outcomes = tuple(_outcome(one, *counts[one.flag]) for one in asked)
    stopping = (one.rule for one, outcome in zip(asked, outcomes, strict=True) if outcome.stops)
    return Checked(outcomes, clean, quarantine, quarantined, next(stopping, None))


def quarantine_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns of a table's quarantine."""
    types = ("VARCHAR[]", "VARCHAR[]", "VARCHAR", "VARCHAR")
    return (*columns, *(Column(name=name, type=type) for name, type in zip(added_columns(columns), types, strict=True)))


def added_columns(columns: Sequence[Column]) -> tuple[str, ...]:
    """What the four columns are called that a quarantine has beside those of its table."""
    return tuple(_free_column(name, columns) for name in (RULES_COLUMN, REASONS_COLUMN, INPUT_COLUMN, ROW_COLUMN))


def _failed(asked: Sequence[_Rule], told: Callable[[DataQualityRule], str]) -> str:
    """The list of what is told of the rules that a row fails."""
    each = ", ".join(
        f"CASE WHEN {identifier(one.flag)} THEN {literal(told(one.rule))} END" for one in asked if one.of_rows
    )
    return f"list_filter([{each}], lambda told: told IS NOT NULL)"


def _outcome(one: _Rule, rows: int, failed: int) -> RuleOutcome:
    """Also of an empty table, which can break a condition on all rows: it has none that fail, but it is breached."""
    rule = one.rule
    if one.of_rows:
        rate = (rows - failed) / rows if rows else 1.0
    else:
        rate, failed = (0.0, rows) if failed else (1.0, 0)
    return RuleOutcome(
        rule_id=rule.rule_id,
        revision=one.revision,
        type=rule.type,
        severity=rule.severity,
        threshold=rule.threshold,
        rows=rows,
        passed=rows - failed,
        failed=failed,
        pass_rate=rate,
        breached=rate < rule.threshold,
        stops=rate < rule.threshold and rule.stops,
        quarantined=failed if rule.sets_aside else 0,
    )


def _blame(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    asked: Sequence[_Rule],
    conditions: Mapping[str, str],
) -> None:
    """Raises StageError for the rule whose evaluation fails; what the relation's own query raises if that does."""
    rows = _free_name(connection, f"{relation}_rows")
    connection.execute(f"CREATE TABLE {identifier(rows)} AS SELECT * FROM {identifier(relation)}")
    for one in asked:
        try:
            if one.of_rows:
                connection.execute(
                    f"SELECT count(failed) FROM (SELECT {conditions[one.flag]} AS failed FROM {identifier(rows)})"
                )
            else:
                _counted(connection, rows, [one])
        except _OF_A_RULE as error:
            raise StageError(one.field, f"can't be evaluated: {_said(error)}", "mend the rule") from None


_OF_A_RULE = (duckdb.DataError, duckdb.ProgrammingError, duckdb.NotSupportedError)
"""Errors that come of what a rule says, such as a cast of a text that is no number; not of memory or a cancel."""


def _said(error: duckdb.Error) -> str:
    """What DuckDB says, in one line, without the place in a query that the user did not write."""
    first = str(error).partition("\n\nLINE")[0].strip().splitlines()
    return shown(" ".join(line.strip() for line in first if line.strip()), 500).strip("'\"")


def _free_name(connection: duckdb.DuckDBPyConnection, wanted: str) -> str:
    taken = connection.execute(
        "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views()"
    ).fetchall()
    return _free(wanted, (name for (name,) in taken))


def _free_column(wanted: str, columns: Sequence[Column]) -> str:
    return _free(wanted, (column.name for column in columns))


def _free(wanted: str, taken: Iterable[str]) -> str:
    """The name, with underscores before it until it is free. Upper and lower case do not differ in SQL."""
    names = {name.lower() for name in taken}
    while wanted.lower() in names:
        wanted = f"_{wanted}"
    return wanted
