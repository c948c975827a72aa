"""Commands of pipelines. One aggregate decides all of them: the pipeline."""

from __future__ import annotations

from typing import ClassVar

from events.language.base import Command
from events.language.common import Identifier, OptionalIdentifier
from events.language.pipelines.pipeline import Note, PipelineName, PipelineSpec, Reason


class PipelineCommand(Command):
    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline"
    subject_from: ClassVar[str] = "pipeline_id"
    key_from: ClassVar[str] = "pipeline_id"


class DefinePipeline(PipelineCommand):
    """Make a pipeline, or a new version of it, which later runs have. A name is given once in a project; that of a
    retired pipeline is free. `pipeline_id` follows from name and project, and may be left out."""

    assigns_id: ClassVar[bool] = True
    named_by: ClassVar[str] = "name"

    pipeline_id: OptionalIdentifier = ""
    name: PipelineName
    spec: PipelineSpec
    note: Note = ""
    """What the version is for, for people."""
    parent: OptionalIdentifier = ""
    """The pipeline that it was made from, if it was copied from another one."""


class OfPipeline(PipelineCommand):
    pipeline_id: Identifier


class ActivatePipeline(OfPipeline):
    """Let a pipeline run by its schedule and triggers from here on."""


class PausePipeline(OfPipeline):
    """Start no run of a pipeline until it is resumed. Runs under way go on; new ones are queued."""

    reason: Reason = ""


class ResumePipeline(OfPipeline):
    """Go on with a pipeline that is paused."""


class RetirePipeline(OfPipeline):
    """End a pipeline: it runs no more, and its runs are cancelled. Its history stays, its name is free."""

    reason: Reason = ""
