"""Commands to queues."""

from __future__ import annotations

from typing import Annotated, ClassVar

from events.language.base import Command
from events.language.common import Identifier
from events.language.planned import Planned
from events.language.scheduling.models import (
    PLANNED_POLICIES,
    QueueStatus,
    SchedulingPolicy,
)


class SchedulingCommand(Command):
    context: ClassVar[str] = "scheduling"
    aggregate: ClassVar[str] = "queue"
    subject_from: ClassVar[str] = "queue"
    key_from: ClassVar[str] = "queue"

    queue: Identifier


class CreateQueue(SchedulingCommand):
    """Make a queue, with its policy (fifo or priority). `default` is always there, and so is the queue of every pool
    that has nodes."""

    policy: Annotated[SchedulingPolicy, Planned("the engine of that policy", values=frozenset(PLANNED_POLICIES))] = (
        SchedulingPolicy.PRIORITY
    )


class DeleteQueue(SchedulingCommand):
    """Delete a queue that has no jobs and whose pool has no nodes."""


class ConfigureQueue(SchedulingCommand):
    """Set a queue's policy (fifo or priority) and status."""

    policy: Annotated[
        SchedulingPolicy | None, Planned("the engine of that policy", values=frozenset(PLANNED_POLICIES))
    ] = None
    status: QueueStatus | None = None
