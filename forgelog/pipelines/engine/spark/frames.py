"""Spark's data frames as the frames that functions take, and what functions give back as data frames."""

from __future__ import annotations

from typing import Any

from events.language.pipelines.transformations import FrameType
from forgelog.pipelines.engine.frames import as_arrow, as_native
from forgelog.pipelines.problems import StageError, needs_extra


def frame(data: Any, kind: FrameType, field: str) -> Any:
    """A data frame of Spark as another one. All but narwhals' and Spark's are whole in the driver's memory."""
    match kind:
        case FrameType.SPARK:
            return data
        case FrameType.NARWHALS:
            import narwhals

            return narwhals.from_native(data)
        case FrameType.ARROW:
            return data.toArrow()
        case FrameType.PANDAS:
            return data.toArrow().to_pandas()
        case FrameType.POLARS:
            try:
                import polars
            except ImportError:
                raise needs_extra("polars", "polars") from None
            return polars.DataFrame(polars.from_arrow(data.toArrow())).lazy()
    raise StageError(f"{field}.frame", f"{str(kind)!r} needs the engine duckdb", "choose another frame or engine")


def taken(session: Any, result: Any, field: str) -> Any:
    """A function's result as a data frame of Spark."""
    native = as_native(result)
    if native is None:
        raise StageError(field, "gave nothing back", "return a frame")
    if type(native).__module__.startswith("pyspark.sql"):
        return native
    import pyarrow as pa

    table = as_arrow(native, field)
    return session.createDataFrame(table.read_all() if isinstance(table, pa.RecordBatchReader) else table)
