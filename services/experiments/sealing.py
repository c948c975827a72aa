"""Seals the points of runs: some time after a run's end, an event says how many points it has and their digest.

A background of the context (`events.hosting.Background`). The table `run_ends` has the ends that are not sealed yet.

1. Wait until the end is `seal_seconds` old: points may come after it.
2. Wait until all that the log has of the run is stored, and compute.
3. Put the summary into the object store, and publish `SealPoints`. Its id is derived from the end, so that several
   processes, or one that was killed behind the publishing, seal it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from events.hosting import Answering
from events.language.experiments.sealing import SealedPoints, SealPoints
from events.log.publish import Outgoing, Publisher
from events.objects.store import Objects
from forgelog_pb.query.v1 import options_pb2
from services.experiments.background import TABLES_MISSING, again_and_again, own_order
from services.experiments.points.answering import PointReader

LONGEST_LOOK = 5.0
"""Seconds between two looks for ends that are old enough."""
_AT_ONCE = 200
"""Ends of one look."""

_DUE = """
    select e.run_id, e.number, r.project from run_ends e join runs r using (run_id)
    where e.is_open and e.ended_at <= $1 and r.purged_at is null order by e.ended_at limit $2
"""


async def seal_points(answering: Answering) -> None:
    """Seal what is due, until cancelled."""
    worker = _Worker(answering)

    async def run() -> None:
        with suppress(*TABLES_MISSING):
            await worker.run()

    await again_and_again(run, worker.pause, "points of runs can't be sealed now")


class _Worker:
    def __init__(self, answering: Answering) -> None:
        (points,) = answering.intakes
        self._read = answering.read
        self._points = PointReader(answering.read, points)
        self._settings = answering.settings
        self._objects = Objects(answering.settings.objects_url)
        self._after = timedelta(seconds=answering.settings.seal_seconds)
        self.pause = min(LONGEST_LOOK, answering.settings.seal_seconds)
        self._published: set[tuple[str, int]] = set()
        """Ends whose seals Kafka has, and whose rows may not say so yet."""

    async def run(self) -> None:
        """Seal what is due. Raises what keeps it from that."""
        due = await self._due()
        if not due:
            return
        async with Publisher(self._settings) as publisher:
            while due:
                for row in due:
                    await publisher.publish_many([await self._sealed(row)])
                    self._published.add((row["run_id"], row["number"]))
                if len(due) < _AT_ONCE:
                    return
                due = await self._due()

    async def _due(self) -> Sequence[Any]:
        async with self._read.view() as db:
            rows = await db.fetch(_DUE, datetime.now(UTC) - self._after, _AT_ONCE + len(self._published))
        self._published &= {(row["run_id"], row["number"]) for row in rows}
        return [row for row in rows if (row["run_id"], row["number"]) not in self._published][:_AT_ONCE]

    async def _sealed(self, row: Any) -> Outgoing:
        from services.experiments.points.sealed import sealable

        run = row["run_id"]
        await self._points.completed(run)
        async with self._points.tables([run], options_pb2.ReadOptions()) as tables:
            fields, summary = await sealable(tables, run)
        ref = await self._objects.put(summary) if summary else None
        command = SealPoints(run_id=run, end_number=row["number"], sealed=SealedPoints(**fields, summary=ref))
        return own_order(command, f"{run}.seal{row['number']}", row["project"])
