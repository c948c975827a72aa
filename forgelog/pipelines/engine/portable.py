"""DuckDB's SQL as Spark's, with the same results or not at all.

What both engines compute alike is listed here, and what they compute in different ways is rewritten. Everything else is
refused by its name: a result that differs without a word is worse than none. Tests compare both engines on all of the
list. Spark must run with the settings `SETTINGS`.

Limits, stated: sums and averages of DOUBLE depend on the order of rows in their last digits, on both engines. A number
that is too large is an error on both, but Spark's BIGINT sums end earlier than DuckDB's HUGEINT ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from events.language.pipelines.columns import Column
from forgelog.pipelines.engine.portable_rewrites import REMEDY, exact_averages, refused, rewritten_kinds
from forgelog.pipelines.problems import StageError, needs_extra

SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.caseSensitive": "false",
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.legacy.statisticalAggregate": "false",
}
"""Overflow and bad casts are errors, decimals are exact, and days begin in UTC: as in DuckDB. A query reads no file."""

PORTABLE_TYPES = frozenset(
    {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "BLOB"}
    | {"DATE", "TIMESTAMP"}
)
"""DuckDB's types that Spark has too, by their first words."""

Schema = tuple[Column, ...]


def spark_sql(
    sql: str,
    schemas: Mapping[str, Schema],
    field: str,
    functions: Collection[str] = (),
    broadcast: Collection[str] = (),
) -> str:
    """A query of DuckDB as one of Spark over the same relations.

    functions: the pipeline's own functions, which Spark has under the same names. broadcast: relations that Spark is to
    send whole to each executor.

    Raises:
        StageError: something in the query is not known to give the same result. The problem names it.
    """
    try:
        import sqlglot
        from sqlglot import ErrorLevel, exp
        from sqlglot.errors import SqlglotError
        from sqlglot.optimizer.annotate_types import annotate_types
        from sqlglot.optimizer.qualify import qualify
    except ImportError:
        raise needs_extra("sqlglot") from None
    known: dict[str, Any] = {
        name: {column.name.lower(): column.type for column in columns} for name, columns in schemas.items()
    }
    try:
        tree: Any = qualify(sqlglot.parse_one(sql, dialect="duckdb"), schema=known, dialect="duckdb")
        tree = annotate_types(tree, schema=known, dialect="duckdb")
        _forget_doubtful_types(tree)
        # From the leaves up, so that what is rewritten is made of parts that were looked at.
        for node in reversed(list(tree.walk(bfs=False))):
            replacement = _portable(node, functions, field)
            if replacement is not node:
                if replacement.type is None:
                    replacement.type = node.type
                if node is tree:
                    tree = replacement
                else:
                    node.replace(replacement)
        tree = exact_averages(tree)
        for select in tree.find_all(exp.Select) if broadcast else ():
            _hint(select, broadcast)
        text: str = tree.sql(dialect="spark", identify=True, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise StageError(field, f"sqlglot can't read the query: {' '.join(str(error).split())[:300]}", REMEDY) from None
    return text


def read_by(sql: str, known: Collection[str], field: str) -> list[str]:
    """The relations that a query in Spark's own SQL reads.

    Raises:
        StageError: it is no single SELECT, or reads what is no relation of the stage.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.scope import traverse_scope

    try:
        statements = sqlglot.parse(sql, dialect="spark")
        if len(statements) != 1 or not isinstance(statements[0], exp.Query):
            raise StageError(field, "is no single SELECT", "write one; a stage's sink writes")
        scopes = traverse_scope(statements[0])
    except SqlglotError as error:
        raise StageError(field, f"is no SQL: {' '.join(str(error).split())[:300]}", "write Spark's SQL") from None
    read: dict[str, None] = {}
    for scope in scopes:
        for source in scope.sources.values():
            if isinstance(source, exp.Table):
                if source.args.get("db") or source.name.lower() not in known:
                    raise StageError(
                        field,
                        f"reads {source.sql('spark')}, which is no relation before it",
                        f"known are {', '.join(known)}",
                    )
                read[source.name.lower()] = None
    return list(read)


def refuse_types(columns: Schema, field: str) -> None:
    """Raises StageError for the first column whose type Spark doesn't have. HUGEINT, of which DuckDB's sums are, is
    handed over as DECIMAL(38,0)."""
    for column in columns:
        if column.type.upper().partition("(")[0].strip() not in PORTABLE_TYPES | {"HUGEINT"}:
            raise StageError(
                field,
                f"column {column.name!r} has the type {column.type}, which Spark does not have",
                "cast it to a type that both engines have, such as DECIMAL(38,0) or VARCHAR, or run it on duckdb",
            )


def _portable(node: Any, functions: Collection[str], field: str) -> Any:
    """The node, or what takes its place. Raises StageError."""
    same, rewritten = _same(), rewritten_kinds()
    kind = type(node)
    for name, part in node.args.items():
        if part and (name not in _PARTS or (name == "on" and kind.__name__ == "Distinct")):
            what = node.sql("duckdb")[:60]
            raise refused(field, what, f"{name} of {kind.__name__} is not known to give the same there")
    if kind in rewritten:
        return rewritten[kind](node, field)
    if kind in same:
        return node
    from sqlglot import exp

    if isinstance(node, exp.Anonymous):
        if node.name.lower() in functions:
            return node
        raise refused(field, f"the function {node.name.lower()}", "it is not known to give the same there")
    name = node.sql("duckdb")
    said = name if len(name) <= 60 else f"{name[:57]}..."
    raise refused(field, said, f"{kind.__name__} is not known to give the same there")


_PARTS = frozenset({
    "this", "expression", "expressions", "alias", "columns", "table", "quoted", "with_", "from_", "joins",
    "where", "group", "having", "order", "limit", "offset", "distinct", "side", "kind", "on", "desc",
    "nulls_first", "low", "high", "ifs", "default", "true", "false", "partition_by", "spec", "over", "start",
    "start_side", "end", "end_side", "unit", "to", "length", "query", "is_string", "typed", "safe",
    "big_int", "ignore_nulls", "position", "nested", "coalesce", "is_nvl", "negate", "all", "qualify",
})  # fmt: skip
"""The parts of expressions that both engines have; others change what is computed, such as `by_name` of a UNION."""


@cache
def _same() -> frozenset[type]:
    """What both engines read alike."""
    from sqlglot import exp

    structure = [
        exp.Select, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset,
        exp.With, exp.CTE, exp.TableAlias, exp.Table, exp.Subquery, exp.Union, exp.Intersect, exp.Except, exp.Distinct,
        exp.Column, exp.Identifier, exp.Alias, exp.Paren, exp.Tuple, exp.Values, exp.Qualify,
    ]  # fmt: skip
    conditions = [
        exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ,
        exp.Is, exp.In, exp.Between, exp.Exists, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least,
    ]  # fmt: skip
    values = [exp.Boolean, exp.Null, exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var, exp.Add, exp.Mul, exp.Neg]
    aggregates = [exp.Sum, exp.Count, exp.Min, exp.Max, exp.Filter, exp.LogicalAnd, exp.LogicalOr]
    windows = [
        exp.Window, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.Lag, exp.Lead,
        exp.FirstValue, exp.LastValue, exp.PercentRank, exp.CumeDist,
    ]  # fmt: skip
    texts = [exp.Length, exp.Contains, exp.StartsWith, exp.DPipe]
    dates = [exp.Year, exp.Month, exp.Day]
    return frozenset([*structure, *conditions, *values, *aggregates, *windows, *texts, *dates])


def _hint(select: Any, broadcast: Collection[str]) -> None:
    from sqlglot import exp

    sources = [table.name for table in select.find_all(exp.Table) if table.parent_select is select]
    named = [name for name in sources if name in broadcast]
    if named:
        names: list[Any] = [exp.to_identifier(name) for name in named]
        select.set("hint", exp.Hint(expressions=[exp.Anonymous(this="BROADCAST", expressions=names)]))


def _forget_doubtful_types(tree: Any) -> None:
    """Leaves the types of columns, literals, casts and arithmetic of these. Others that sqlglot infers are not always
    DuckDB's, and what is written by them would be wrong without a word."""
    from sqlglot import exp

    base: dict[str, bool] = {}
    parts = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        base[table.alias_or_name] = base.get(table.alias_or_name, True) and table.name not in parts
    for derived in tree.find_all(exp.Subquery, exp.UDTF):
        base[derived.alias_or_name] = False
    known = (exp.Literal, exp.Cast, exp.DataType, exp.Count, exp.Length, exp.RowNumber, exp.Interval, exp.Null)
    through = (exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Alias)
    for node in reversed(list(tree.walk(bfs=False))):
        if isinstance(node, known):
            continue
        if isinstance(node, exp.Column) and base.get(node.table, False):
            continue
        if isinstance(node, through) and all(part.type is not None for part in _operands(node)):
            continue
        node.type = None


def _operands(node: Any) -> list[Any]:
    return [part for part in (node.this, node.args.get("expression")) if hasattr(part, "type")]
