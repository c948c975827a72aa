"""What a job's link knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

USED = ("cpu_seconds", "wall_seconds", "gpu_seconds")
"""What a run is told of what its process used: fields of `TaskUsage`."""


@dataclass(slots=True)
class Linked:
    """A run that is a process of the job."""

    task: int
    attempt: int
    started: bool = False
    overdue_at: datetime | None = None
    """When its job is asked for, which its client has still to submit; None once that was done, or is not needed."""


@dataclass(slots=True)
class Links:
    """Of one job."""

    runs: dict[str, Linked] = field(default_factory=dict)
    """Those whose processes have not ended."""
