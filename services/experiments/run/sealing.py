"""When the points of a run are sealed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import PLATFORM_ACTOR
from events.language.experiments import ENDED
from events.language.experiments.sealing import RunPointsSealed, SealPoints
from events.writer.decider import DecisionContext
from services.experiments.refusals import denied
from services.experiments.run.state import Run


def sealed(state: Run, command: SealPoints, context: DecisionContext) -> Sequence[Event]:
    """The seal of the run's present end; nothing if it is sealed, or goes on by now. A deleted run is sealed too.
    Raises Refused."""
    if context.actor != PLATFORM_ACTOR:
        problem = "the platform itself seals the points of a run"
        raise denied("run_id", problem, "wait: it does so some time after the run's end")
    if state.status not in ENDED or command.end_number != state.ends or state.sealed == command.end_number:
        return ()
    return [RunPointsSealed(run_id=command.run_id, end_number=command.end_number, sealed=command.sealed)]
