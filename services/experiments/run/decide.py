"""A run's life. Pure.

CreateRun ─► RunCreated ─► (catalogue) RunEnrolled ─► RunAdmitted ─► RunDataLogged … ─► RunEnded
                                      or RunRefused ─► RunNotAdmitted
LaunchRun: see `launching`.
a process that leaves its run unfinished ─► RunProcessEnded, RunEnded
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from events.language.base import Command, Event
from events.language.common import CommandRejected, ErrorCode, FieldError, Refused, absent, invalid, shown
from events.language.experiments import (
    ENDED,
    ArtifactsLogged,
    ArtifactsRemoved,
    CreateRun,
    DeleteRun,
    EndRun,
    LinkedProcessEnded,
    LinkedProcessStarted,
    LogArtifacts,
    LogRunData,
    RemoveArtifacts,
    RenameRun,
    RestoreRun,
    ResumeRun,
    RunAdmitted,
    RunCommand,
    RunCreated,
    RunDataLogged,
    RunDeleted,
    RunEnded,
    RunEnrolled,
    RunNotAdmitted,
    RunProcessEnded,
    RunRefused,
    RunRenamed,
    RunRestored,
    RunStarted,
    RunStatus,
)
from events.language.experiments.capture import CaptureRun, RunCaptured
from events.language.experiments.datasets import (
    InputsLogged,
    LogInputs,
)
from events.language.experiments.launching import (
    LaunchGranted,
    LaunchRun,
    RunLaunched,
    RunLaunchEnded,
    RunStopRequested,
    StopRun,
)
from events.language.experiments.logged_models import LogRunModels, RunModelsLogged
from events.language.experiments.purging import PurgeRun, RunPurged
from events.language.experiments.results import BestCheckpointSet, SetBestCheckpoint
from events.language.experiments.sealing import RunPointsSealed, SealPoints
from events.language.jobs import CancelJob, SubmitJob
from events.log.ids import id_ending
from events.writer.decider import Decider, DecisionContext, Order
from services.experiments import files, purging
from services.experiments.refusals import exhausted, exists, forbidden
from services.experiments.run import launching, room, sealing
from services.experiments.run.fold import evolve
from services.experiments.run.state import Run, capture_digest, dataset_key, input_key, model_key

MAX_PARAMS = 10_000
"""Most parameters of a run."""

MAX_INPUTS_OF_A_RUN = 1_000
"""Most datasets that a run reads."""

MAX_MODELS_OF_A_RUN = 10_000
"""Most logged models that a run uses and makes."""

SEED = "random_seed"
"""The parameter that has an experiment's seed."""


class Runs(Decider[Run]):
    """The decider of runs; its key is the run's id."""

    context = "experiments"
    aggregate = "run"
    commands = (
        CreateRun,
        LaunchRun,
        StopRun,
        LogRunData,
        LogArtifacts,
        RemoveArtifacts,
        LogInputs,
        LogRunModels,
        CaptureRun,
        SealPoints,
        SetBestCheckpoint,
        RenameRun,
        EndRun,
        ResumeRun,
        DeleteRun,
        RestoreRun,
        PurgeRun,
    )
    events = (
        RunCreated,
        RunAdmitted,
        RunNotAdmitted,
        RunDataLogged,
        ArtifactsLogged,
        ArtifactsRemoved,
        InputsLogged,
        RunModelsLogged,
        RunCaptured,
        RunPointsSealed,
        BestCheckpointSet,
        RunRenamed,
        RunStarted,
        RunEnded,
        RunProcessEnded,
        RunLaunched,
        RunStopRequested,
        RunLaunchEnded,
        RunDeleted,
        RunRestored,
        RunPurged,
    )
    routes: ClassVar = {
        RunEnrolled: lambda event: (event.run_id,),
        RunRefused: lambda event: (event.run_id,),
        LaunchGranted: lambda event: (event.run_id,),
        LinkedProcessStarted: lambda event: (event.run_id,),
        LinkedProcessEnded: lambda event: (event.run_id,),
    }

    dispatching = frozenset((RunLaunched, RunStopRequested))
    asks = ("jobs",)

    def initial(self, key: str) -> Run:
        return Run()

    def evolve(self, state: Run, event: Event, time: datetime) -> Run:
        return evolve(state, event, time)

    def may_passivate(self, state: Run) -> bool:
        return state.status in ENDED or state.purged

    def decide(self, state: Run, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, CreateRun | LaunchRun):
            _check_new(state, command)
            made = created(command, context) if isinstance(command, CreateRun) else launching.created(command, context)
            return [made]
        assert isinstance(command, RunCommand)
        id = command.run_id
        if state.status is None:
            raise absent("run_id", f"there is no run {id!r}", "forgelog runs list shows them")
        if isinstance(command, PurgeRun):
            return purging.purged("run", state, command, context, RunPurged(run_id=id))
        if state.purged:
            if isinstance(command, SealPoints | DeleteRun):
                return ()
            raise purging.refused("run", command, "points and files")
        if isinstance(command, SealPoints):
            return sealing.sealed(state, command, context)
        if isinstance(command, DeleteRun):
            return () if state.deleted else [RunDeleted(run_id=id)]
        if isinstance(command, RestoreRun):
            return [RunRestored(run_id=id)] if state.deleted else ()
        if isinstance(command, StopRun):
            return launching.stopped(state, command, context)
        if state.deleted:
            raise forbidden("run_id", f"run {id} is deleted", "restore it first")
        match command:
            case LogRunData():
                params = unsaid(state.params, command.params)
                room.check_data(state, params, command.tags)
                return [RunDataLogged(run_id=id, params=params, tags=command.tags)] if params or command.tags else ()
            case LogArtifacts():
                named = files.logged(state, command.artifacts, "run")
                return [ArtifactsLogged(run_id=id, artifacts=named)] if named else ()
            case RemoveArtifacts():
                return _removed(state, command)
            case LogInputs():
                return _inputs(state, command)
            case LogRunModels():
                return _models(state, command, context)
            case SetBestCheckpoint():
                return _best(state, command)
            case CaptureRun():
                known = state.capture == capture_digest(command.capture)
                return () if known else [RunCaptured(run_id=id, capture=command.capture)]
            case RenameRun():
                return () if command.name == state.name else [RunRenamed(run_id=id, name=command.name)]
            case ResumeRun():
                return _resumed(state, id)
            case EndRun():
                status = RunStatus(command.status)
                if state.refused and status is not RunStatus.FAILED:
                    raise _not_admitted(id)
                if state.refused or (status, command.reason) == (state.status, state.reason):
                    return ()
                ended_at = command.ended_at or context.now
                return [RunEnded(run_id=id, status=status, reason=command.reason, ended_at=ended_at)]
        raise TypeError(f"runs take no {type(command).__name__}")

    def react(self, state: Run, event: Event, context: DecisionContext) -> Sequence[Event]:
        id = context.subject
        if state.status is None:
            return ()
        match event:
            case RunEnrolled() if not state.admitted and not state.refused:
                return [_admitted(state, event)]
            case RunRefused() if not state.admitted and not state.refused:
                return [RunNotAdmitted(run_id=id, reason=event.reason)]
            case LaunchGranted() if state.launches and state.admitted:
                return launching.granted(state, event, context.now)
            case LinkedProcessStarted() if _of(state, event.job_id) and state.status is RunStatus.SCHEDULED:
                return [RunStarted(run_id=id, node_id=event.node_id)]
            case LinkedProcessEnded() if _of(state, event.job_id) and not state.process_ended:
                return _process_ended(state, event)
        return ()

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order]:
        if isinstance(event, RunLaunched):
            return [Order(SubmitJob(job_id=event.process.job_id, spec=event.spec))]
        assert isinstance(event, RunStopRequested)
        return [Order(CancelJob(job_id=event.job_id, reason=event.reason or "its run was stopped"))]

    def refused(self, state: Run, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        if refusal.command_type != SubmitJob.type_name():
            return ()  # the job to be cancelled had ended
        return launching.refused(state, context.subject, refusal.subject_id, refusal.message, context)


def _check_new(state: Run, command: CreateRun | LaunchRun) -> None:
    """Raises Refused."""
    if state.status is not None:
        problem = f"there is a run {command.run_id!r} already"
        raise exists("run_id", problem, "leave run_id out to have one assigned")
    if command.experiment_id and command.experiment:
        raise invalid("experiment", "goes without experiment_id, which says it", "give one of both")


def created(command: CreateRun, context: DecisionContext) -> RunCreated:
    id, process = command.run_id, command.process
    if process is not None and not process.job_id.endswith(id_ending(context.project)):
        problem = f"{shown(process.job_id)} is no job of project {context.project}"
        raise invalid("process.job_id", problem, "give a job of the run's project")
    if command.reproduces == id:
        raise invalid("reproduces", "is the run itself", "name the run that it does again, or leave it out")
    if command.scheduled and process is None:
        raise invalid("scheduled", "goes with a process", "say with process which one is waited for, or leave it out")
    params = command.hyperparameters.params()
    for key, value in command.params.items():
        if params.setdefault(key, value) != value:
            problem = f"is {shown(value)}, but {shown(params[key])} in hyperparameters"
            raise invalid(f"params.{key}", problem, "say it once")
    return RunCreated(
        run_id=id,
        project=context.project,
        experiment_id=command.experiment_id,
        experiment=command.experiment,
        name=command.name,
        parent_run_id=command.parent_run_id,
        process=process,
        status=RunStatus.SCHEDULED if command.scheduled else RunStatus.RUNNING,
        params=params,
        tags=command.tags,
        started_at=command.started_at or context.now,
        reproduces=command.reproduces,
    )


def unsaid(known: Mapping[str, str], params: Mapping[str, str], kind: str = "run") -> dict[str, str]:
    """Of these parameters, those that are not known yet. `kind`: of what has them. Raises Refused if one has another
    value, or for too many."""
    errors = [
        FieldError(
            field=f"params.{key}",
            problem=f"is {shown(value)}, but the {kind} has it as {shown(known[key])} already",
            hint="log it under another name; a parameter keeps its first value",
        )
        for key, value in params.items()
        if known.get(key, value) != value
    ]
    if errors:
        raise Refused(ErrorCode.INVALID_ARGUMENT, f"{errors[0].field}: {errors[0].problem}", errors)
    new = {key: value for key, value in params.items() if key not in known}
    if len(known) + len(new) > MAX_PARAMS:
        problem = f"the {kind} would have more than {MAX_PARAMS} parameters"
        raise exhausted("params", problem, "log what is larger as an artifact")
    return new


def _admitted(state: Run, event: RunEnrolled) -> RunAdmitted:
    given = event.hyperparameters.params()
    if event.random_seed is not None:
        given[SEED] = str(event.random_seed)
    params = {key: value for key, value in given.items() if key not in state.params}
    inputs = tuple(each for each in event.sources.inputs if input_key(each) not in state.inputs)
    return RunAdmitted(
        run_id=event.run_id,
        experiment_id=event.experiment_id,
        number=event.number,
        params=params,
        sources=event.sources.model_copy(update={"inputs": inputs}),
    )


def _of(state: Run, job_id: str) -> bool:
    """Whether the run is a process of this job."""
    return state.process is not None and state.process.job_id == job_id


def _inputs(state: Run, command: LogInputs) -> Sequence[Event]:
    """Those that are new. To name a dataset without a role adds nothing to one with a role."""
    read = {key.rpartition("\n")[0] for key in state.inputs} | {
        dataset_key(each) for each in command.inputs if each.role
    }
    new = {
        input_key(each): each
        for each in command.inputs
        if input_key(each) not in state.inputs and (each.role or dataset_key(each) not in read)
    }
    if len(state.inputs) + len(new) > MAX_INPUTS_OF_A_RUN:
        problem = f"the run would have more than {MAX_INPUTS_OF_A_RUN} inputs"
        raise exhausted("inputs", problem, "log a dataset once, not each of its files")
    room.check_inputs(state, new.values())
    return [InputsLogged(run_id=command.run_id, inputs=tuple(new.values()))] if new else ()


def _models(state: Run, command: LogRunModels, context: DecisionContext) -> Sequence[Event]:
    """Those that are new."""
    for field, ids in (
        ("inputs.{}", command.inputs),
        ("outputs.{}.model_id", [each.model_id for each in command.outputs]),
    ):
        for number, id in enumerate(ids):
            if not id.endswith(id_ending(context.project)):
                problem = f"{shown(id)} is no logged model of project {context.project}"
                raise invalid(field.format(number), problem, "give a logged model of the run's project")
    used = tuple(id for id in dict.fromkeys(command.inputs) if model_key(id) not in state.models)
    made = {model_key(each.model_id, each.step): each for each in command.outputs}
    new = tuple(each for key, each in made.items() if key not in state.models)
    if len(state.models) + len(used) + len(new) > MAX_MODELS_OF_A_RUN:
        problem = f"the run would use and make more than {MAX_MODELS_OF_A_RUN} logged models"
        raise exhausted("outputs", problem, "log the best ones, or log them to other runs")
    return [RunModelsLogged(run_id=command.run_id, inputs=used, outputs=new)] if used or new else ()


def _removed(state: Run, command: RemoveArtifacts) -> Sequence[Event]:
    gone = files.removed(state, command.paths, "run", "forgelog runs artifacts shows what it has")
    events: list[Event] = [ArtifactsRemoved(run_id=command.run_id, paths=gone)]
    best = state.best_checkpoint
    if best and not any(path == best or path.startswith(f"{best}/") for path in state.artifacts.keys() - set(gone)):
        events.append(BestCheckpointSet(run_id=command.run_id))
    return events


def _best(state: Run, command: SetBestCheckpoint) -> Sequence[Event]:
    if command.path and command.path not in state.artifacts and command.path not in state.folders:
        hint = "log it first; forgelog runs artifacts shows what it has"
        raise absent("path", f"the run has no {shown(command.path)}", hint)
    if command.path == state.best_checkpoint:
        return ()
    return [BestCheckpointSet(run_id=command.run_id, path=command.path)]


def _resumed(state: Run, id: str) -> Sequence[Event]:
    if state.refused:
        raise _not_admitted(id)
    return () if state.status is RunStatus.RUNNING else [RunStarted(run_id=id)]


def _not_admitted(id: str) -> Refused:
    """It has failed, and stays so."""
    return forbidden("run_id", f"run {id} was not admitted to an experiment", "create another one")


def _process_ended(state: Run, event: LinkedProcessEnded) -> Sequence[Event]:
    gone = RunProcessEnded(
        run_id=event.run_id,
        node_id=event.node_id,
        exit_code=event.exit_code,
        signal=event.signal,
        cpu_seconds=event.cpu_seconds,
        wall_seconds=event.wall_seconds,
        gpu_seconds=event.gpu_seconds,
    )
    freed = [launching.ended(state, event.run_id)] if state.launched else []
    if state.status in ENDED:
        return [gone, *freed]
    ended = RunEnded(run_id=event.run_id, status=event.status, reason=event.reason, ended_at=event.ended_at)
    return [gone, ended, *freed]
