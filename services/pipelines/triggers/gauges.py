"""How far windows over event time are, as metrics. A background: the tables say it, whichever process decides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from prometheus_client import Gauge

from events.hosting import Answering
from events.queries.following import LATER, moved

EVERY_SECONDS = 15.0
"""Shortest time between two looks."""

_NAMES = ["pipeline", "stage", "input"]

watermark = Gauge(
    "forgelog_stream_watermark_seconds", "Event time up to which windows are complete, since 1970", _NAMES
)
open_windows = Gauge("forgelog_stream_open_windows", "Windows that have rows and are not complete", _NAMES)
held_rows = Gauge("forgelog_stream_held_rows", "Rows kept for windows that are open or may be updated", _NAMES)
late_rows = Gauge("forgelog_stream_late_rows", "Rows that came after their window was complete, of all batches", _NAMES)
_GAUGES = (watermark, open_windows, held_rows, late_rows)

Labels = tuple[str, str, str]

_QUERY = """
    select pipeline_id, jsonb_array_elements(stream_progress) as stream from pipelines
    where retired_at is null and stream_progress <> '[]'::jsonb
"""


async def measure_streams(answering: Answering) -> None:
    """Run until cancelled. Looks when events have come, and not else."""
    runner, shown = answering.read.runner, set[Labels]()
    while True:
        try:
            seen = dict(runner.positions)
            async with answering.read.view() as db:
                rows = await db.fetch(_QUERY)
            shown = show(((row["pipeline_id"], row["stream"]) for row in rows), shown)
            await asyncio.sleep(EVERY_SECONDS)
            await moved(runner, seen)
        except LATER:
            await asyncio.sleep(EVERY_SECONDS)


def show(streams: Iterable[tuple[str, Any]], before: set[Labels]) -> set[Labels]:
    """Set the gauges of streams, each with its pipeline, and take those away that are no more; which there are now."""
    now = set()
    for pipeline, stream in streams:
        labels = (pipeline, stream["stage_id"], stream["input"])
        now.add(labels)
        if stream["watermark"] is None:
            watermark.remove(*labels)
        else:
            watermark.labels(*labels).set(datetime.fromisoformat(stream["watermark"]).timestamp())
        open_windows.labels(*labels).set(stream["open_windows"])
        held_rows.labels(*labels).set(stream["held_rows"])
        late_rows.labels(*labels).set(stream["late_rows"])
    for labels in before - now:
        for gauge in _GAUGES:
            gauge.remove(*labels)
    return now
