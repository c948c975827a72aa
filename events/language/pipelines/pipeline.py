"""What a pipeline is: the values that a user gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.pipelines.stages import Description, StageSpec

MAX_STAGES = 1_000
"""Most stages of a pipeline."""

PipelineName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?$", max_length=57),
    Field(examples=["daily-sales"]),
]
"""1 to 57 lower-case letters, digits and hyphens, no hyphen at an end. A name is given once in a project."""

VersionNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which version of its pipeline; the first is 1."""

MAX_REASON = 1_000
"""Most characters of a reason."""

Reason = Annotated[str, StringConstraints(max_length=MAX_REASON)]

Note = Annotated[str, StringConstraints(max_length=4_000)]

Tag = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class PipelineSpec(Model):
    """A pipeline: its stages, and how they are run."""

    description: Description = ""
    stages: tuple[StageSpec, ...] = Field(min_length=1, max_length=MAX_STAGES)
    """In any order: what a stage waits for says when it begins."""
    tags: tuple[Tag, ...] = Field(default=(), max_length=100)
    """For people, and for lists."""
