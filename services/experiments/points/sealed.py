"""What is sealed of a run's points: their number and digest, and a summary of each series."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.experiments.points.reading import PointTables, StoredSeries
    from services.experiments.points.tally import Tally

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def sealable(tables: PointTables, run: str) -> tuple[dict[str, Any], bytes]:
    """The fields of `SealedPoints` but for the summary, and the bytes of that; none if there are no points."""
    wanted = await tables.series([run])
    tallies = await tables.tallies(wanted)
    series, points, digest = await tables.digest(run)
    arrived = max((each.arrived_to for each in tallies.values()), default=None)
    fields = {
        "series": series,
        "points": points,
        "digest": digest,
        "arrived_to": None if arrived is None else _EPOCH + timedelta(milliseconds=arrived),
    }
    return fields, summary(wanted, tallies) if points else b""


def summary(wanted: list[StoredSeries], tallies: dict[int, Tally]) -> bytes:
    """JSON of all series, the same wherever the same points are. What is no number in JSON is a word."""
    told = [
        {
            **each.name._asdict(),
            "count": tally.count,
            "nans": tally.nans,
            "first_step": tally.first_step,
            "step": tally.last_step,
            "time": tally.last_time,
            "value": _number(tally.last_value),
            "min": _number(tally.low),
            "min_step": tally.low_step,
            "max": _number(tally.high),
            "max_step": tally.high_step,
        }
        for each in wanted
        if (tally := tallies.get(each.number)) is not None
    ]
    return json.dumps({"series": told}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
