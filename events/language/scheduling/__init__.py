"""The language of scheduling: queue entries, placements, and why a job waits.

The aggregate is the queue; in the spine a queue schedules onto the resource pool of the same name. Scheduling only
proposes: resources, the single writer of a pool's capacity, binds or rejects a placement.
"""

from __future__ import annotations

from events.language.scheduling.commands import ConfigureQueue, CreateQueue, DeleteQueue, SchedulingCommand
from events.language.scheduling.events import (
    JobDeferred,
    JobDequeued,
    JobEnqueued,
    JobScheduled,
    JobUnscheduled,
    QueueConfigured,
    QueueCreated,
    QueueDeleted,
    SchedulingEvent_,
)
from events.language.scheduling.models import (
    PLANNED_POLICIES,
    PendingReason,
    Placement,
    QueueEntry,
    QueueStatus,
    SchedulingDecision,
    SchedulingPolicy,
)

__all__ = [
    "PLANNED_POLICIES",
    "ConfigureQueue",
    "CreateQueue",
    "DeleteQueue",
    "JobDeferred",
    "JobDequeued",
    "JobEnqueued",
    "JobScheduled",
    "JobUnscheduled",
    "PendingReason",
    "Placement",
    "QueueConfigured",
    "QueueCreated",
    "QueueDeleted",
    "QueueEntry",
    "QueueStatus",
    "SchedulingCommand",
    "SchedulingDecision",
    "SchedulingEvent_",
    "SchedulingPolicy",
]
