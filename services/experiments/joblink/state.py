"""What a job's link knows."""

from __future__ import annotations

from dataclasses import dataclass, field

USED = ("cpu_seconds", "wall_seconds", "gpu_seconds")
"""What a run is told of what its process used: fields of `TaskUsage`."""


@dataclass(slots=True)
class Linked:
    """A run that is a process of the job."""

    task: int
    attempt: int
    started: bool = False


@dataclass(slots=True)
class Links:
    """Of one job."""

    runs: dict[str, Linked] = field(default_factory=dict)
    """Those whose processes have not ended."""
