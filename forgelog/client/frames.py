"""Answers as frames: what lists of the client can be turned into. Imports neither pandas nor polars until asked to.

A frame has a column for each field. A map or a part of an answer becomes a column for each of its keys
(``params.lr``, ``metrics.loss``), which is empty for a row that lacks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from forgelog.client.packing import EPOCH
from forgelog.client.plain import Answer
from forgelog.errors import InvalidInput

if TYPE_CHECKING:
    import pandas
    import polars

R = TypeVar("R", bound=Answer)


class Rows(list[R]):
    """A list of answers that can be had as a frame."""

    def to_pandas(self) -> pandas.DataFrame:
        """A frame of pandas, a row for each answer; times have their zone. Raises `InvalidInput` if pandas is not
        installed."""
        frame: pandas.DataFrame = _library("pandas").DataFrame(self.columns())
        return frame

    def to_polars(self) -> polars.DataFrame:
        """A frame of polars, a row for each answer; times have their zone. Raises `InvalidInput` if polars is not
        installed."""
        frame: polars.DataFrame = _library("polars").DataFrame(self.columns(), strict=False)
        return frame

    def columns(self) -> dict[str, list[Any]]:
        """The columns of a frame: name → a value for each row, None where a row has none. The columns of one field
        stand together, in the order in which they first come."""
        fields: dict[str, dict[str, list[Any]]] = {}
        for index, row in enumerate(self):
            for field, value in row.items():
                group = fields.setdefault(field, {})
                for name, each in _flat(field, value):
                    group.setdefault(name, [None] * len(self))[index] = each
        return {name: column for group in fields.values() for name, column in group.items()}


class Curves(Rows[Answer]):
    """Curves; a frame of them has a row for each point."""

    def columns(self) -> dict[str, list[Any]]:
        """`run_id`, `key`, `model_id`, `dataset`, `step`, `time` and `value` of each point."""
        names: dict[str, list[Any]] = {name: [] for name in ("run_id", "key", "model_id", "dataset")}
        steps: list[int] = []
        times: list[datetime] = []
        values: list[float] = []
        for curve in self:
            for name, column in names.items():
                column += [curve[name]] * len(curve["values"])
            steps += curve["steps"]
            times += [EPOCH + timedelta(milliseconds=time) for time in curve["times"]]
            values += curve["values"]
        return {**names, "step": steps, "time": times, "value": values}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, each in value.items():
        yield from _flat(f"{name}.{key}", each)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InvalidInput(f"{name} is not installed; pip install 'forgelog[{name}]' (or {name})") from None
