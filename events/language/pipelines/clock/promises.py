"""When an SLA is missed: instants, from the schedule and from when a run was due. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.language.pipelines.clock.ticks import last_tick, next_tick
from events.language.pipelines.schedule import Schedule
from events.language.pipelines.sla import Sla, SlaKind

_MOMENT = timedelta(microseconds=1)


def run_deadline(sla: Sla, kind: SlaKind, due: datetime) -> datetime | None:
    """Until when a run that was due at a time has to start or to be completed; None: the SLA does not say."""
    seconds = {
        SlaKind.START_WITHIN: sla.start_within_seconds,
        SlaKind.FINISH_WITHIN: sla.finish_within_seconds,
        SlaKind.FINISH_BY: None,
    }[kind]
    return None if seconds is None else due + timedelta(seconds=seconds)


def tick_deadline(sla: Sla, schedule: Schedule, judged: datetime) -> datetime | None:
    """By when the first tick after `judged` has to be completed: the next `finish_by` after it. `judged` is the newest
    tick that was completed or missed. Raises ScheduleError."""
    if not sla.finish_by:
        return None
    tick = next_tick(schedule, judged)
    return None if tick is None else next_tick(_daily(sla, schedule), tick)


def missed_tick(sla: Sla, schedule: Schedule, now: datetime) -> tuple[datetime, datetime] | None:
    """The tick that the last `finish_by` up to `now` is about (the last one before it), and that deadline."""
    deadline = last_tick(_daily(sla, schedule), now) if sla.finish_by else None
    if deadline is None:
        return None
    tick = last_tick(schedule, deadline - _MOMENT)
    return None if tick is None else (tick, deadline)


def _daily(sla: Sla, schedule: Schedule) -> Schedule:
    """A schedule that fires each day at `finish_by`."""
    hour, minute = sla.finish_by.split(":")
    return Schedule(cron=f"{int(minute)} {int(hour)} * * *", timezone=schedule.timezone)
