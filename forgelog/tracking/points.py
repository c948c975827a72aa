"""Points as the platform takes them: a batch of one run, with columns for each series."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from typing import Any

from forgelog.tracking.segments import MOST_PAIRS, Point

MOST_POINTS = 10_000
"""Of a batch."""
MOST_BYTES = 900_000
"""About; a batch has at most 1,000,000."""

_POINT, _SERIES = 24, 16
"""Bytes of a point, and of a series beside its names."""


class Batch:
    """Points of a run, in the order in which they were logged."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.count = 0
        self._bytes = 0
        self._series: dict[tuple[str, str, str], tuple[array[int], array[int], array[float]]] = {}

    @property
    def full(self) -> bool:
        """Whether a further call may be too much."""
        return self.count > MOST_POINTS - MOST_PAIRS or self._bytes > MOST_BYTES // 2

    def add(self, points: Iterable[Point]) -> None:
        for series, step, time, value in points:
            columns = self._series.get(series)
            if columns is None:
                columns = self._series[series] = array("q"), array("q"), array("d")
                self._bytes += _SERIES + sum(len(name.encode()) for name in series)
            columns[0].append(step)
            columns[1].append(time)
            columns[2].append(value)
            self.count += 1
            self._bytes += _POINT

    def message(self, made: Any) -> Any:
        """Fill a `PointBatch`, and return it."""
        made.run_id = self.run_id
        for (key, model_id, dataset), columns in self._series.items():
            if sys.byteorder == "big":
                for column in columns:
                    column.byteswap()
            steps, times, values = (column.tobytes() for column in columns)
            made.series.add(key=key, model_id=model_id, dataset=dataset, steps=steps, times=times, values=values)
        return made

    def points(self) -> list[Point]:
        """All of them, series by series."""
        return [
            Point(series, step, time, value)
            for series, columns in self._series.items()
            for step, time, value in zip(*columns, strict=True)
        ]
