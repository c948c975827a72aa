"""What is wrong with a pipeline's schedule, in words of its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from events.language.common import FieldError
from events.language.pipelines.clock.ticks import ScheduleError, check
from events.language.pipelines.parameters import ParameterSpec
from events.language.pipelines.schedule import Schedule
from events.language.pipelines.sla import Sla
from events.language.pipelines.triggers import Trigger


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


def unfilled(
    parameters: Mapping[str, ParameterSpec], schedule: Schedule | None, triggers: Sequence[Trigger]
) -> Sequence[FieldError]:
    """Parameters that a run by the clock or by a trigger would lack: nobody is there to give them."""
    if schedule is None and not triggers:
        return []
    return [
        FieldError(
            field=f"spec.parameters.{name}.default",
            problem="is not given, and a run by the schedule or a trigger needs one",
            hint="give a default, or leave required out",
        )
        for name, spec in parameters.items()
        if spec.required and spec.default is None
    ]


def triggers_named(triggers: Sequence[Trigger]) -> Sequence[FieldError]:
    """Triggers that have the name of another one."""
    names = [trigger.name for trigger in triggers]
    return [
        FieldError(
            field=f"spec.triggers[{number}].name", problem=f"is {name!r}, as another one", hint="give another name"
        )
        for number, name in enumerate(names)
        if name in names[:number]
    ]
