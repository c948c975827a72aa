"""What a logged model remembers of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from events.language.experiments.logged_models import LoggedModelStatus


@dataclass(slots=True)
class Logged:
    """A logged model as its events tell it."""

    status: LoggedModelStatus | None = None
    """None until it is created."""
    placed: bool = False
    """Whether it is known if an experiment takes it."""
    refused: bool = False
    """Whether no experiment takes it."""
    reason: str = ""
    """Why it failed."""
    experiment_id: str = ""
    """Empty until an experiment has taken it."""
    deleted_at: datetime | None = None
    purged: bool = False
    params: dict[str, str] = field(default_factory=dict)
    """Each keeps its first value."""
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path → digest of the file."""
    folders: dict[str, int] = field(default_factory=dict)
    """Path → how many files are in it, at any depth."""

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None
