"""Bounds at a time: the policy's, or those of the schedule that holds. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from events.language.deployments.scaling import AutoScalingPolicy, ScalingSchedule


class Bounds(NamedTuple):
    low: int
    high: int
    schedule: str
    """Empty: none holds."""


def bounds_at(policy: AutoScalingPolicy, at: datetime) -> Bounds:
    """The bounds that hold at a time. Of several schedules the last one counts."""
    for schedule in reversed(policy.schedules):
        if holds(schedule, at):
            return Bounds(*policy.bounds(schedule), schedule.name)
    return Bounds(policy.min_replicas, policy.max_replicas, "")


def holds(schedule: ScalingSchedule, at: datetime) -> bool:
    """Whether the last begin is no longer ago than the schedule lasts. Begins and ends are to the second."""
    zone = ZoneInfo(schedule.zone)
    just_after = at.astimezone(zone).replace(microsecond=0) + timedelta(seconds=1)
    begins = next(CronSim(schedule.cron, just_after, reverse=True), None)
    return begins is not None and (at - begins).total_seconds() < schedule.duration_seconds
