"""How a pipeline becomes what it is: by a definition, or of a template. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import ErrorCode, Refused, refused
from events.language.pipelines.checks import spec_errors, summary
from events.language.pipelines.commands import DefinePipeline
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.events import PipelineDefined
from events.language.pipelines.pipeline import TemplateRef
from events.language.pipelines.templates import PipelineTemplateApplied, PipelineTemplateUsed
from events.log.ids import named_id
from events.writer.decider import DecisionContext
from services.pipelines.pipeline.state import Pipeline


def defined(state: Pipeline, command: DefinePipeline, context: DecisionContext) -> Sequence[Event]:
    """What follows from a definition. Raises Refused."""
    id, name = command.pipeline_id, command.name
    if id != named_id(name, context.project):
        problem = f"is {id!r}, and pipeline {name} has the id {named_id(name, context.project)}"
        raise refused(ErrorCode.INVALID_ARGUMENT, "pipeline_id", problem, "leave it out")
    if errors := spec_errors(command.spec):
        raise Refused(ErrorCode.INVALID_ARGUMENT, summary(errors, "the pipeline"), errors)
    if _lives(state) and state.spec == command.spec:
        return []
    return [
        PipelineDefined(
            pipeline_id=id,
            project=context.project,
            name=name,
            pipeline_version=state.version + 1,
            spec=command.spec,
            note=command.note,
            parent=command.parent or state.parent,
            template=state.template if _lives(state) else None,
        )
    ]


def made(state: Pipeline, use: PipelineTemplateUsed) -> Sequence[Event]:
    """What follows from the use of a template. The template has refused what can't be."""
    template = TemplateRef(template_id=use.template_id, revision=use.revision)
    found, version = list[Event](), state.version
    if not _lives(state) or (state.spec, state.template) != (use.spec, template):
        version += 1
        found.append(
            PipelineDefined(
                pipeline_id=use.pipeline_id,
                project=use.project,
                name=use.name,
                pipeline_version=version,
                spec=use.spec,
                note=use.note,
                parent=state.parent,
                template=template,
            )
        )
    return [*found, PipelineTemplateApplied(use_id=use.use_id, pipeline_id=use.pipeline_id, pipeline_version=version)]


def _lives(state: Pipeline) -> bool:
    return state.status not in (None, PipelineStatus.CANCELLED)
