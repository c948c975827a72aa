"""What a run remembers of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from events.language.experiments import Process, RunStatus


@dataclass(slots=True)
class Run:
    """A run as its events tell it."""

    status: RunStatus | None = None
    """None until it is created."""
    project: str = ""
    name: str = ""
    process: Process | None = None
    admitted: bool = False
    refused: bool = False
    """Whether no experiment takes it."""
    reason: str = ""
    """Why it ended so."""
    deleted: bool = False
    process_ended: bool = False
    params: dict[str, str] = field(default_factory=dict)
    """Each keeps its first value."""
