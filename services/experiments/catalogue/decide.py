"""A project's catalogue: its experiments, whose names are given once, and which runs they take. Pure.

CreateExperiment ─► ExperimentCreated (draft)
RunCreated (a run asks) ─► RunEnrolled with its number, or RunRefused; a first run sets a draft to `running`
LoggedModelCreated (a model asks) ─► LoggedModelEnrolled, or LoggedModelRefused
LaunchGranted to those that wait to be launched: see `launches`. Templates: see `templates`; tunings: see `tunings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import Refused, absent, printable, shown
from events.language.experiments import (
    DEFAULT_EXPERIMENT,
    EXPERIMENT_MOVES,
    MAX_ENTRIES,
    CreateExperiment,
    CreateTuning,
    DeleteExperiment,
    DeleteTuning,
    ExperimentCommand,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    ExperimentStatus,
    ExperimentStatusSet,
    ExperimentUpdated,
    RestoreExperiment,
    RunCreated,
    RunEnrolled,
    RunRefused,
    SetExperimentStatus,
    TuningAdmitted,
    TuningAlgorithm,
    TuningReleased,
    UpdateExperiment,
    Visibility,
)
from events.language.experiments.launching import LaunchGranted, LaunchReleased, RunLaunchEnded
from events.language.experiments.logged_models import LoggedModelCreated, LoggedModelEnrolled, LoggedModelRefused
from events.language.experiments.purging import ExperimentPurged, PurgeExperiment
from events.language.experiments.templates import (
    DeleteTemplate,
    RateTemplate,
    ReviseTemplate,
    SaveTemplate,
    TemplateCommand,
    TemplateDeleted,
    TemplateRated,
    TemplateRevised,
    TemplateSaved,
)
from events.language.moves import check_move
from events.log.ids import derived_id
from events.writer.decider import Decider, DecisionContext
from services.experiments import purging
from services.experiments.catalogue import launches, templates, tunings
from services.experiments.catalogue.fold import evolve
from services.experiments.catalogue.state import FIELDS, LISTS, MOST, TAKING, Catalogue, Experiment, changed
from services.experiments.refusals import exhausted, exists, forbidden
from services.experiments.single_jobs import check_single


class Catalogues(Decider[Catalogue]):
    """The decider of catalogues; its key is the project. `missing`: algorithms of tunings that are not installed, each
    with what to do."""

    context = "experiments"
    aggregate = "catalogue"
    commands = (
        CreateExperiment,
        UpdateExperiment,
        SetExperimentStatus,
        DeleteExperiment,
        RestoreExperiment,
        PurgeExperiment,
        CreateTuning,
        DeleteTuning,
        SaveTemplate,
        ReviseTemplate,
        RateTemplate,
        DeleteTemplate,
    )
    events = (
        ExperimentCreated,
        ExperimentUpdated,
        ExperimentStatusSet,
        ExperimentDeleted,
        ExperimentRestored,
        ExperimentPurged,
        RunEnrolled,
        RunRefused,
        LaunchGranted,
        LaunchReleased,
        LoggedModelEnrolled,
        LoggedModelRefused,
        TuningAdmitted,
        TuningReleased,
        TemplateSaved,
        TemplateRevised,
        TemplateRated,
        TemplateDeleted,
    )
    routes: ClassVar = {
        RunCreated: lambda event: (event.project,),
        RunLaunchEnded: lambda event: (event.project,),
        LoggedModelCreated: lambda event: (event.project,),
    }

    def __init__(self, missing: Mapping[TuningAlgorithm, str] | None = None) -> None:
        self._missing = missing or {}

    def initial(self, key: str) -> Catalogue:
        return Catalogue()

    def evolve(self, state: Catalogue, event: Event, time: datetime) -> Catalogue:
        return evolve(state, event, time)

    def holds(self, state: Catalogue, aggregate: str, id: str) -> bool:
        if aggregate == "tuning":
            return id in state.tunings
        if aggregate == "template":
            return id in state.templates
        if aggregate == "run":  # others are decided about once
            return id in state.launching
        return aggregate == "experiment" and id in state.experiments

    def decide(self, state: Catalogue, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, CreateExperiment):
            return [_created(state, command)]
        if isinstance(command, CreateTuning):
            return [tunings.admitted(state, command, self._missing)]
        if isinstance(command, DeleteTuning):
            return tunings.released(state, command)
        if isinstance(command, TemplateCommand):
            return templates.decided(state, command, context)
        assert isinstance(command, ExperimentCommand)
        id, project = command.experiment_id, command.project
        if id in state.purged:
            if isinstance(command, PurgeExperiment | DeleteExperiment):
                return ()
            raise purging.refused("experiment", command, "runs' points and files")
        experiment = _known(state, id)
        if isinstance(command, PurgeExperiment):
            purging.check("experiment", experiment, command)
            return [ExperimentPurged(project=project, experiment_id=id)]
        if isinstance(command, DeleteExperiment):
            return () if experiment.deleted else [ExperimentDeleted(project=project, experiment_id=id)]
        if isinstance(command, RestoreExperiment):
            return [ExperimentRestored(project=project, experiment_id=id)] if experiment.deleted else ()
        if experiment.deleted:
            raise forbidden("experiment_id", f"experiment {id} is deleted", "restore it first")
        if isinstance(command, UpdateExperiment):
            return _updated(state, experiment, command)
        assert isinstance(command, SetExperimentStatus)
        if command.status is experiment.status:
            return ()
        check_move(EXPERIMENT_MOVES, experiment.status, command.status, f"experiment {id}", "status")
        return [ExperimentStatusSet(project=project, experiment_id=id, status=command.status, reason=command.reason)]

    def react(self, state: Catalogue, event: Event, context: DecisionContext) -> Sequence[Event]:
        if isinstance(event, LoggedModelCreated):
            return taken(state, event, context)
        if isinstance(event, RunLaunchEnded):
            return launches.ended(state, event)
        assert isinstance(event, RunCreated)
        return enrolled(state, event, context)

    def after_batch(self, state: Catalogue, context: DecisionContext) -> Sequence[Event]:
        return launches.granted(state, context.subject) if state.waiting else ()


def _created(state: Catalogue, command: CreateExperiment) -> ExperimentCreated:
    if command.experiment_id in state.experiments or command.experiment_id in state.purged:
        raise _exists("experiment_id", command.experiment_id, "leave experiment_id out to have one assigned")
    _free(state, command.name)
    check_single(command.launch.job, "launch.job")
    fields: dict[str, Any] = {name: getattr(command, name) for name in (*FIELDS, *LISTS)}
    if command.template_id:
        fields |= templates.given(state, command)
    return ExperimentCreated(project=command.project, experiment_id=command.experiment_id, **fields, tags=command.tags)


def _updated(state: Catalogue, experiment: Experiment, command: UpdateExperiment) -> Sequence[Event]:
    id = command.experiment_id
    if experiment.status is ExperimentStatus.ARCHIVED:
        raise forbidden("experiment_id", f"experiment {id} is archived: it changes no more", "make another experiment")
    if command.launch is not None:
        check_single(command.launch.job, "launch.job")
    fields = changed(experiment, command)
    if "name" in fields:
        _free(state, fields["name"])
    tags = {key: tag for key, tag in command.tags.items() if experiment.tags.get(key) != tag}
    lists = {name: _list(experiment, command, name) for name in LISTS}
    if not fields and not tags and all(lists[name] == getattr(experiment, name) for name in LISTS):
        return ()
    if len(experiment.tags.keys() | tags.keys()) > MAX_ENTRIES:
        problem = f"experiment {id} would have more than {MAX_ENTRIES} tags"
        raise exhausted("tags", problem, "take others away first: give them null")
    return [ExperimentUpdated(project=command.project, experiment_id=id, **fields, **lists, tags=tags)]


def _list(experiment: Experiment, command: UpdateExperiment, name: str) -> tuple[str, ...]:
    """One of `LISTS` as the command wants it. Raises Refused if it would be too long."""
    removed = getattr(command, f"remove_{name}")
    kept = tuple(each for each in getattr(experiment, name) if each not in removed)
    wanted = (*kept, *(each for each in dict.fromkeys(getattr(command, f"add_{name}")) if each not in kept))
    if len(wanted) > MOST[name]:
        problem = f"experiment {command.experiment_id} would have more than {MOST[name]} {name}"
        raise exhausted(f"add_{name}", problem, f"take others away with remove_{name}")
    return wanted


def _known(state: Catalogue, id: str) -> Experiment:
    experiment = state.experiments.get(id)
    if experiment is None:
        problem = f"there is no experiment {id!r} in this project"
        raise absent("experiment_id", problem, "forgelog experiments list shows them")
    return experiment


def _free(state: Catalogue, name: str) -> None:
    """Raises Refused for a name that an experiment has."""
    if (id := state.names.get(name)) is None:
        return
    if state.experiments[id].deleted:
        raise _exists("name", name, f"restore or purge the deleted experiment {id}, or take another name")
    raise _exists("name", name, f"take another name, or use the experiment {id}")


def _exists(field: str, value: str, hint: str) -> Refused:
    return exists(field, f"there is an experiment {shown(value)} already", hint)


# Runs and logged models


def enrolled(state: Catalogue, run: RunCreated, context: DecisionContext) -> Sequence[Event]:
    """A run asks for its place in an experiment."""
    place = _place(state, run, context, "runs")
    if isinstance(place, str):
        return [RunRefused(project=run.project, run_id=run.run_id, reason=place)]
    id, experiment, made = place
    if reason := launches.problem(run, id, experiment):
        return [*made, RunRefused(project=run.project, run_id=run.run_id, reason=reason)]
    events: list[Event] = [*made]
    if experiment.status is ExperimentStatus.DRAFT:
        events.append(ExperimentStatusSet(project=run.project, experiment_id=id, status=ExperimentStatus.RUNNING))
    enrolment = RunEnrolled(
        project=run.project,
        run_id=run.run_id,
        experiment_id=id,
        number=experiment.runs + 1,
        hyperparameters=experiment.hyperparameters,
        random_seed=experiment.random_seed,
        sources=experiment.sources,
        launches=run.launches,
    )
    return [*events, enrolment]


def taken(state: Catalogue, model: LoggedModelCreated, context: DecisionContext) -> Sequence[Event]:
    """A logged model asks for its place in an experiment."""
    names = {"project": model.project, "model_id": model.model_id}
    place = _place(state, model, context, "logged models")
    if isinstance(place, str):
        return [LoggedModelRefused(**names, reason=place)]
    id, _, made = place
    return [*made, LoggedModelEnrolled(**names, experiment_id=id)]


def _place(
    state: Catalogue, asking: RunCreated | LoggedModelCreated, context: DecisionContext, kind: str
) -> tuple[str, Experiment, Sequence[Event]] | str:
    """The experiment that is asked for, and what makes it if there is none of its name; or why it takes nothing.
    `kind`: what asks, in the plural."""
    project, name = asking.project, asking.experiment or DEFAULT_EXPERIMENT
    id = asking.experiment_id or state.names.get(name, "")
    if not id:
        try:
            printable(name)
        except ValueError as error:  # commands of earlier versions could name one so
            return f"experiment: {shown(name)} {error}"
        id = derived_id(CreateExperiment.id_prefix, context.id, project)
        made = Experiment(name, Visibility.PROJECT)
        return id, made, [ExperimentCreated(project=project, experiment_id=id, name=name, visibility=made.visibility)]
    if id in state.purged:
        return f"experiment {id} is purged; name another one"
    if (found := state.experiments.get(id)) is None:
        return f"there is no experiment {shown(id)} in project {project}"
    if found.deleted:
        return f"experiment {id} is deleted; restore it first"
    if found.status is ExperimentStatus.ARCHIVED:
        return f"experiment {id} is archived: it takes no more {kind}; make another experiment"
    if found.status not in TAKING:
        return f"experiment {id} is {found.status}; set it to running, and it takes {kind} again"
    return id, found, ()
