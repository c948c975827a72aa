"""The allowed moves of experiments and runs; drawn in docs/reference/state-machines.md."""

from __future__ import annotations

from events.language.experiments.enums import ExperimentStatus, RunStatus
from events.language.experiments.logged_models import LoggedModelStatus
from events.language.experiments.registry.models import PromotionStatus, VersionStatus
from events.language.experiments.tuning_models import TRIAL_MOVES, TUNING_MOVES
from events.language.moves import Moves, StateMachine

E = ExperimentStatus
R = RunStatus
V = VersionStatus
P = PromotionStatus
L = LoggedModelStatus

EXPERIMENT_MOVES: Moves[ExperimentStatus] = {
    E.DRAFT: frozenset({E.RUNNING, E.ARCHIVED}),
    E.RUNNING: frozenset({E.PAUSED, E.COMPLETED, E.FAILED}),
    E.PAUSED: frozenset({E.RUNNING, E.COMPLETED, E.FAILED}),
    # A later run may change the answer.
    E.COMPLETED: frozenset({E.RUNNING, E.ARCHIVED}),
    E.FAILED: frozenset({E.RUNNING, E.ARCHIVED}),
    E.ARCHIVED: frozenset(),
}
"""An experiment; it starts as `draft`."""

RUN_MOVES: Moves[RunStatus] = {
    R.SCHEDULED: frozenset({R.RUNNING, R.FINISHED, R.FAILED, R.KILLED}),
    R.RUNNING: frozenset({R.FINISHED, R.FAILED, R.KILLED}),
    # MLflow's clients resume runs, and correct how one ended.
    R.FINISHED: frozenset({R.RUNNING, R.FAILED, R.KILLED}),
    R.FAILED: frozenset({R.RUNNING, R.FINISHED, R.KILLED}),
    R.KILLED: frozenset({R.RUNNING, R.FINISHED, R.FAILED}),
}
"""A run; it starts as `scheduled` if it has a job that has not begun, and else as `running`."""

VERSION_MOVES: Moves[VersionStatus] = {
    V.PENDING: frozenset({V.VERIFIED, V.DAMAGED}),
    V.VERIFIED: frozenset({V.DAMAGED}),
    V.DAMAGED: frozenset({V.VERIFIED}),
}
"""A version of a model, or of a dataset; it starts as `pending`."""

PROMOTION_MOVES: Moves[PromotionStatus] = {
    P.REQUESTED: frozenset({P.COMPLETED, P.REJECTED, P.REFUSED}),
    P.COMPLETED: frozenset(),
    P.REJECTED: frozenset(),
    P.REFUSED: frozenset(),
}
"""A promotion; it starts as `requested`."""

LOGGED_MODEL_MOVES: Moves[LoggedModelStatus] = {
    L.PENDING: frozenset({L.READY, L.FAILED}),
    # MLflow's clients correct how one ended.
    L.READY: frozenset({L.FAILED}),
    L.FAILED: frozenset({L.READY}),
}
"""A logged model; it starts as `pending`."""

MACHINES = (
    StateMachine(
        "Experiments",
        "The first run sets a draft to `running`. An archived one is only read; its runs may still log and end. A\n"
        "deleted one keeps its status, and has it again when it is restored.",
        EXPERIMENT_MOVES,
    ),
    StateMachine("Runs", "A run that its process leaves unfinished is ended by the end of that process.", RUN_MOVES),
    StateMachine(
        "Tunings",
        "While a tuning is paused, and once it has ended, no trial begins. Trials that run may still be told.\n"
        "A deleted tuning keeps its status.",
        TUNING_MOVES,
    ),
    StateMachine(
        "Trials",
        "A trial ends once. From `running` back to `requested` it goes when its process is lost, as its next attempt.",
        TRIAL_MOVES,
    ),
    StateMachine(
        "Logged models",
        "A logged model is ready once its program says that all of its files are there. A deleted one keeps its\n"
        "status.",
        LOGGED_MODEL_MOVES,
    ),
    StateMachine(
        "Versions of models and datasets",
        "Each look at the files says whether they are as registered. A file that was restored makes a version\n"
        "verified again.",
        VERSION_MOVES,
    ),
    StateMachine(
        "Promotions",
        "A promotion is completed once the files were looked at and enough people agree.",
        PROMOTION_MOVES,
    ),
)
