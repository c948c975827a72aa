"""A template's life. Pure.

DefinePipelineTemplate ─► PipelineTemplateDefined, a revision
RatePipelineTemplate ─► PipelineTemplateRated; DeletePipelineTemplate ─► PipelineTemplateDeleted
UsePipelineTemplate ─► PipelineTemplateUsed, of which the pipeline makes what it is (`pipeline.defining`)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from events.language.base import Command, Event
from events.language.common import ErrorCode, Refused, absent, refused
from events.language.pipelines.checks import summary
from events.language.pipelines.template_uses import made, template_errors
from events.language.pipelines.templates import (
    DefinePipelineTemplate,
    DeletePipelineTemplate,
    PipelineTemplateDefined,
    PipelineTemplateDeleted,
    PipelineTemplateRated,
    PipelineTemplateSpec,
    PipelineTemplateUsed,
    RatePipelineTemplate,
    UsePipelineTemplate,
)
from events.language.ratings import is_news
from events.log.ids import named_id
from events.writer.decider import Decider, DecisionContext
from events.writer.dumps import Names
from services.pipelines.refusals import forbidden

_SHOWN = "forgelog pipeline template ls shows them"


@dataclass(slots=True)
class Template:
    """A template as its events tell it."""

    project: str = ""
    name: str = ""
    revision: int = 0
    """0: it was never defined."""
    spec: PipelineTemplateSpec | None = None
    ratings: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Who → stars and comment."""
    pipelines: Names = field(default_factory=set)
    """Ids of those that were made of it."""
    deleted: bool = False


class Templates(Decider[Template]):
    """The decider of templates; its key is the template's id."""

    context = "pipelines"
    aggregate = "pipeline_template"
    commands = (DefinePipelineTemplate, UsePipelineTemplate, RatePipelineTemplate, DeletePipelineTemplate)
    events = (PipelineTemplateDefined, PipelineTemplateUsed, PipelineTemplateRated, PipelineTemplateDeleted)

    def initial(self, key: str) -> Template:
        return Template()

    def evolve(self, state: Template, event: Event, time: datetime) -> Template:
        match event:
            case PipelineTemplateDefined():
                state.project, state.name, state.deleted = event.project, event.name, False
                state.revision, state.spec = event.revision, event.spec
            case PipelineTemplateRated():
                state.ratings[event.rater] = event.stars, event.comment
            case PipelineTemplateUsed():
                state.pipelines.add(event.pipeline_id)
            case PipelineTemplateDeleted():
                state.deleted = True
        return state

    def holds(self, state: Template, aggregate: str, id: str) -> bool:
        return aggregate != "template_use"

    def may_passivate(self, state: Template) -> bool:
        return True

    def decide(self, state: Template, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, DefinePipelineTemplate):
            return _defined(state, command, context)
        assert isinstance(command, UsePipelineTemplate | RatePipelineTemplate | DeletePipelineTemplate)
        id = command.template_id
        if state.spec is None or state.project != context.project:
            raise absent("template_id", f"there is no template {id!r} in this project", _SHOWN)
        if isinstance(command, DeletePipelineTemplate):
            return () if state.deleted else [PipelineTemplateDeleted(template_id=id)]
        if state.deleted:
            raise forbidden("template_id", f"template {id} is deleted", "take another one, or define it anew")
        if isinstance(command, RatePipelineTemplate):
            return _rated(state, command, context.actor)
        return [_used(state, state.spec, command, context)]


def _defined(state: Template, command: DefinePipelineTemplate, context: DecisionContext) -> Sequence[Event]:
    id, name = command.template_id, command.name
    if id != named_id(name, context.project):
        problem = f"is {id!r}, and template {name} has the id {named_id(name, context.project)}"
        raise refused(ErrorCode.INVALID_ARGUMENT, "template_id", problem, "leave it out")
    if errors := template_errors(command.spec):
        raise Refused(ErrorCode.INVALID_ARGUMENT, summary(errors, "the template"), errors)
    if state.spec == command.spec and not state.deleted:
        return []
    revision = state.revision + 1
    return [
        PipelineTemplateDefined(
            template_id=id, project=context.project, name=name, revision=revision, spec=command.spec
        )
    ]


def _rated(state: Template, command: RatePipelineTemplate, rater: str) -> Sequence[Event]:
    id = command.template_id
    if not is_news(state.ratings, rater, command.stars, command.comment, template=id):
        return []
    return [
        PipelineTemplateRated(
            template_id=id, rater=rater, revision=state.revision, stars=command.stars, comment=command.comment
        )
    ]


def _used(state: Template, spec: PipelineTemplateSpec, use: UsePipelineTemplate, context: DecisionContext) -> Event:
    if use.revision not in (0, state.revision):
        problem = f"revision {use.revision} of template {use.template_id} is not its newest, which is {state.revision}"
        raise forbidden("revision", problem, "look at that one, and give it, or leave it out")
    pipeline, errors = made(spec, use)
    if pipeline is None:
        raise Refused(ErrorCode.INVALID_ARGUMENT, summary(errors, "the use"), errors)
    id = named_id(use.name, context.project)
    return PipelineTemplateUsed(
        use_id=use.use_id,
        template_id=use.template_id,
        revision=state.revision,
        pipeline_id=id,
        project=context.project,
        name=use.name,
        spec=pipeline,
        note=use.note,
        first=id not in state.pipelines,
    )
