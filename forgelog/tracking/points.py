"""Points as the platform takes them: a batch of one run, with columns for each series."""

from __future__ import annotations

import sys
from typing import Any

from forgelog.tracking.segments import MOST_PAIRS, Columns, Point, Reader

MOST_POINTS = 10_000
"""Of a batch."""
MOST_BYTES = 900_000
"""About; a batch has at most 1,000,000."""


class Batch:
    """Points of a run, in the order in which they were logged."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.columns: Columns = {}

    @classmethod
    def read(cls, run_id: str, reader: Reader) -> Batch:
        """What a segment has next, as much of it as a batch holds."""
        batch = cls(run_id)
        reader.more(batch.columns, MOST_POINTS - MOST_PAIRS, MOST_BYTES // 2)
        return batch

    @property
    def count(self) -> int:
        return sum(len(steps) for steps, _, _ in self.columns.values())

    def message(self, made: Any) -> Any:
        """Fill a `PointBatch`, and return it."""
        made.run_id = self.run_id
        for (key, model_id, dataset), columns in self.columns.items():
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
            for series, columns in self.columns.items()
            for step, time, value in zip(*columns, strict=True)
        ]
