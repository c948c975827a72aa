"""A run is one process, and so is the job that it is."""

from __future__ import annotations

from events.language.common import invalid
from events.language.jobs.spec import JobSpec


def check_single(job: JobSpec | None, field: str) -> None:
    """Raises Refused for a job of many processes. `field`: the command's, that has it."""
    if job is not None and job.array is not None:
        hint = "leave it out, and launch a run for each, or tune"
        raise invalid(f"{field}.array", "is given, and a run is one process", hint)
