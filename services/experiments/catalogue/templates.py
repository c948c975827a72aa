"""The templates of a project: a name is given to one at a time, a version once. Pure.

SaveTemplate ─► TemplateSaved ─► ReviseTemplate ─► TemplateRevised …
CreateExperiment of a template ─► ExperimentCreated with what the template gives
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from events.language.base import Event
from events.language.common import absent, invalid, shown
from events.language.experiments import CreateExperiment, HyperparameterConfig
from events.language.experiments.practices import BestPractices
from events.language.experiments.templates import (
    DeleteTemplate,
    RateTemplate,
    ReviseTemplate,
    SaveTemplate,
    TemplateCommand,
    TemplateDeleted,
    TemplateEvent,
    TemplateRated,
    TemplateRevised,
    TemplateSaved,
)
from events.language.ratings import is_news
from events.writer.decider import DecisionContext
from services.experiments.catalogue.state import Catalogue, Template
from services.experiments.refusals import exhausted, exists, forbidden

MOST = 1_000
"""Templates of a project that are not deleted."""


def decided(state: Catalogue, command: TemplateCommand, context: DecisionContext) -> Sequence[Event]:
    """Raises Refused."""
    if isinstance(command, SaveTemplate):
        return [_saved(state, command)]
    project, id = command.project, command.subject()
    template = _known(state, id)
    if isinstance(command, DeleteTemplate):
        return () if template.deleted else [TemplateDeleted(project=project, template_id=id)]
    if template.deleted:
        raise forbidden("template_id", f"template {id} is deleted", "save another one")
    if isinstance(command, ReviseTemplate):
        if command.spec == template.spec:
            return ()
        return [TemplateRevised(project=project, template_id=id, number=template.version + 1, spec=command.spec)]
    assert isinstance(command, RateTemplate)
    if not is_news(template.ratings, context.actor, command.stars, command.comment, template=id):
        return ()
    return [
        TemplateRated(
            project=project, template_id=id, rater=context.actor, stars=command.stars, comment=command.comment
        )
    ]


def given(state: Catalogue, command: CreateExperiment) -> dict[str, Any]:
    """What an experiment gets of its template, where its command says nothing. Raises Refused."""
    template = _known(state, command.template_id)
    if template.deleted:
        problem = f"template {command.template_id} is deleted"
        raise forbidden("template_id", problem, "forgelog templates list shows others")
    spec = template.spec
    shape = {"architecture": {"model_type": spec.architecture}} if spec.architecture else {}
    defaults = spec.hyperparameters.over(HyperparameterConfig.model_validate(shape))
    try:
        hyperparameters = command.hyperparameters.over(defaults)
    except ValidationError as error:
        found = error.errors()[0]["msg"].removeprefix("Value error, ")
        problem = f"with those of template {template.name} {found}"
        raise invalid("hyperparameters", problem, "give both values") from None
    return {
        "framework": command.framework or spec.framework,
        "experiment_type": command.experiment_type or spec.experiment_type,
        "hyperparameters": hyperparameters,
        "practices": spec.practices if command.practices == BestPractices() else command.practices,
        "search_space": command.search_space if command.search_space.dimensions else spec.search_space,
        "template_id": command.template_id,
        "template_version": template.version,
    }


def evolve(state: Catalogue, event: TemplateEvent) -> None:
    id = event.template_id
    if isinstance(event, TemplateSaved):
        state.templates[id] = Template(event.name, event.spec)
        state.template_names[event.name] = id
        return
    template = state.templates[id]
    match event:
        case TemplateRevised():
            template.version, template.spec = event.number, event.spec
        case TemplateRated():
            template.ratings[event.rater] = event.stars, event.comment
        case TemplateDeleted():
            template.deleted = True
            del state.template_names[template.name]


def _saved(state: Catalogue, command: SaveTemplate) -> TemplateSaved:
    if command.template_id in state.templates:
        hint = "leave template_id out to have one assigned"
        raise exists("template_id", f"there is a template {shown(command.template_id)} already", hint)
    if (id := state.template_names.get(command.name)) is not None:
        raise exists(
            "name",
            f"there is a template {shown(command.name)} already",
            f"take another name, or revise the template {id}",
        )
    if len(state.template_names) >= MOST:
        raise exhausted("name", f"the project has {MOST} templates", "delete others first")
    return TemplateSaved(project=command.project, template_id=command.template_id, name=command.name, spec=command.spec)


def _known(state: Catalogue, id: str) -> Template:
    if (template := state.templates.get(id)) is None:
        problem = f"there is no template {shown(id)} in this project"
        raise absent("template_id", problem, "forgelog templates list shows them")
    return template
