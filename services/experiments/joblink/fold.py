"""How events change what a job's link knows."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.language.base import Event
from events.language.experiments import JobLinked, LinkedProcessEnded, LinkedProcessStarted
from services.experiments.joblink.state import Linked, Links

OVERDUE = timedelta(hours=1)
"""For so long a client may take from the beginning of a run to the submission of its job: it captures the code then."""


def evolve(state: Links, event: Event, time: datetime) -> Links:
    """The state after an event; the state is changed in place."""
    match event:
        case JobLinked():
            overdue_at = time + OVERDUE if event.scheduled else None
            state.runs[event.run_id] = Linked(event.task, event.attempt, overdue_at=overdue_at)
        case LinkedProcessStarted():
            state.runs[event.run_id].started = True
            state.runs[event.run_id].overdue_at = None
        case LinkedProcessEnded():
            del state.runs[event.run_id]
    return state
