"""Relations as the frames that functions take, and what functions give back as relations."""

from __future__ import annotations

import json
from typing import Any

from events.language.pipelines.transformations import FrameType
from events.language.pipelines.work import MAX_VALUE
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.problems import StageError, needs_extra

BATCH_ROWS = 100_000
"""Rows of one batch of `FrameType.READER`."""


def frame(connection: Any, name: str, kind: FrameType, field: str) -> Any:
    """A relation of DuckDB as a frame.

    Raises:
        StageError: the frame's library is not installed, or is another engine's.
    """
    relation = connection.table(name)
    match kind:
        case FrameType.NARWHALS:
            return _narwhals().from_native(relation)
        case FrameType.ARROW:
            return relation.to_arrow_table(BATCH_ROWS)
        case FrameType.READER:
            return relation.to_arrow_reader(BATCH_ROWS)
        case FrameType.POLARS:
            _needs("polars", "polars")
            return relation.pl(lazy=True)
        case FrameType.PANDAS:
            _needs("pandas", "pandas")
            return relation.df()
        case FrameType.RELATION:
            return relation
    raise StageError(f"{field}.frame", f"{str(kind)!r} needs the engine spark", "choose another frame or engine")


def take(connection: Any, name: str, result: Any, field: str) -> str:
    """Makes the relation `name` of a function's result. Returns the query over relations that it is, else nothing.

    Takes frames of narwhals, DuckDB's relations, tables and readers of pyarrow, frames of Polars and pandas, and lists:
    of dicts (rows) or of plain values (one column, ``value``).
    """
    native = as_native(result)
    if _kind(native) == "duckdb.DuckDBPyRelation":
        text: str = native.sql_query()
        native.create_view(name, replace=False)
        return text
    if native is None:
        raise StageError(field, "gave nothing back", "return a frame")
    # A table, not a view: a reader can be read once, and it may be larger than memory. Another connection to the same
    # database makes it, since the reader may read from this one.
    with connection.cursor() as writer:
        writer.register("_taken", as_arrow(native, field))
        writer.execute(f"CREATE TABLE {quoted(name)} AS SELECT * FROM _taken")
    return ""


def value_of(result: Any, field: str) -> str | None:
    """A plain value (a truth, a number, a text, a dict) as JSON; None of all else, which may be a frame.

    Raises:
        StageError: a dict has what JSON has not, or the JSON is too long.
    """
    native = as_native(result)
    if _kind(native).startswith("numpy.") and getattr(native, "ndim", 1) == 0:
        native = native.item()
    if not isinstance(native, bool | int | float | str | dict):
        return None
    try:
        text = json.dumps(native, allow_nan=False)
    except RecursionError:
        raise StageError(field, "gave a value that is nested too deeply", "return a flatter one, or a frame") from None
    except (TypeError, ValueError) as error:
        raise StageError(field, f"gave a value that is no JSON: {error}", "return plain values, or a frame") from None
    if len(text) > MAX_VALUE:
        problem = f"gave a value of {len(text):,} characters as JSON, and at most {MAX_VALUE:,} are handed on"
        raise StageError(field, problem, "return a frame")
    return text


def as_arrow(native: Any, field: str) -> Any:
    """A table or a reader of pyarrow of what a function gave."""
    import pyarrow as pa

    kind = _kind(native)

    if kind in ("pyarrow.Table", "pyarrow.RecordBatchReader"):
        return native
    if kind == "pyarrow.RecordBatch":
        return pa.Table.from_batches([native])
    if kind == "polars.LazyFrame":
        return native.collect().to_arrow()
    if kind == "polars.DataFrame":
        return native.to_arrow()
    if kind == "pandas.DataFrame":
        return _converted(lambda: pa.Table.from_pandas(native, preserve_index=False), field)
    if isinstance(native, list | tuple):
        rows = list(native)
        if rows and all(isinstance(row, dict) for row in rows):
            names = list(dict.fromkeys(name for row in rows for name in row))
            return _converted(lambda: pa.table({name: pa.array([r.get(name) for r in rows]) for name in names}), field)
        if rows:
            return _converted(lambda: pa.table({"value": pa.array(rows)}), field)
        raise StageError(field, "gave an empty list, which has no columns", "return an empty table with columns")
    raise StageError(field, f"gave {kind}", "return a frame of narwhals, Arrow, Polars or pandas, a relation or a list")


def _converted(make: Any, field: str) -> Any:
    import pyarrow as pa

    try:
        return make()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise StageError(field, f"gave values that are no columns: {error}", "give each column one type") from None


def as_native(result: Any) -> Any:
    """A frame of narwhals as the one below it; all else as it is."""
    if type(result).__module__.partition(".")[0] == "narwhals":
        return _narwhals().to_native(result)
    return result


def _kind(native: Any) -> str:
    """The package and the class of a frame."""
    return f"{type(native).__module__.partition('.')[0].lstrip('_')}.{type(native).__name__}"


def _narwhals() -> Any:
    try:
        import narwhals
    except ImportError:
        raise needs_extra("narwhals") from None
    return narwhals


def _needs(module: str, extra: str) -> None:
    try:
        __import__(module)
    except ImportError:
        raise needs_extra(module, extra) from None
