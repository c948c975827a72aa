"""Who is told of a pipeline, and when."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from events.language.deployments.alerts import AlertChannel

MAX_CHANNELS = 16
"""Most channels of a pipeline, or of a dataset."""


class PipelineMoment(StrEnum):
    """What a channel is told of."""

    RUN_FAILED = "run_failed"
    RUN_COMPLETED = "run_completed"
    SLA_MISSED = "sla_missed"
    """A promise in time was not kept."""
    QUALITY_BREACHED = "quality_breached"
    """A rule of a severity above ``info`` is breached by what a stage made, or read."""
    SCHEDULE_BROKEN = "schedule_broken"
    """The schedule can't be computed any more."""


TOLD_OF = frozenset(PipelineMoment) - {PipelineMoment.RUN_COMPLETED}
"""What a channel is told of that names nothing itself: whatever goes wrong."""


class PipelineNotification(AlertChannel):
    """Someone to tell."""

    when: tuple[PipelineMoment, ...] = Field(default=(), max_length=5)
    """Of what it is told; of all that goes wrong when empty."""

    def wants(self, moment: PipelineMoment) -> bool:
        return moment in (self.when or TOLD_OF)


def check_channels(channels: Sequence[AlertChannel]) -> None:
    """Raises ValueError for two of one name."""
    names = [channel.name for channel in channels]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"notifications has the name {twice!r} twice; give each channel its own")
