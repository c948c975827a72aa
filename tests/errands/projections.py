"""The table of errands."""

from __future__ import annotations

from collections.abc import Iterable

from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Rows, Table

from .language import ErrandAccepted, ErrandAsked, ErrandEnded, ErrandEvent, ErrandStarted

ERRANDS = Table(name="errands", key=("errand_id",), columns={"errand_id": "text", "job_id": "text", "status": "text"})


class ErrandsProjection(Projection):
    context = "errands"
    tables = (ERRANDS,)

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        if isinstance(recorded.data, ErrandEvent):
            yield ERRANDS, (recorded.key,)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event = recorded.data
        if isinstance(event, ErrandAsked):
            rows.put(ERRANDS, {"errand_id": event.errand_id, "job_id": event.job_id, "status": "asked"})
        elif isinstance(event, ErrandAccepted | ErrandStarted | ErrandEnded):
            row = rows.get(ERRANDS, (event.errand_id,))
            assert row is not None
            status = "accepted" if isinstance(event, ErrandAccepted) else "started"
            if isinstance(event, ErrandEnded):
                status = event.outcome.value
            rows.put(ERRANDS, {**row, "status": status})


PROJECTION = ErrandsProjection()
