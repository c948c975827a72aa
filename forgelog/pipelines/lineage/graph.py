"""Which columns each column of each part of a query is computed from, by the scopes that sqlglot finds in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

Origin = tuple[str, str]
"""An input and one of its columns."""

Node = tuple[Any, int]
"""A scope of sqlglot (a SELECT, or a set operation) and the place of one of its columns."""


class Unresolved(Exception):
    """Why the columns can't be told."""


def refuse_ambiguous(parsed: Any, known: Mapping[str, Collection[str]]) -> None:
    """Raises Unresolved for what sqlglot reads in another way than DuckDB, or does not expand."""
    from sqlglot import exp

    columns = {name for names in known.values() for name in names}
    columns |= {alias.alias.lower() for alias in parsed.find_all(exp.Alias)}
    for node in parsed.walk():
        _refuse_hidden(node, columns)
        if isinstance(node, exp.Columns):
            raise Unresolved("COLUMNS(...) names columns by a pattern")
        if isinstance(node, exp.Pivot):
            raise Unresolved("PIVOT and UNPIVOT make columns of values")
        if isinstance(node, exp.SetOperation) and node.args.get("by_name"):
            raise Unresolved("UNION BY NAME pairs columns by their names, and sqlglot by their places")
        if isinstance(node, exp.Join) and (method := str(node.args.get("method") or "").upper()) in _BY_NAME:
            raise Unresolved(f"{method} JOIN {_BY_NAME[method]}")
        if isinstance(node, exp.Lateral):
            raise Unresolved("LATERAL computes rows of other relations' columns")
        if isinstance(node, exp.PositionalColumn):
            raise Unresolved("#N names a column by its place")
        if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Star):
            raise Unresolved("struct.* makes columns of a struct's fields")


def _refuse_hidden(node: Any, columns: Collection[str]) -> None:
    """Raises Unresolved if an argument of a lambda hides a column, which sqlglot takes it for."""
    from sqlglot import exp

    if isinstance(node, exp.Lambda):
        names = [argument.name for argument in node.expressions]
    elif isinstance(node, exp.Comprehension):
        names = [node.expression.name]
    else:
        return
    for name in names:
        if name.lower() in columns:
            raise Unresolved(f"the variable {name!r} of a lambda is a column's name too")


_BY_NAME = {"NATURAL": "chooses its keys by names", "POSITIONAL": "pairs rows by their places"}


@cache
def _constants() -> tuple[type, ...]:
    """Expressions that have no columns, if there is none below them."""
    from sqlglot import exp

    texts = (exp.HexString, exp.BitString, exp.ByteString, exp.RawString, exp.National)
    words = (exp.Identifier, exp.DataType, exp.Var, exp.WindowSpec, exp.Star)
    return (exp.Literal, exp.Boolean, exp.Null, exp.Func, *texts, *words)


class Graph:
    """The columns of a qualified query. Recursive common table expressions make circles in it, so origins are found by
    a walk, not by recursion."""

    def __init__(self, root: Any, known: Mapping[str, Mapping[str, Any]]) -> None:
        """`root`: the scope of the whole query. `known`: the inputs' columns, all names in lower case."""
        self._known = known
        self._scopes = {id(scope.expression): scope for scope in root.traverse()}

    def outputs(self, scope: Any) -> list[str]:
        """The names of a scope's columns, empty for one that has none in the query.

        Raises:
            Unresolved: a star is among them, or it is no SELECT.
        """
        from sqlglot import exp

        expression = scope.expression
        while isinstance(expression, exp.SetOperation):
            expression = expression.left.unnest()
        if not isinstance(expression, exp.Select):
            raise Unresolved(f"sqlglot does not know the columns of {type(expression).__name__.upper()}")
        names = []
        for select in expression.selects:
            if select.is_star:
                raise Unresolved("sqlglot can't expand a star")
            name = select.alias_or_name
            names.append("" if name.startswith("_col_") else name)
        return names

    def origins(self, scope: Any, place: int) -> set[Origin]:
        """The inputs' columns that one column comes from."""
        found: set[Origin] = set()
        seen: set[tuple[int, int]] = set()
        waiting: list[Node] = [(scope, place)]
        while waiting:
            here, nth = waiting.pop()
            if (id(here), nth) in seen:
                continue
            seen.add((id(here), nth))
            for below in self._below(here, nth):
                if isinstance(below[0], str):
                    found.add(below)
                else:
                    waiting.append(below)
        return found

    def _below(self, scope: Any, place: int) -> Iterator[Any]:
        """What one column is computed from, one step down: inputs' columns, and nodes."""
        from sqlglot import exp

        expression = scope.expression
        if isinstance(expression, exp.SetOperation):
            # What EXCEPT takes away is no value of the result.
            parts = scope.set_operation_scopes[:1] if isinstance(expression, exp.Except) else scope.set_operation_scopes
            for part in parts:
                yield part, place
            return
        if not isinstance(expression, exp.Select) or place >= len(expression.selects):
            raise Unresolved("parts of a set operation have different columns")
        yield from self._of(scope, expression.selects[place])

    def _of(self, scope: Any, expression: Any) -> Iterator[Any]:
        """What an expression within a scope is computed from."""
        from sqlglot import exp
        from sqlglot.optimizer.scope import walk_in_scope

        for node in walk_in_scope(expression):
            if isinstance(node, exp.TableColumn):
                raise Unresolved(f"a whole row of {node.name} is used as a value")
            if isinstance(node, exp.Column):
                yield from self._column(scope, node)
            elif isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
                raise Unresolved("sqlglot can't expand a star")
            elif isinstance(node, exp.Select | exp.SetOperation) and node is not expression:
                yield from self._subquery(scope, node)
            elif not isinstance(node, _constants()) and next(node.iter_expressions(), None) is None:
                # What is below it would be missing without a word.
                raise Unresolved(
                    f"sqlglot reads {node.sql('duckdb')!r} as {type(node).__name__}, which may be a column"
                )

    def _subquery(self, scope: Any, node: Any) -> Iterator[Any]:
        """A query as a value; EXISTS takes none of its columns."""
        from sqlglot import exp

        above = node.parent
        while isinstance(above, exp.Subquery):
            above = above.parent
        if isinstance(above, exp.Exists):
            return
        inner = next((each for each in scope.subquery_scopes if each.expression is node), None)
        if inner is None:
            raise Unresolved("sqlglot does not know a subquery")
        for place in range(len(self.outputs(inner))):
            yield inner, place

    def _column(self, scope: Any, column: Any) -> Iterator[Any]:
        from sqlglot import exp
        from sqlglot.optimizer.scope import Scope

        if not column.table:
            raise Unresolved(f"sqlglot can't tell which relation has the column {column.name!r}")
        source, here = None, scope
        while source is None and here is not None:
            # A column within a subquery may be one of the query around it.
            source, here = here.sources.get(column.table), here.parent
        name = column.name.lower()
        if isinstance(source, exp.Table):
            table = source.name.lower()
            if name not in self._known.get(table, {}):
                raise Unresolved(f"sqlglot finds no column {column.name!r} in {source.name!r}")
            yield table, name
        elif not isinstance(source, Scope):
            raise Unresolved(f"sqlglot can't tell what {column.table!r} is")
        elif isinstance(source.expression, exp.Unnest | exp.Values):
            # Its rows are made of its arguments.
            yield from self._of(source.parent or scope, source.expression)
        else:
            source = self._whole(source)
            outputs = [output.lower() for output in self.outputs(source)]
            if name not in outputs:
                raise Unresolved(f"sqlglot finds no column {column.name!r} in {column.table!r}")
            yield source, outputs.index(name)

    def _whole(self, source: Any) -> Any:
        """The scope of a common table expression. Where a recursive one reads itself, sqlglot gives its first part."""
        from sqlglot import exp

        above = source.expression.parent
        while isinstance(above, exp.Subquery):
            above = above.parent
        recursive = isinstance(above, exp.SetOperation) and isinstance(above.parent, exp.CTE)
        return self._scopes.get(id(above), source) if recursive else source
