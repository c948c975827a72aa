"""What a project's datasets are, as their events tell it."""

from __future__ import annotations

from dataclasses import dataclass, field

from events.language.experiments.registry import VersionStatus


@dataclass(slots=True)
class Version:
    """A version as its events tell it."""

    name: str
    number: int
    digest: str
    managed: bool
    status: VersionStatus = VersionStatus.PENDING
    reason: str = ""
    """Why it is damaged."""
    check: int = 0
    """The newest look at its files that was asked for."""
    checking: list[int] = field(default_factory=list)
    """Looks at its files without an outcome."""


@dataclass(slots=True)
class Datasets:
    """Of one project."""

    versions: dict[str, Version] = field(default_factory=dict)
    contents: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name → digest → id."""
