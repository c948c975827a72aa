"""How tasks become ready: the event that puts them into their queue. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from events.language.jobs import MAX_REASON, JobQueued
from events.language.jobs.spec import JobSpec
from events.language.task_ranges import format_ranges
from services.jobs.state import Job


def queued(
    job: Job,
    spec: JobSpec,
    tasks: Iterable[int],
    attempt: int,
    *,
    not_before: datetime | None = None,
    reason: str = "",
    counted: bool = False,
) -> JobQueued:
    """The event for tasks that become ready, with the parts of the spec that scheduling and the agents need."""
    submitted_at = job.submitted_at
    assert submitted_at is not None
    # The parts are given as data, to be validated with the whole: a submit's decision takes a tenth longer with models.
    request: Any = {
        "queue": spec.queue,
        "priority": spec.priority,
        "submitted_at": submitted_at,
        "name": spec.metadata.name,
        "labels": spec.metadata.labels,
        "resources": spec.resources,
        "scheduling": spec.scheduling,
        "max_parallel": spec.array.max_parallel if spec.array else None,
    }
    launch: Any = {
        "name": spec.metadata.name,
        "command": spec.command,
        "args": spec.args,
        "environment": spec.environment,
        "array_size": spec.array.size if spec.array else 1,
        "grace_seconds": spec.scheduling.grace_seconds,
        "max_runtime_seconds": spec.scheduling.max_runtime_seconds,
        "keep": spec.keep,
        "service": spec.service,
    }
    return JobQueued(
        job_id=job.job_id,
        project=job.project,
        owner=job.owner,
        tasks=format_ranges(tasks),
        attempt=attempt,
        not_before=not_before,
        reason=reason[:MAX_REASON],
        counted=counted,
        request=request,
        launch=launch,
    )
