"""What a pipeline remembers of itself."""

from __future__ import annotations

from dataclasses import dataclass

from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.pipeline import PipelineSpec


@dataclass(slots=True)
class Pipeline:
    """A pipeline as its events tell it."""

    status: PipelineStatus | None = None
    """None until it is defined."""
    name: str = ""
    project: str = ""
    version: int = 0
    """The newest one. Numbers go on when a retired pipeline's name is used again."""
    spec: PipelineSpec | None = None
    """Of the newest version."""
    parent: str = ""
