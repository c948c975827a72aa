"""How events change what a job's link knows."""

from __future__ import annotations

from events.language.base import Event
from events.language.experiments import JobLinked, LinkedProcessEnded, LinkedProcessStarted
from services.experiments.joblink.state import Linked, Links


def evolve(state: Links, event: Event) -> Links:
    """The state after an event; the state is changed in place."""
    match event:
        case JobLinked():
            state.runs[event.run_id] = Linked(event.task, event.attempt)
        case LinkedProcessStarted():
            state.runs[event.run_id].started = True
        case LinkedProcessEnded():
            del state.runs[event.run_id]
    return state
