"""Events of pipelines. One aggregate decides all of them: the pipeline."""

from __future__ import annotations

from typing import ClassVar

from events.language.base import Event
from events.language.common import Identifier, OptionalIdentifier, ProjectName
from events.language.pipelines.pipeline import Note, PipelineName, PipelineSpec, Reason, TemplateRef, VersionNumber


class PipelineEvent(Event):
    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline"
    subject_from: ClassVar[str] = "pipeline_id"
    key_from: ClassVar[str] = "pipeline_id"

    pipeline_id: Identifier


class PipelineDefined(PipelineEvent):
    """There is this version of the pipeline from here on. Its author is who the pipeline acts for."""

    begins: ClassVar[bool] = True

    project: ProjectName
    name: PipelineName
    pipeline_version: VersionNumber
    spec: PipelineSpec
    note: Note = ""
    parent: OptionalIdentifier = ""
    template: TemplateRef | None = None
    """The template that the pipeline was made of, or made of last; None: of none."""


class PipelineActivated(PipelineEvent):
    """It runs by its schedule and triggers from here on."""


class PipelinePaused(PipelineEvent):
    """None of its runs is started from here on."""

    reason: Reason = ""


class PipelineResumed(PipelineEvent):
    """Its runs are started again."""


class PipelineRetired(PipelineEvent):
    """It runs no more."""

    reason: Reason = ""
