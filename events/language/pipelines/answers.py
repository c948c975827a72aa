"""Pipelines as queries answer them; their tables have these fields as columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, ProjectName, Timestamp
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.pipeline import PipelineSpec

_Count = Annotated[int, Field(ge=0, lt=1 << 31)]


class Pipeline(Model):
    """A pipeline, with its newest version."""

    pipeline_id: Identifier
    project: ProjectName
    name: str
    owner: str
    """Who defined its newest version."""
    status: PipelineStatus
    reason: str = ""
    """Why it is paused or retired."""
    version: _Count = 0
    """The number of its newest version."""
    spec: PipelineSpec
    note: str = ""
    parent: str = ""
    """The pipeline that it was made from; empty if it was copied from none."""
    stages: _Count = 0
    """How many stages it has."""
    created_at: Timestamp
    updated_at: Timestamp
    retired_at: Timestamp | None = None


class PipelineVersion(Model):
    """A version of a pipeline. It never changes."""

    pipeline_id: Identifier
    version: _Count
    project: ProjectName
    spec: PipelineSpec
    note: str = ""
    parent: str = ""
    author: str
    defined_at: Timestamp
