"""What is wrong with a pipeline's schedule, in words of its fields."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.common import FieldError
from events.language.pipelines.clock.ticks import ScheduleError, check
from events.language.pipelines.schedule import Schedule
from events.language.pipelines.sla import Sla


def problems(schedule: Schedule | None, sla: Sla | None = None, path: str = "spec") -> Sequence[FieldError]:
    """All problems; none if it can be computed."""
    found = []
    if schedule is None:
        if sla is not None and sla.finish_by:
            found.append(
                FieldError(
                    field=f"{path}.sla.finish_by",
                    problem="needs a schedule: it is about the run of a tick",
                    hint="give the pipeline a schedule, or write finish_within_seconds",
                )
            )
        return found
    try:
        check(schedule)
    except ScheduleError as error:
        found.append(FieldError(field=f"{path}.schedule.{error.field}", problem=error.problem, hint=error.hint))
    return found
