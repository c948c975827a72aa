"""A logged model's life: files on their way, then ready or failed. Pure.

CreateLoggedModel ─► LoggedModelCreated (pending) ─► (catalogue) LoggedModelEnrolled ─► LoggedModelAdmitted
                                                  or LoggedModelRefused ─► LoggedModelNotAdmitted (failed)
LogLoggedModelFiles, LogLoggedModelData … ─► FinalizeLoggedModel ─► LoggedModelFinalized (ready, failed)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from events.language.base import Command, Event
from events.language.common import absent, invalid, shown
from events.language.experiments import MAX_ENTRIES
from events.language.experiments.logged_models import (
    CreateLoggedModel,
    DeleteLoggedModel,
    FinalizeLoggedModel,
    LoggedModelAdmitted,
    LoggedModelCommand,
    LoggedModelCreated,
    LoggedModelDataLogged,
    LoggedModelDeleted,
    LoggedModelEnrolled,
    LoggedModelFilesLogged,
    LoggedModelFilesRemoved,
    LoggedModelFinalized,
    LoggedModelNotAdmitted,
    LoggedModelRefused,
    LoggedModelRestored,
    LoggedModelStatus,
    LogLoggedModelData,
    LogLoggedModelFiles,
    RemoveLoggedModelFiles,
    RestoreLoggedModel,
)
from events.language.experiments.purging import LoggedModelPurged, PurgeLoggedModel
from events.log.ids import id_ending
from events.writer.decider import Decider, DecisionContext
from services.experiments import files, purging
from services.experiments.logged_model.fold import evolve
from services.experiments.logged_model.state import Logged
from services.experiments.refusals import exhausted, exists, forbidden
from services.experiments.run.decide import unsaid


class LoggedModels(Decider[Logged]):
    """The decider of logged models; its key is the model's id."""

    context = "experiments"
    aggregate = "logged_model"
    commands = (
        CreateLoggedModel,
        LogLoggedModelData,
        LogLoggedModelFiles,
        RemoveLoggedModelFiles,
        FinalizeLoggedModel,
        DeleteLoggedModel,
        RestoreLoggedModel,
        PurgeLoggedModel,
    )
    events = (
        LoggedModelCreated,
        LoggedModelAdmitted,
        LoggedModelNotAdmitted,
        LoggedModelDataLogged,
        LoggedModelFilesLogged,
        LoggedModelFilesRemoved,
        LoggedModelFinalized,
        LoggedModelDeleted,
        LoggedModelRestored,
        LoggedModelPurged,
    )
    routes: ClassVar = {
        LoggedModelEnrolled: lambda event: (event.model_id,),
        LoggedModelRefused: lambda event: (event.model_id,),
    }

    def initial(self, key: str) -> Logged:
        return Logged()

    def evolve(self, state: Logged, event: Event, time: datetime) -> Logged:
        return evolve(state, event, time)

    def may_passivate(self, state: Logged) -> bool:
        return state.purged or (state.placed and state.status is not LoggedModelStatus.PENDING)

    def decide(self, state: Logged, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, CreateLoggedModel):
            return [_created(state, command, context)]
        assert isinstance(command, LoggedModelCommand)
        id = command.model_id
        if state.status is None:
            raise absent("model_id", f"there is no logged model {id!r}", "log it first, with CreateLoggedModel")
        if isinstance(command, PurgeLoggedModel):
            return purging.purged("logged model", state, command, context, LoggedModelPurged(model_id=id))
        if state.purged:
            if isinstance(command, DeleteLoggedModel):
                return ()
            raise purging.refused("logged model", command, "files")
        if isinstance(command, DeleteLoggedModel):
            return () if state.deleted else [LoggedModelDeleted(model_id=id)]
        if isinstance(command, RestoreLoggedModel):
            return [LoggedModelRestored(model_id=id)] if state.deleted else ()
        if state.deleted:
            raise forbidden("model_id", f"logged model {id} is deleted", "restore it first")
        match command:
            case LogLoggedModelData():
                return _data(state, command)
            case LogLoggedModelFiles():
                named = files.logged(state, command.artifacts, "logged model")
                return [LoggedModelFilesLogged(model_id=id, artifacts=named)] if named else ()
            case RemoveLoggedModelFiles():
                hint = "list its files to see which it has"
                gone = files.removed(state, command.paths, "logged model", hint)
                return [LoggedModelFilesRemoved(model_id=id, paths=gone)]
            case FinalizeLoggedModel():
                status = LoggedModelStatus(command.status)
                if state.refused and status is not LoggedModelStatus.FAILED:
                    problem = f"logged model {id} was not admitted to an experiment"
                    raise forbidden("model_id", problem, "log it to another experiment")
                if state.refused or (status, command.reason) == (state.status, state.reason):
                    return ()
                return [LoggedModelFinalized(model_id=id, status=status, reason=command.reason)]
        raise TypeError(f"logged models take no {type(command).__name__}")

    def react(self, state: Logged, event: Event, context: DecisionContext) -> Sequence[Event]:
        if state.status is None or state.placed:
            return ()
        if isinstance(event, LoggedModelEnrolled):
            return [LoggedModelAdmitted(model_id=event.model_id, experiment_id=event.experiment_id)]
        assert isinstance(event, LoggedModelRefused)
        return [LoggedModelNotAdmitted(model_id=event.model_id, reason=event.reason)]


def _created(state: Logged, command: CreateLoggedModel, context: DecisionContext) -> LoggedModelCreated:
    if state.status is not None:
        raise exists(
            "model_id",
            f"there is a logged model {command.model_id!r} already",
            "leave model_id out to have one assigned",
        )
    if command.experiment_id and command.experiment:
        raise invalid("experiment", "goes without experiment_id, which says it", "give one of both")
    if command.source_run_id and not command.source_run_id.endswith(id_ending(context.project)):
        problem = f"{shown(command.source_run_id)} is no run of project {context.project}"
        raise invalid("source_run_id", problem, "give a run of the model's project")
    return LoggedModelCreated(
        model_id=command.model_id,
        project=context.project,
        experiment_id=command.experiment_id,
        experiment=command.experiment,
        name=command.name,
        model_type=command.model_type,
        source_run_id=command.source_run_id,
        params=command.params,
        tags=command.tags,
    )


def _data(state: Logged, command: LogLoggedModelData) -> Sequence[Event]:
    """What of it is new."""
    params = unsaid(state.params, command.params, "logged model")
    tags = {key: tag for key, tag in command.tags.items() if state.tags.get(key) != tag}
    if len(state.tags.keys() | tags.keys()) > MAX_ENTRIES:
        problem = f"logged model {command.model_id} would have more than {MAX_ENTRIES} tags"
        raise exhausted("tags", problem, "take others away first: give them null")
    return [LoggedModelDataLogged(model_id=command.model_id, params=params, tags=tags)] if params or tags else ()
