"""What each state of experiments, runs, logged models, tunings, trials, versions and promotions takes: every state by
every command.

``+``: it is taken; ``=``: nothing changes, since it is so already; ``-``: it is refused, and the refusal names the
field, says how things stand, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from events.language.base import Command
from events.language.common import PLATFORM_ACTOR, Refused
from events.language.experiments import (
    TUNING_ENDS,
    AskTrial,
    CreateExperiment,
    CreateRun,
    CreateTuning,
    DeleteExperiment,
    DeleteRun,
    DeleteTuning,
    EndRun,
    ExperimentStatus,
    LogArtifacts,
    LogRunData,
    PauseTuning,
    Process,
    ProposeTrial,
    RemoveArtifacts,
    RenameRun,
    ReportTrial,
    RequeueTrial,
    RestoreExperiment,
    RestoreRun,
    ResumeRun,
    ResumeTuning,
    RunEnd,
    RunNotAdmitted,
    RunStatus,
    SetExperimentStatus,
    SetTrialAttribute,
    SetTrialParameter,
    SetTuningAttribute,
    StartTrial,
    StopTuning,
    TellTrial,
    TrialStatus,
    TuningLimits,
    TuningStatus,
    UpdateExperiment,
)
from events.language.experiments.capture import CaptureRun, RunCapture
from events.language.experiments.datasets import (
    CheckDataset,
    DatasetSpec,
    LogInputs,
    RegisterDataset,
    ReportDatasetChecked,
)
from events.language.experiments.launching import LaunchRun, StopRun
from events.language.experiments.logged_models import (
    CreateLoggedModel,
    DeleteLoggedModel,
    FinalizeLoggedModel,
    LoggedModelEnd,
    LoggedModelNotAdmitted,
    LoggedModelStatus,
    LogLoggedModelData,
    LogLoggedModelFiles,
    LogRunModels,
    RemoveLoggedModelFiles,
    RestoreLoggedModel,
)
from events.language.experiments.models import RunInput
from events.language.experiments.purging import PurgeExperiment, PurgeLoggedModel, PurgeRun
from events.language.experiments.registry import (
    ApprovalRule,
    ApprovePromotion,
    CheckModelVersion,
    CreateModelVersion,
    DeleteModelVersion,
    ModelStage,
    ModelVersionSpec,
    PromotionStatus,
    RegisterModel,
    RejectPromotion,
    ReportVersionChecked,
    RequestPromotion,
    SetAlias,
    SetEnvironment,
    SetModelStage,
    UpdateModelVersion,
    VersionStatus,
)
from events.language.experiments.results import SetBestCheckpoint
from events.language.experiments.sealing import SealedPoints, SealPoints
from events.language.experiments.tuning_following import AdoptTrials, PruneTrial
from events.language.jobs.spec import JobSpec
from events.language.objects import ObjectRef
from tests.unit.experiments.desk import Desk
from tests.unit.experiments.test_logged_models import named
from tests.unit.experiments.test_planned_tunings import planned, propose
from tests.unit.experiments.test_tunings import parameter

E, R, T = ExperimentStatus, RunStatus, TuningStatus

States = dict[str, Callable[[], Desk]]
Commands = dict[str, Command]


def after(*commands: Command) -> Callable[[], Desk]:
    """A desk at which these were taken."""

    def made() -> Desk:
        desk = Desk()
        for command in commands:
            send(desk, command)
        return desk

    return made


def send(desk: Desk, command: Command) -> Sequence[Any]:
    """By the platform, if that alone may."""
    own = isinstance(command, SealPoints | ReportVersionChecked | ReportDatasetChecked)
    return desk.send(command, actor=PLATFORM_ACTOR if own else "owner")


# Experiments

EXPERIMENT = {"experiment_id": "e1"}
MADE = CreateExperiment(**EXPERIMENT, name="digits")


def to(*statuses: ExperimentStatus) -> Callable[[], Desk]:
    return after(MADE, *(SetExperimentStatus(**EXPERIMENT, status=status) for status in statuses))


EXPERIMENT_STATES: States = {
    "draft": to(),
    "running": to(E.RUNNING),
    "paused": to(E.RUNNING, E.PAUSED),
    "completed": to(E.RUNNING, E.COMPLETED),
    "failed": to(E.RUNNING, E.FAILED),
    "archived": to(E.ARCHIVED),
    "deleted": after(MADE, DeleteExperiment(**EXPERIMENT)),
    "purged": after(MADE, DeleteExperiment(**EXPERIMENT), PurgeExperiment(**EXPERIMENT)),
}
EXPERIMENT_COMMANDS: Commands = {
    **{f"set {status}": SetExperimentStatus(**EXPERIMENT, status=status) for status in E},
    "update": UpdateExperiment(**EXPERIMENT, team="vision"),
    "delete": DeleteExperiment(**EXPERIMENT),
    "restore": RestoreExperiment(**EXPERIMENT),
    "create run": CreateRun(run_id="r1", **EXPERIMENT),
    "create run by name": CreateRun(run_id="r1", experiment="digits"),
    "create model": CreateLoggedModel(model_id="m-1", **EXPERIMENT),
    "create again": CreateExperiment(**EXPERIMENT, name="other"),
    "purge": PurgeExperiment(**EXPERIMENT),
}
EXPERIMENTS = """
                    draft  running  paused  completed  failed  archived  deleted  purged
set draft             =       -       -         -        -        -         -        -
set running           +       =       +         +        +        -         -        -
set paused            -       +       =         -        -        -         -        -
set completed         -       +       +         =        -        -         -        -
set failed            -       +       +         -        =        -         -        -
set archived          +       -       -         +        +        =         -        -
update                +       +       +         +        +        -         -        -
delete                +       +       +         +        +        +         =        =
restore               =       =       =         =        =        =         +        -
create run            +       +       -         -        -        -         -        -
create run by name    +       +       -         -        -        -         -        +
create model          +       +       -         -        -        -         -        -
create again          -       -       -         -        -        -         -        -
purge                 -       -        -        -         -        -        +        =
"""

# Runs

RUN = {"run_id": "r1"}
BEGUN = CreateRun(**RUN)


def ended(status: RunEnd) -> EndRun:
    return EndRun(**RUN, status=status)


RUN_STATES: States = {
    "unknown": after(),
    "scheduled": after(CreateRun(**RUN, process=Process(job_id="j1"), scheduled=True)),
    "running": after(BEGUN),
    "finished": after(BEGUN, ended(RunEnd.FINISHED)),
    "failed": after(BEGUN, ended(RunEnd.FAILED)),
    "killed": after(BEGUN, ended(RunEnd.KILLED)),
    "resumed": after(BEGUN, ended(RunEnd.KILLED), ResumeRun(**RUN)),
    "refused": after(CreateRun(**RUN, experiment_id="e9")),
    "deleted": after(BEGUN, DeleteRun(**RUN)),
    "purged": after(BEGUN, DeleteRun(**RUN), PurgeRun(**RUN)),
}
RUN_COMMANDS: Commands = {
    "log data": LogRunData(**RUN, params={"lr": "1"}),
    "log files": LogArtifacts(**RUN, artifacts=named("a")),
    "log inputs": LogInputs(**RUN, inputs=(RunInput(name="mnist", digest="1"),)),
    "log models": LogRunModels(**RUN, inputs=("m-1",)),
    "capture": CaptureRun(**RUN, capture=RunCapture()),
    "rename": RenameRun(**RUN, name="b"),
    "end finished": ended(RunEnd.FINISHED),
    "end failed": ended(RunEnd.FAILED),
    "end killed": ended(RunEnd.KILLED),
    "resume": ResumeRun(**RUN),
    "seal": SealPoints(**RUN, end_number=1, sealed=SealedPoints(digest="1" * 64)),
    "delete": DeleteRun(**RUN),
    "restore": RestoreRun(**RUN),
    "create": BEGUN,
    "remove files": RemoveArtifacts(**RUN, paths=("a",)),
    "forget the best": SetBestCheckpoint(**RUN),
    "name the best": SetBestCheckpoint(**RUN, path="a"),
    "purge": PurgeRun(**RUN),
    "launch": LaunchRun(**RUN, job=JobSpec.model_validate({"metadata": {"name": "a"}, "command": "true"})),
    "stop": StopRun(**RUN),
}
RUNS = """
              unknown  scheduled  running  finished  failed  killed  resumed  refused  deleted  purged
log data         -         +         +        +        +       +        +        +        -        -
log files        -         +         +        +        +       +        +        +        -        -
log inputs       -         +         +        +        +       +        +        +        -        -
log models       -         +         +        +        +       +        +        +        -        -
capture          -         +         +        +        +       +        +        +        -        -
rename           -         +         +        +        +       +        +        +        -        -
end finished     -         +         +        =        +       +        +        -        -        -
end failed       -         +         +        +        =       +        +        =        -        -
end killed       -         +         +        +        +       =        +        -        -        -
resume           -         +         =        +        +       +        =        -        -        -
seal             -         =         =        +        +       +        =        +        =        =
delete           -         +         +        +        +       +        +        +        =        =
restore          -         =         =        =        =       =        =        =        +        -
create           +         -         -        -        -       -        -        -        -        -
remove files     -         -         -        -        -       -        -        -        -        -
forget the best  -         =         =        =        =       =        =        =        -        -
name the best    -         -         -        -        -       -        -        -        -        -
purge            -         -         -         -        -       -       -        -        +        =
launch           +         -         -        -        -       -        -        -        -        -
stop             -         +         -        -        -       -        -        -        -        -
"""

# Logged models

MODEL = {"model_id": "m-1"}
LOGGED = CreateLoggedModel(**MODEL)


def finalized(status: LoggedModelEnd) -> FinalizeLoggedModel:
    return FinalizeLoggedModel(**MODEL, status=status)


LOGGED_MODEL_STATES: States = {
    "unknown": after(),
    "pending": after(LOGGED),
    "ready": after(LOGGED, finalized(LoggedModelEnd.READY)),
    "failed": after(LOGGED, finalized(LoggedModelEnd.FAILED)),
    "refused": after(CreateLoggedModel(**MODEL, experiment_id="e9")),
    "deleted": after(LOGGED, DeleteLoggedModel(**MODEL)),
    "purged": after(LOGGED, DeleteLoggedModel(**MODEL), PurgeLoggedModel(**MODEL)),
}
LOGGED_MODEL_COMMANDS: Commands = {
    "log data": LogLoggedModelData(**MODEL, params={"lr": "1"}),
    "log files": LogLoggedModelFiles(**MODEL, artifacts=named("a")),
    "finalize ready": finalized(LoggedModelEnd.READY),
    "finalize failed": finalized(LoggedModelEnd.FAILED),
    "delete": DeleteLoggedModel(**MODEL),
    "restore": RestoreLoggedModel(**MODEL),
    "create": LOGGED,
    "remove files": RemoveLoggedModelFiles(**MODEL, paths=("a",)),
    "purge": PurgeLoggedModel(**MODEL),
}
LOGGED_MODELS = """
                 unknown  pending  ready  failed  refused  deleted  purged
log data            -        +       +      +        +        -        -
log files           -        +       +      +        +        -        -
finalize ready      -        +       =      +        -        -        -
finalize failed     -        +       +      =        =        -        -
delete              -        +       +      +        +        =        =
restore             -        =       =      =        =        +        -
create              +        -       -      -        -        -        -
remove files        -        -       -      -        -        -        -
purge               -        -       -       -       -        +        =
"""

# Tunings

TUNING = {"tuning_id": "t1"}
SEARCH = CreateTuning(**TUNING, name="digits", limits=TuningLimits(trials=3))
WAITING, RUNNING = AskTrial(**TUNING, status=TrialStatus.REQUESTED), AskTrial(**TUNING)
PARAMETER = parameter()


def trial(number: int, kind: Any, **fields: Any) -> Command:
    command: Command = kind(**TUNING, number=number, **fields)
    return command


TUNING_STATES: States = {
    "unknown": after(),
    "running": after(SEARCH, WAITING, RUNNING),
    "paused": after(SEARCH, WAITING, RUNNING, PauseTuning(**TUNING)),
    "completed": after(
        CreateTuning(**TUNING, name="digits", limits=TuningLimits(trials=1)),
        RUNNING,
        trial(0, TellTrial, objective_values=["1"]),
    ),
    "stopped": after(SEARCH, WAITING, RUNNING, StopTuning(**TUNING)),
    "deleted": after(SEARCH, WAITING, RUNNING, DeleteTuning(**TUNING)),
}
TUNING_COMMANDS: Commands = {
    "pause": PauseTuning(**TUNING),
    "resume": ResumeTuning(**TUNING),
    "stop": StopTuning(**TUNING),
    "set attribute": SetTuningAttribute(**TUNING, name="a", value="1"),
    "ask": AskTrial(**TUNING),
    "start waiting": trial(0, StartTrial),
    "report running": trial(1, ReportTrial, step=1, value="1"),
    "tell running": trial(1, TellTrial, objective_values=["1"]),
    "adopt": AdoptTrials(**TUNING, source="t9", trials=()),
    "delete": DeleteTuning(**TUNING),
    "create": SEARCH,
}
TUNINGS = """
                 unknown  running  paused  completed  stopped  deleted
pause               -        +       =         -         -        -
resume              -        =       +         -         -        -
stop                -        +       +         -         =        -
set attribute       -        +       +         +         +        -
ask                 -        +       -         -         -        -
start waiting       -        +       -         -         -        -
report running      -        +       +         -         +        -
tell running        -        +       +         -         +        -
adopt               -        =       =         =         =        -
delete              -        +       +         +         +        =
create              +        -       -         -         -        -
"""

# Trials


def searched(*steps: Callable[[Desk], Any]) -> Callable[[], Desk]:
    """A tuning whose values the platform chooses, with a trial that has come so far."""

    def made() -> Desk:
        desk = planned()
        for step in steps:
            step(desk)
        return desk

    return made


def told(status: TrialStatus) -> Callable[[], Desk]:
    values = ["1"] if status is TrialStatus.COMPLETED else []
    return after(SEARCH, RUNNING, trial(0, TellTrial, status=status, objective_values=values))


TRIAL_STATES: States = {
    "none": after(SEARCH),
    "requested": after(SEARCH, WAITING),
    "running": after(SEARCH, RUNNING),
    "completed": told(TrialStatus.COMPLETED),
    "pruned": told(TrialStatus.PRUNED),
    "failed": told(TrialStatus.FAILED),
    "awaited": searched(),
    "proposed": searched(lambda desk: propose(desk, 0)),
    "taken": searched(lambda desk: propose(desk, 0), lambda desk: desk.send(trial(0, StartTrial))),
}
"""The last three: of a tuning whose values the platform chooses; awaited: requested of it."""

TRIAL_COMMANDS: Commands = {
    "start": trial(0, StartTrial),
    "propose": trial(0, ProposeTrial, parameters=(PARAMETER,), known_events=1, algorithm_version="optuna"),
    "set parameter": trial(0, SetTrialParameter, parameter=PARAMETER),
    "set attribute": trial(0, SetTrialAttribute, name="a", value="1"),
    "report": trial(0, ReportTrial, step=1, value="1"),
    "requeue": trial(0, RequeueTrial),
    "tell": trial(0, TellTrial, objective_values=["1"]),
    "tell, attempt 9": trial(0, TellTrial, objective_values=["1"], attempt=9),
    "prune": trial(0, PruneTrial, step=1, value="1", known_events=1, algorithm_version="optuna"),
}
TRIALS = """
                 none  requested  running  completed  pruned  failed  awaited  proposed  taken
start              -       +         =         -         -       -        -        +        =
propose            -       -         -         -         -       -        +        =        =
set parameter      -       +         +         -         -       -        -        -        -
set attribute      -       +         +         -         -       -        +        +        +
report             -       +         +         -         -       -        +        +        +
requeue            -       =         +         -         -       -        =        =        +
tell               -       +         +         -         -       -        +        +        +
tell, attempt 9    -       -         -         -         -       -        -        -        -
prune              -       -         -         -         -       -        -        -        -
"""

# Versions of models, and of datasets

SPEC = ModelVersionSpec(bundle=ObjectRef(digest="1" * 64, size=9))
VERSION = {"version_id": "mv1"}
NUMBERED = {"model_id": "md1", "number": 1}
PUBLISHED = (RegisterModel(model_id="md1", name="digits"), CreateModelVersion(**VERSION, model_id="md1", spec=SPEC))


def looked(check: int, intact: bool) -> ReportVersionChecked:
    reason = "" if intact else "a byte is flipped"
    return ReportVersionChecked(**VERSION, check=check, intact=intact, reason=reason, files=1, size_bytes=9)


VERSION_STATES: States = {
    "pending": after(*PUBLISHED),
    "verified": after(*PUBLISHED, looked(1, True)),
    "damaged": after(*PUBLISHED, looked(1, False)),
    "live": after(*PUBLISHED, looked(1, True), SetEnvironment(**NUMBERED, environment="production")),
    "deleted": after(*PUBLISHED, looked(1, True), DeleteModelVersion(**VERSION)),
}
VERSION_COMMANDS: Commands = {
    "set alias": SetAlias(**NUMBERED, alias="champion"),
    "set environment": SetEnvironment(**NUMBERED, environment="production"),
    "promote": RequestPromotion(**NUMBERED, promotion_id="mp1", environment="production"),
    "stage": SetModelStage(**VERSION, stage=ModelStage.PRODUCTION),
    "put away": SetModelStage(**VERSION, stage=ModelStage.ARCHIVED),
    "update": UpdateModelVersion(**VERSION, notes="good"),
    "check": CheckModelVersion(**VERSION),
    "delete": DeleteModelVersion(**VERSION),
    "create": PUBLISHED[1],
    "not asked": looked(9, True),
}
VERSIONS = """
                   pending  verified  damaged  live  deleted
set alias             -         +        -       +      -
set environment       -         +        -       =      -
promote               -         +        -       -      -
stage                 -         +        -       +      -
put away              +         +        +       +      -
update                +         +        +       +      -
check                 +         +        +       +      -
delete                +         +        +       -      -
create                -         -        -       -      -
not asked             =         =        =       =      =
"""

RULED = RegisterModel(
    model_id="md1", name="digits", approval_rules=(ApprovalRule(environment="production", approvals=2),)
)
REQUEST = RequestPromotion(**NUMBERED, promotion_id="mp1", environment="production")
ASKED = (RULED, PUBLISHED[1], looked(1, True), REQUEST)
PROMOTION = {"promotion_id": "mp1"}
PROMOTION_STATES: States = {
    "unknown": after(RULED),
    "requested": after(*ASKED),
    "completed": after(PUBLISHED[0], *ASKED[1:], looked(2, True)),
    "rejected": after(*ASKED, RejectPromotion(**PROMOTION, reason="no")),
    "refused": after(*ASKED, looked(2, False)),
}
PROMOTION_COMMANDS: Commands = {
    "approve": ApprovePromotion(**PROMOTION),
    "reject": RejectPromotion(**PROMOTION, reason="slow"),
    "set environment": SetEnvironment(**NUMBERED, environment="production"),
    "request": REQUEST,
}
PROMOTIONS = """
                   unknown  requested  completed  rejected  refused
approve               -         +          -          -        -
reject                -         +          -          -        -
set environment       -         -          =          -        -
request               -         -          -          +        -
"""

DATASET = {"version_id": "ds1"}
KEPT = RegisterDataset(**DATASET, name="mnist", spec=DatasetSpec(bundle=ObjectRef(digest="1" * 64, size=9)))


def seen(intact: bool) -> ReportDatasetChecked:
    reason = "" if intact else "a byte is flipped"
    return ReportDatasetChecked(**DATASET, check=1, intact=intact, reason=reason, files=1, size_bytes=9)


DATASET_STATES: States = {
    "unknown": after(),
    "pending": after(KEPT),
    "verified": after(KEPT, seen(True)),
    "damaged": after(KEPT, seen(False)),
    "external": after(RegisterDataset(**DATASET, name="mnist", spec=DatasetSpec(digest="d1"))),
}
DATASET_COMMANDS: Commands = {
    "check": CheckDataset(**DATASET),
    "make another of it": RegisterDataset(
        version_id="ds2", name="small", spec=DatasetSpec(digest="d2", parents=("ds1",))
    ),
    "create": KEPT,
}
DATASETS = """
                      unknown  pending  verified  damaged  external
check                    -        +         +        +         -
make another of it       -        +         +        -         +
create                   +        -         -        -         -
"""


class Table(NamedTuple):
    """All states of one kind by all commands."""

    states: States
    commands: Commands
    marks: str

    def cells(self, name: str) -> list[Any]:
        head, *rows = self.marks.strip("\n").splitlines()
        columns = head.split()
        assert set(columns) == set(self.states)
        found = []
        for row in rows:
            label = row[: row.index("  ")]
            marks = row[len(label) :].split()
            assert len(marks) == len(columns), label
            found += [
                pytest.param(self, state, label, mark, id=f"{name}-{state}-{label}")
                for state, mark in zip(columns, marks, strict=True)
            ]
        assert {row[: row.index("  ")] for row in rows} == set(self.commands)
        return found


TABLES = {
    "experiment": Table(EXPERIMENT_STATES, EXPERIMENT_COMMANDS, EXPERIMENTS),
    "run": Table(RUN_STATES, RUN_COMMANDS, RUNS),
    "logged model": Table(LOGGED_MODEL_STATES, LOGGED_MODEL_COMMANDS, LOGGED_MODELS),
    "tuning": Table(TUNING_STATES, TUNING_COMMANDS, TUNINGS),
    "trial": Table(TRIAL_STATES, TRIAL_COMMANDS, TRIALS),
    "version": Table(VERSION_STATES, VERSION_COMMANDS, VERSIONS),
    "promotion": Table(PROMOTION_STATES, PROMOTION_COMMANDS, PROMOTIONS),
    "dataset": Table(DATASET_STATES, DATASET_COMMANDS, DATASETS),
}


@pytest.mark.parametrize(
    ("table", "state", "label", "mark"), [cell for name, table in TABLES.items() for cell in table.cells(name)]
)
def test_what_a_state_takes(table: Table, state: str, label: str, mark: str) -> None:
    desk, command = table.states[state](), table.commands[label]
    if mark != "-":
        assert bool(events := send(desk, command)) is (mark == "+")
        assert not any(isinstance(each, RunNotAdmitted | LoggedModelNotAdmitted) for each in events)
        return
    if isinstance(command, CreateRun | CreateLoggedModel) and label != "create":
        refused = send(desk, command)[-1]  # in a second step, see `CreateRun`
        assert isinstance(refused, RunNotAdmitted | LoggedModelNotAdmitted)
        assert f"experiment e1 is {state}" in refused.reason
        assert "; " in refused.reason, "it says what to do"
        return
    before = len(desk.events)
    with pytest.raises(Refused) as caught:
        send(desk, command)
    (error,) = caught.value.errors
    assert error.field.split(".")[0] in type(command).model_fields
    assert error.problem in caught.value.message
    assert error.hint
    assert len(desk.events) == before


@pytest.mark.parametrize(
    ("table", "statuses"),
    [
        ("experiment", [*ExperimentStatus]),
        ("run", [*RunStatus]),
        ("logged model", [*LoggedModelStatus]),
        ("tuning", [TuningStatus.RUNNING, TuningStatus.PAUSED, *TUNING_ENDS]),
        ("trial", [*TrialStatus]),
        ("version", [*VersionStatus]),
        ("promotion", [*PromotionStatus]),
        ("dataset", [*VersionStatus]),
    ],
)
def test_no_status_is_left_out(table: str, statuses: Sequence[str]) -> None:
    assert {each.value for each in statuses} <= TABLES[table].states.keys()  # type: ignore[attr-defined]


def test_no_command_is_left_out() -> None:
    """Of those that are about one of these."""
    told = {type(command) for table in TABLES.values() for command in table.commands.values()}
    elsewhere = {"ReportVersionChecked", "ReportDatasetChecked", "RegisterDataset"}
    kinds = {"experiment", "run", "logged_model", "tuning", "trial", "model_version", "promotion", "dataset"}
    missing = {kind.__name__ for decider in Desk().deciders for kind in decider.commands if kind.aggregate in kinds} - {
        kind.__name__ for kind in told
    }
    assert missing <= elsewhere
