"""Functions of the pipeline's code: those that SQL calls, and those that are transformations themselves."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from events.language.pipelines.transformations import UserFunction
from forgelog.pipelines.engine.errors import explained
from forgelog.pipelines.engine.plan import Relation
from forgelog.pipelines.engine.sql import type_name
from forgelog.pipelines.problems import StageError

Functions = Callable[[str, str], Callable[..., Any]]
"""Finds a function by its module and name. Raises ImportError or AttributeError if there is none."""


def imported(module: str, function: str) -> Callable[..., Any]:
    """A function of a module that Python can import."""
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def found(functions: Functions, module: str, function: str, field: str) -> Callable[..., Any]:
    """A function of the pipeline's code.

    Raises:
        StageError: there is none, or its module fails when it is imported.
    """
    try:
        return functions(module, function)
    except ModuleNotFoundError as error:
        raise StageError(
            f"{field}.module", f"{error.name or module!r} can't be imported", "bring it with the pipeline's code"
        ) from None
    except AttributeError as error:
        raise StageError(f"{field}.function", f"{module} has no {function}: {error}", "name one that it has") from None
    except Exception as error:
        raise StageError(
            f"{field}.module", f"{module} fails when it is imported: {raised(error)}", "mend it"
        ) from error


def raised(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def vectorized(function: UserFunction, code: Callable[..., Any], field: str) -> Callable[..., Any]:
    """The function as engines call it: checked, and never with nulls if it does not handle them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def call(*arrays: Any) -> Any:
        columns = [array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array for array in arrays]
        rows = len(columns[0]) if columns else None
        present = None
        if columns and not function.handles_null and any(column.null_count for column in columns):
            present = pc.is_valid(columns[0])
            for column in columns[1:]:
                present = pc.and_(present, pc.is_valid(column))
            columns = [column.filter(present) for column in columns]
        try:
            result = code(*columns)
        except Exception as error:
            raise StageError(field, f"{function.name} raised {raised(error)}", "mend the function") from error
        if isinstance(result, pa.ChunkedArray):
            result = result.combine_chunks()
        if isinstance(result, pa.Scalar) and rows is not None:
            result = pa.repeat(result, len(columns[0]))
        if not isinstance(result, pa.Array):
            raise StageError(field, f"{function.name} gave {type(result).__name__}", "return an array of pyarrow")
        if columns and len(result) != len(columns[0]):
            raise StageError(
                field, f"{function.name} gave {len(result)} values for {len(columns[0])} rows", "give one for each row"
            )
        if present is not None:
            # Rows are numbered among those that were given; null where there was a null.
            numbers = pc.cumulative_sum(present.cast(pa.int64()))
            places = pc.if_else(present, pc.subtract(numbers, 1), pa.scalar(None, pa.int64()))
            result = result.take(places)
        return result

    return call


def create_function(connection: Any, function: UserFunction, code: Callable[..., Any], field: str) -> None:
    """Lets queries of a DuckDB call a function. `code`: as `vectorized` makes it.

    Raises:
        StageError: DuckDB has a function of its name, or knows no such type.
    """
    import duckdb

    kinds = [type_name(kind, f"{field}.arguments[{nth}]") for nth, kind in enumerate(function.arguments)]
    returns = type_name(function.returns, f"{field}.returns")
    taken = "SELECT 1 FROM duckdb_functions() WHERE function_name = ? LIMIT 1"
    if connection.execute(taken, [function.name]).fetchone():
        raise StageError(f"{field}.name", f"{function.name!r} is a function of DuckDB", "choose another name")
    try:
        connection.create_function(
            function.name,
            of_arity(code, len(kinds)),
            kinds,
            returns,
            type="arrow",
            null_handling="special",
            side_effects=not function.deterministic,
        )
    except duckdb.Error as error:
        raise explained(error, field) from None


def nulls(arity: int) -> Callable[..., Any]:
    """Stands for a function where queries are looked at and not run."""
    import pyarrow as pa

    return lambda *arrays: pa.nulls(len(arrays[0]) if arity else 1)


def of_arity(code: Callable[..., Any], arity: int, *, annotated: bool = False) -> Callable[..., Any]:
    """The function with as many arguments as it has types, which engines count. Spark asks for annotations too."""
    import pyarrow as pa

    def call(*arrays: Any) -> Any:
        return code(*arrays)

    kind = pa.Array if annotated else inspect.Parameter.empty
    names = [inspect.Parameter(f"a{nth}", inspect.Parameter.POSITIONAL_ONLY, annotation=kind) for nth in range(arity)]
    call.__signature__ = inspect.Signature(names, return_annotation=kind)  # type: ignore[attr-defined]
    call.__annotations__ = {name.name: kind for name in names} | {"return": kind} if annotated else {}
    return call


def arguments(
    code: Callable[..., Any], relation: Relation, relations: Collection[str], field: str
) -> tuple[dict[str, str], Mapping[str, Any]]:
    """What a function is called with: names of arguments → names of relations, and → values.

    Raises:
        StageError: an argument is neither a relation nor a parameter.
    """
    try:
        signature = inspect.signature(code)
    except (TypeError, ValueError) as error:
        raise StageError(
            f"{field}.function", f"has no arguments that can be read: {error}", "name a function"
        ) from None
    frames: dict[str, str] = {}
    values: dict[str, Any] = {}
    missing = []
    for name, argument in signature.parameters.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        if name in relations:
            frames[name] = name
        elif name in relation.values:
            values[name] = relation.values[name]
        else:
            missing.append(argument)
    required = [argument for argument in missing if argument.default is argument.empty]
    if not frames and required and relation.reads:
        frames[required.pop(0).name] = relation.reads[0]
    if required:
        known = ", ".join([*relations, *relation.values]) or "none"
        raise StageError(
            f"{field}.function",
            f"its argument {required[0].name!r} is no relation and no parameter",
            f"name it after one of {known}",
        )
    return frames, values
