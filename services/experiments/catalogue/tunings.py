"""The tunings of a project: a name is given to one at a time, a number once. Pure.

CreateTuning ─► TuningAdmitted ─► (the tuning) TuningCreated
DeleteTuning ─► TuningReleased ─► (the tuning) TuningDeleted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from events.language.base import Event
from events.language.common import absent, invalid, shown
from events.language.experiments import (
    CreateTuning,
    DeleteTuning,
    Direction,
    HyperparameterConfig,
    TuningAdmitted,
    TuningAlgorithm,
    TuningPlan,
    TuningReleased,
)
from services.experiments.catalogue.state import TAKING, Catalogue, Experiment, TuningPlace
from services.experiments.refusals import exists, forbidden
from services.experiments.tuning import grid


def admitted(state: Catalogue, command: CreateTuning, missing: Mapping[TuningAlgorithm, str]) -> TuningAdmitted:
    """`missing`: algorithms that are not installed, each with what to do. Raises Refused."""
    if command.tuning_id in state.tunings:
        raise exists(
            "tuning_id",
            f"there is a tuning {shown(command.tuning_id)} already",
            "leave tuning_id out to have one assigned",
        )
    if (id := state.tuning_names.get(command.name)) is not None:
        raise exists(
            "name", f"there is a tuning {shown(command.name)} already", f"take another name, or use the tuning {id}"
        )
    if command.early_stopping is not None and len(command.directions) > 1:
        problem = f"is for one objective, and there are {len(command.directions)}"
        hint = "leave it out, or give one direction: of several objectives none tells whether a trial is better"
        raise invalid("early_stopping", problem, hint)
    experiment_id, experiment = _experiment(state, command)
    plan = _plan(command.plan, experiment)
    if plan is not None and plan.algorithm is TuningAlgorithm.GRID and grid.size(plan.space) > grid.MAX_POINTS:
        problem = f"has a grid of more than {grid.MAX_POINTS:,} points"
        hint = "make steps larger, or take another algorithm: random needs no grid"
        raise invalid("plan.space", problem, hint)
    if plan is not None:
        _check_algorithm(plan, len(command.directions) or 1, missing)
        _check_sources(state, plan, command.directions or (Direction.MINIMIZE,))
    if command.job is not None:
        if plan is None:
            hint = "give plan: what the platform is to search, and how"
            raise invalid("job", "goes with a plan, whose trials it runs", hint)
        if command.job.array is not None:
            hint = "leave it out: there is a job for each trial"
            raise invalid("job.array", "is given, and a trial is one process", hint)
    _check_objectives(command)
    return TuningAdmitted(
        project=command.project,
        tuning_id=command.tuning_id,
        number=len(state.tunings) + 1,
        name=command.name,
        directions=command.directions or (Direction.MINIMIZE,),
        limits=command.limits,
        early_stopping=command.early_stopping,
        plan=plan,
        job=command.job,
        objectives=command.objectives,
        experiment_id=experiment_id,
        experiment=experiment.name if experiment is not None else "",
        hyperparameters=experiment.hyperparameters if experiment is not None else HyperparameterConfig(),
    )


def _experiment(state: Catalogue, command: CreateTuning) -> tuple[str, Experiment | None]:
    """The experiment that a tuning is to be of, and its id; empty and None for none. Raises Refused."""
    field = "experiment_id" if command.experiment_id else "experiment"
    named = command.experiment_id or command.experiment
    if not named:
        return "", None
    id = command.experiment_id or state.names.get(command.experiment, "")
    if (found := state.experiments.get(id)) is None:
        problem = f"there is no experiment {shown(named)} in this project"
        raise invalid(field, problem, "forgelog experiments list shows them")
    if found.deleted:
        problem = f"experiment {shown(found.name)} is deleted"
        raise forbidden(field, problem, "restore it first")
    if found.status not in TAKING:
        problem = f"experiment {shown(found.name)} is {found.status}"
        raise forbidden(field, problem, "set it to running, and it takes tunings again")
    return id, found


def _plan(plan: TuningPlan | None, experiment: Experiment | None) -> TuningPlan | None:
    """What is to be searched, in the experiment's space if the plan has none. Raises Refused."""
    if plan is None or plan.space:
        return plan
    if experiment is None or not experiment.search_space.dimensions:
        problem = "is empty" + (f", and experiment {shown(experiment.name)} has none" if experiment is not None else "")
        raise invalid("plan.space", problem, "give at least one dimension, or an experiment that has a search space")
    try:
        return TuningPlan.model_validate({**dict(plan), "space": experiment.search_space.dimensions})
    except ValidationError as error:
        found = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("space: ")
        problem = f"that of experiment {shown(experiment.name)} {found}"
        raise invalid("plan.space", problem, "give another space, or take another algorithm") from None


def _check_algorithm(plan: TuningPlan, objectives: int, missing: Mapping[TuningAlgorithm, str]) -> None:
    """Raises Refused for an algorithm that can't search so."""
    if (remedy := missing.get(plan.algorithm)) is not None:
        raise invalid("plan.algorithm", f"is {plan.algorithm}, which is not installed", remedy)
    if plan.algorithm is TuningAlgorithm.CMAES and objectives > 1:
        problem = f"is cmaes, which has one objective, and there are {objectives}"
        raise invalid("plan.algorithm", problem, "take nsga2, tpe, gp or random, or give one direction")


def _check_sources(state: Catalogue, plan: TuningPlan, directions: tuple[Direction, ...]) -> None:
    """Raises Refused for a tuning that a search can't learn from."""
    for source in plan.warm_start:
        place = state.tunings.get(source)
        if place is None or place.deleted:
            hint = "forgelog tune list shows them"
            raise invalid("plan.warm_start", f"there is no tuning {shown(source)} in this project", hint)
        if place.directions != directions:
            problem = f"tuning {source} has other directions: {', '.join(place.directions)}"
            raise invalid("plan.warm_start", problem, "name a tuning with the same directions, or give these")


def _check_objectives(command: CreateTuning) -> None:
    """Raises Refused for objectives that do not go with the rest."""
    count = len(command.directions) or 1
    if command.objectives and command.job is None:
        raise invalid("objectives", "goes with a job, whose runs log them", "give job, or leave objectives out")
    if command.objectives and len(command.objectives) != count:
        problem = f"has {len(command.objectives)} metrics, and directions has {count}"
        raise invalid("objectives", problem, "give one for each direction, in their order")
    if command.plan is not None and command.plan.pruning is not None and count > 1:
        hint = "leave it out, or give one direction: of several objectives none tells whether a trial promises well"
        raise invalid("plan.pruning", f"is for one objective, and there are {count}", hint)


def released(state: Catalogue, command: DeleteTuning) -> Sequence[Event]:
    """Raises Refused."""
    place = state.tunings.get(command.tuning_id)
    if place is None:
        problem = f"there is no tuning {shown(command.tuning_id)} in this project"
        raise absent("tuning_id", problem, "forgelog tune list shows them")
    if place.deleted:
        return ()
    return [TuningReleased(project=command.project, tuning_id=command.tuning_id, number=place.number)]


def evolve(state: Catalogue, event: TuningAdmitted | TuningReleased) -> None:
    if isinstance(event, TuningAdmitted):
        state.tunings[event.tuning_id] = TuningPlace(event.number, event.name, event.directions)
        state.tuning_names[event.name] = event.tuning_id
    else:
        place = state.tunings[event.tuning_id]
        place.deleted = True
        del state.tuning_names[place.name]
