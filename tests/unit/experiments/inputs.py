"""What the deciders of experiments are given, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from events.language.base import Command, Event
from events.language.common import DEFAULT_PROJECT
from events.language.experiments import (
    ENDED,
    TRIAL_ENDS,
    AskTrial,
    CreateExperiment,
    CreateRun,
    CreateTuning,
    DeleteExperiment,
    DeleteRun,
    DeleteTuning,
    Dimension,
    DimensionKind,
    Direction,
    EarlyStopping,
    EndRun,
    ExperimentStatus,
    LinkedProcessEnded,
    LinkedProcessStarted,
    LogRunData,
    PauseTuning,
    Process,
    ProposeTrial,
    RenameRun,
    ReportProcessEnded,
    ReportProcessStarted,
    ReportTrial,
    RequeueTrial,
    RestoreExperiment,
    RestoreRun,
    ResumeRun,
    ResumeTuning,
    RunCreated,
    RunEnrolled,
    RunRefused,
    RunStatus,
    Scope,
    SetExperimentStatus,
    SetTrialAttribute,
    SetTrialParameter,
    SetTuningAttribute,
    StartTrial,
    StopTuning,
    TellTrial,
    TrialParameter,
    TrialStatus,
    TuningAdmitted,
    TuningLimits,
    TuningPlan,
    TuningReleased,
    UpdateExperiment,
)
from events.language.experiments.capture import CaptureRun, RunCapture
from events.language.experiments.launch_spec import LaunchSpec
from events.language.experiments.launching import LaunchGranted, LaunchRun, RunLaunched, RunLaunchEnded, StopRun
from events.language.experiments.logged_models import LoggedModelCreated, LogRunModels, RunModel
from events.language.experiments.purging import PurgeExperiment, PurgeRun
from events.language.experiments.results import SetBestCheckpoint
from events.language.experiments.sealing import SealedPoints, SealPoints
from events.language.experiments.templates import (
    DeleteTemplate,
    RateTemplate,
    ReviseTemplate,
    SaveTemplate,
    TemplateSpec,
)
from events.language.experiments.tuning_following import AdoptedTrial, AdoptTrials, PruneTrial
from events.language.jobs import ExitReason, JobCancelled, JobCompleted, JobExited, JobFailed, JobStarted, TaskCounts
from events.log.ids import child_id, id_ending
from tests.unit.experiments.desk import NOON
from tests.unit.experiments.registry_inputs import PATHS, run_files
from tests.unit.jobs import desk as jobs

Inputs = st.SearchStrategy[Command | Event | float]

EXPERIMENTS = st.sampled_from(["e1", "e2"])
NAMES = st.sampled_from(["one", "two", "Default"])
RUNS = st.sampled_from(["r1", "r2", "r3"])
JOBS = st.sampled_from(["a", "b"])
ATTEMPTS = st.integers(1, 2)
ENDS = st.sampled_from(ENDED)
TAGS = st.dictionaries(st.sampled_from(["team", "kind"]), st.none() | st.sampled_from(["x", "y"]), max_size=2)
PARAMS = st.dictionaries(st.sampled_from(["lr", "depth"]), st.sampled_from(["1", "2"]), max_size=2)
TUNINGS = st.sampled_from(["t1", "t2"])
TEMPLATES = st.sampled_from(["et1", "et2"])
DIRECTIONS = st.lists(st.sampled_from(Direction), max_size=2).map(tuple)
PROCESSES = st.builds(Process, job_id=JOBS, task=st.integers(0, 1), attempt=ATTEMPTS)

_JOB = jobs.spec()

_of = {"project": st.just(DEFAULT_PROJECT), "experiment_id": EXPERIMENTS}

_template = {"project": st.just(DEFAULT_PROJECT), "template_id": TEMPLATES}
_spec = st.builds(TemplateSpec, description=st.sampled_from(["", "better"]), architecture=st.sampled_from(["", "vit"]))

_asked = st.builds(
    RunCreated,
    project=st.just(DEFAULT_PROJECT),
    run_id=RUNS,
    experiment_id=st.just("") | EXPERIMENTS,
    experiment=st.just("") | NAMES,
    process=st.none() | PROCESSES,
    status=st.sampled_from([RunStatus.SCHEDULED, RunStatus.RUNNING]),
    started_at=st.just(NOON),
    launches=st.booleans(),
    job=st.none() | st.just(_JOB),
)

_model_asked = st.builds(
    LoggedModelCreated,
    model_id=st.sampled_from(["m-1", "m-2"]),
    project=st.just(DEFAULT_PROJECT),
    experiment_id=EXPERIMENTS,
    experiment=st.just("") | NAMES,
)

catalogue: Inputs = st.one_of(
    st.builds(CreateExperiment, **_of, name=NAMES, tags=PARAMS, template_id=st.just("") | TEMPLATES),
    st.builds(
        UpdateExperiment,
        **_of,
        name=st.none() | NAMES,
        tags=TAGS,
        add_labels=st.sampled_from([(), ("a",), ("a", "b")]),
        launch=st.none() | st.builds(LaunchSpec, job=st.none() | st.just(_JOB), parallel=st.integers(0, 2)),
        remove_collaborators=st.sampled_from([(), ("ada",)]),
    ),
    st.builds(SetExperimentStatus, **_of, status=st.sampled_from(ExperimentStatus)),
    st.builds(DeleteExperiment, **_of),
    st.builds(RestoreExperiment, **_of),
    st.builds(PurgeExperiment, **_of),
    _asked,
    st.builds(RunLaunchEnded, project=st.just(DEFAULT_PROJECT), run_id=RUNS, experiment_id=EXPERIMENTS),
    st.builds(CreateTuning, project=st.just(DEFAULT_PROJECT), tuning_id=TUNINGS, name=NAMES, directions=DIRECTIONS),
    st.builds(DeleteTuning, project=st.just(DEFAULT_PROJECT), tuning_id=TUNINGS),
    st.builds(SaveTemplate, **_template, name=st.sampled_from(["a", "b"]), spec=_spec),
    st.builds(ReviseTemplate, **_template, spec=_spec),
    st.builds(RateTemplate, **_template, stars=st.integers(1, 5)),
    st.builds(DeleteTemplate, **_template),
    _model_asked,
)


def _created(run: str, process: Process | None, scheduled: bool, params: dict[str, str]) -> CreateRun:
    return CreateRun(run_id=run, process=process, scheduled=scheduled, params=params)


_own = PROCESSES.map(lambda each: each.model_copy(update={"job_id": f"{each.job_id}{id_ending(DEFAULT_PROJECT)}"}))

_ended: dict[str, Any] = {
    "job_id": JOBS,
    "run_id": RUNS,
    "status": ENDS,
    "ended_at": st.just(NOON),
    "exit_code": st.none() | st.integers(0, 2),
}

runs: Inputs = st.one_of(
    st.builds(_created, RUNS, st.none() | _own, st.booleans(), PARAMS),
    st.builds(LaunchRun, run_id=RUNS, params=PARAMS, job=st.none() | st.just(_JOB)),
    st.builds(StopRun, run_id=RUNS),
    st.builds(
        LaunchGranted,
        project=st.just(DEFAULT_PROJECT),
        run_id=RUNS,
        experiment_id=EXPERIMENTS,
        job=st.none() | st.just(_JOB),
    ),
    st.builds(LogRunData, run_id=RUNS, params=PARAMS, tags=TAGS),
    st.builds(RenameRun, run_id=RUNS, name=NAMES),
    st.builds(EndRun, run_id=RUNS, status=ENDS, reason=st.sampled_from(["", "given up"])),
    *(st.builds(kind, run_id=RUNS) for kind in (ResumeRun, DeleteRun, RestoreRun)),
    st.builds(PurgeRun, run_id=RUNS, experiment_id=st.just("") | EXPERIMENTS),
    st.builds(SetBestCheckpoint, run_id=RUNS, path=st.just("") | PATHS),
    st.builds(
        RunEnrolled,
        project=st.just(DEFAULT_PROJECT),
        run_id=RUNS,
        experiment_id=EXPERIMENTS,
        number=st.integers(1, 9),
        random_seed=st.none() | st.just(7),
    ),
    st.builds(RunRefused, project=st.just(DEFAULT_PROJECT), run_id=RUNS, reason=st.just("there is no such experiment")),
    st.builds(LinkedProcessStarted, job_id=JOBS, run_id=RUNS, node_id=st.just("n1")),
    st.builds(LinkedProcessEnded, **_ended),
    st.builds(
        LogRunModels, run_id=RUNS, inputs=st.sampled_from([(), ("m-1",)]), outputs=st.just((RunModel(model_id="m-2"),))
    ),
    st.builds(CaptureRun, run_id=RUNS, capture=st.just(RunCapture())),
    st.builds(SealPoints, run_id=RUNS, end_number=st.integers(1, 9), sealed=st.just(SealedPoints(digest="1" * 64))),
    run_files,
)


def _began(job: str, task: int, attempt: int) -> JobStarted:
    return JobStarted(job_id=job, node_id="n1", tasks=jobs.started(task, attempt=attempt).tasks)


def _exited(job: str, task: int, attempt: int, reason: ExitReason, cancelled: str | None) -> JobExited:
    tasks = jobs.exited(task, attempt=attempt, reason=reason).tasks
    return JobExited(job_id=job, node_id="n1", tasks=tasks, cancelled=cancelled)


def _ends(of: st.SearchStrategy[str]) -> list[st.SearchStrategy[Event]]:
    """Ends of these jobs."""
    fixed = {"project": st.just(DEFAULT_PROJECT), "counts": st.just(TaskCounts(total=1)), "exit_code": st.just(0)}
    return [st.builds(kind, job_id=of, **fixed) for kind in (JobCompleted, JobFailed, JobCancelled)]


links: Inputs = st.one_of(
    st.builds(ReportProcessStarted, job_id=JOBS, run_id=RUNS, node_id=st.just("n1")),
    st.builds(ReportProcessEnded, **_ended),
    _asked,
    st.builds(RunLaunched, run_id=RUNS, process=PROCESSES, spec=st.just(_JOB)),
    st.builds(
        RunLaunchEnded,
        project=st.just(DEFAULT_PROJECT),
        run_id=RUNS,
        experiment_id=EXPERIMENTS,
        job_id=st.just("") | JOBS,
    ),
    st.builds(_began, JOBS, st.integers(0, 1), ATTEMPTS),
    st.builds(_exited, JOBS, st.integers(0, 1), ATTEMPTS, st.sampled_from(ExitReason), st.none() | st.just("0-1")),
    *_ends(JOBS),
)

_trial: dict[str, Any] = {"tuning_id": TUNINGS, "number": st.integers(0, 3)}
_attempt: dict[str, Any] = {**_trial, "attempt": st.none() | ATTEMPTS}
_said: dict[str, Any] = {
    "scope": st.sampled_from(Scope),
    "name": st.just("note"),
    "value": st.sampled_from(["1", "NaN", '{"a": [null]}']),
}
_doubles = st.floats().map(str)
_values = st.lists(_doubles, max_size=2).map(tuple)
_parameters = st.builds(
    TrialParameter,
    name=st.sampled_from(["lr", "depth"]),
    value=_doubles,
    distribution=st.sampled_from(
        [
            "3",
            '{"name": "FloatDistribution", "attributes": {"low": 0, "high": 1, "log": true}}',
            '{"name": "CategoricalDistribution", "attributes": {"choices": [1, NaN]}}',
        ]
    ),
)
_space = (Dimension(name="lr", kind=DimensionKind.CATEGORICAL, choices=("1", "2")),)
_placed: dict[str, Any] = {
    "project": st.just(DEFAULT_PROJECT),
    "tuning_id": TUNINGS,
    "number": st.integers(1, 2),
}

_launched = st.builds(lambda tuning, number: child_id(tuning, str(number)), TUNINGS, st.integers(0, 3))

tunings: Inputs = st.one_of(
    st.builds(
        TuningAdmitted,
        **_placed,
        name=NAMES,
        directions=st.just((Direction.MAXIMIZE,)),
        limits=st.builds(
            TuningLimits,
            trials=st.none() | st.integers(1, 3),
            parallel=st.none() | st.integers(1, 2),
            seconds=st.none() | st.just(60.0),
        ),
        early_stopping=st.none() | st.builds(EarlyStopping, patience=st.integers(1, 2)),
        plan=st.none() | st.builds(TuningPlan, algorithm=st.sampled_from(["grid", "tpe"]), space=st.just(_space)),
        job=st.none() | st.just(jobs.spec()),
    ),
    st.builds(
        ProposeTrial,
        **_trial,
        parameters=st.lists(_parameters, max_size=2).map(tuple),
        known_events=st.integers(1, 9),
        algorithm_version=st.just("optuna 5.0.0"),
    ),
    st.builds(TuningReleased, **_placed),
    *(st.builds(kind, tuning_id=TUNINGS) for kind in (PauseTuning, ResumeTuning, StopTuning)),
    st.builds(SetTuningAttribute, tuning_id=TUNINGS, **_said),
    st.builds(
        AskTrial,
        tuning_id=TUNINGS,
        status=st.sampled_from(TrialStatus),
        objective_values=_values,
        parameters=st.lists(_parameters, max_size=2).map(tuple),
        ended_at=st.none() | st.just(NOON),
    ),
    st.builds(StartTrial, **_trial),
    st.builds(SetTrialParameter, **_trial, parameter=_parameters),
    st.builds(SetTrialAttribute, **_trial, **_said),
    st.builds(ReportTrial, **_attempt, step=st.integers(-1, 2), value=_doubles),
    st.builds(TellTrial, **_attempt, status=st.sampled_from(TRIAL_ENDS), objective_values=_values),
    st.builds(
        PruneTrial,
        **_attempt,
        step=st.integers(0, 2),
        value=_doubles,
        known_events=st.integers(1, 9),
        algorithm_version=st.just("optuna 5.0.0"),
    ),
    st.builds(
        AdoptTrials,
        tuning_id=TUNINGS,
        source=TUNINGS,
        trials=st.just((AdoptedTrial(number=1, parameters={"lr": "0.5"}, objective_values=("0.25",)),)),
    ),
    st.builds(RequeueTrial, **_attempt),
    st.builds(_began, _launched, st.just(0), ATTEMPTS),
    *_ends(_launched),
)
