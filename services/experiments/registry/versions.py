"""What may become of a model's version. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Command, Event
from events.language.common import PLATFORM_ACTOR, invalid, shown
from events.language.experiments.registry import (
    AliasRemoved,
    CheckModelVersion,
    CreateModelVersion,
    DeleteModelVersion,
    ModelStage,
    ModelStageSet,
    ModelVersionChecked,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionUpdated,
    ReportVersionChecked,
    SetModelStage,
    UpdateModelVersion,
    VersionCheckRequested,
    VersionCommand,
)
from events.log.ids import id_ending
from events.writer.decider import DecisionContext
from services.experiments.refusals import denied, exists, forbidden
from services.experiments.registry import promotions
from services.experiments.registry.rules import (
    check_may,
    check_tags,
    check_usable,
    known_model,
    known_version,
    new_tags,
)
from services.experiments.registry.state import Registry, Version


def decided(state: Registry, command: Command, context: DecisionContext) -> Sequence[Event]:
    """The events that a command about a version leads to. Raises Refused."""
    if isinstance(command, CreateModelVersion):
        return [_created(state, command, context)]
    assert isinstance(command, VersionCommand)
    if isinstance(command, ReportVersionChecked):
        return _checked(state, command, context)
    version = known_version(state, command.version_id)
    model = known_model(state, version.model_id)
    check_may(model, version.model_id, context.actor)
    names = {"project": command.project, "version_id": command.version_id, "model_id": version.model_id}
    match command:
        case UpdateModelVersion():
            notes = command.notes if command.notes != version.notes else None
            tags = new_tags(version.tags, command.tags)
            if notes is None and not tags:
                return ()
            check_tags(version.tags, tags, f"version {model.name}/{version.number}")
            return [ModelVersionUpdated(**names, notes=notes, tags=tags)]
        case DeleteModelVersion():
            return _deleted(state, version, command)
        case SetModelStage():
            return _staged(state, version, command)
        case CheckModelVersion():
            return [VersionCheckRequested(**names, check=version.check + 1)]
    raise TypeError(f"versions take no {type(command).__name__}")


def _created(state: Registry, command: CreateModelVersion, context: DecisionContext) -> ModelVersionCreated:
    model = known_model(state, command.model_id)
    check_may(model, command.model_id, context.actor)
    if command.version_id in state.versions:
        hint = "leave version_id out to have one assigned"
        raise exists("version_id", f"there is a version {shown(command.version_id)} already", hint)
    spec, ending = command.spec, id_ending(context.project)
    for field, id, what in (
        ("source_run_id", spec.source_run_id, "run"),
        ("logged_model_id", spec.logged_model_id, "logged model"),
    ):
        if id and not id.endswith(ending):
            problem = f"{shown(id)} is no {what} of project {context.project}"
            raise invalid(f"spec.{field}", problem, f"give a {what} of the model's project")
    if spec.artifact_path and not spec.source_run_id:
        raise invalid("spec.artifact_path", "goes with source_run_id", "say which run has it")
    for number, parent in enumerate(spec.parents):
        if parent.version_id not in state.versions:
            problem = f"there is no version {shown(parent.version_id)} in this project"
            raise invalid(f"spec.parents.{number}.version_id", problem, "forgelog models versions shows them")
    return ModelVersionCreated(
        project=command.project,
        version_id=command.version_id,
        model_id=command.model_id,
        number=model.latest + 1,
        spec=spec,
        notes=command.notes,
        tags=command.tags,
    )


def _deleted(state: Registry, version: Version, command: DeleteModelVersion) -> Sequence[Event]:
    model = state.models[version.model_id]
    for name, slot in model.environments.items():
        if slot.number == version.number:
            problem = f"version {model.name}/{version.number} is live in {name}"
            raise forbidden("version_id", problem, "set another one first")
    for id, promotion in state.promotions.items():
        if promotion.version_id == command.version_id:
            raise forbidden("version_id", f"promotion {id} of it is under way", "reject it first")
    names = {"project": command.project, "model_id": version.model_id}
    return [
        *(
            AliasRemoved(**names, alias=alias, ends=slot.period)
            for alias, slot in model.aliases.items()
            if slot.number == version.number
        ),
        ModelVersionDeleted(**names, version_id=command.version_id, ends=version.period),
    ]


def _staged(state: Registry, version: Version, command: SetModelStage) -> Sequence[Event]:
    model = state.models[version.model_id]
    if command.stage in (ModelStage.STAGING, ModelStage.PRODUCTION):
        check_usable(version, f"{model.name}/{version.number}", "version_id")
    moving = [(command.version_id, version, command.stage)] if command.stage is not version.stage else []
    if command.archive_existing:
        others = ((id, state.versions[id]) for id in model.versions.values() if id != command.version_id)
        moving += [(id, each, ModelStage.ARCHIVED) for id, each in others if each.stage is command.stage]
    found: list[Event] = []
    period = model.periods
    for id, each, stage in moving:
        if stage is each.stage:
            continue
        period += stage is not ModelStage.NONE
        found.append(
            ModelStageSet(
                project=command.project,
                version_id=id,
                model_id=each.model_id,
                number=each.number,
                stage=stage,
                period=0 if stage is ModelStage.NONE else period,
                ends=each.period,
            )
        )
    return found


def _checked(state: Registry, command: ReportVersionChecked, context: DecisionContext) -> Sequence[Event]:
    if context.actor != PLATFORM_ACTOR:
        problem = "the platform itself looks at a version's files"
        raise denied("version_id", problem, "have it done by CheckModelVersion")
    version = state.versions.get(command.version_id)
    if version is None or command.check not in version.checking:
        return ()
    if not command.intact and not command.reason:
        raise invalid("reason", "is empty", "say what is wrong with the files")
    names = {"project": command.project, "version_id": command.version_id, "model_id": version.model_id}
    checked = ModelVersionChecked(
        **names,
        check=command.check,
        intact=command.intact,
        reason="" if command.intact else command.reason,
        files=command.files,
        size_bytes=command.size_bytes,
        compression=command.compression,
        warnings=command.warnings,
    )
    return [checked, *promotions.after_check(state, checked)]
