"""The allowed moves of pipelines, their runs and stages; drawn in docs/reference/state-machines.md."""

from __future__ import annotations

from events.language.moves import Moves, StateMachine
from events.language.pipelines.enums import PipelineStatus, StageStatus

P = PipelineStatus
S = StageStatus

PIPELINE_MOVES: Moves[PipelineStatus] = {
    P.DRAFT: frozenset({P.ACTIVE, P.CANCELLED}),
    P.ACTIVE: frozenset({P.PAUSED, P.CANCELLED}),
    P.PAUSED: frozenset({P.ACTIVE, P.CANCELLED}),
    # A pipeline of the same name is another one, which begins as `draft`.
    P.CANCELLED: frozenset(),
}
"""A pipeline; it starts as `draft`. The other statuses are those of runs."""

RUN_MOVES: Moves[PipelineStatus] = {
    P.QUEUED: frozenset({P.RUNNING, P.CANCELLED}),
    P.RUNNING: frozenset({P.PAUSED, P.COMPLETED, P.FAILED, P.CANCELLED}),
    P.PAUSED: frozenset({P.RUNNING, P.COMPLETED, P.FAILED, P.CANCELLED}),
    P.COMPLETED: frozenset(),
    # A retry: what failed is done again. Cancelled: records of a topic that wait for it are given up.
    P.FAILED: frozenset({P.RUNNING, P.CANCELLED}),
    P.CANCELLED: frozenset(),
}
"""A run; it starts as `queued`. The other statuses are those of pipelines."""

STAGE_MOVES: Moves[StageStatus] = {
    # Completed at once: nothing has changed since an earlier run. Failed at once: its condition can't be evaluated.
    S.PENDING: frozenset({S.RUNNING, S.SKIPPED, S.COMPLETED, S.FAILED}),
    S.RUNNING: frozenset({S.COMPLETED, S.FAILED, S.RETRYING, S.SKIPPED}),
    # Failed at once: no worker gets ready. Completed at once: it has no task.
    S.RETRYING: frozenset({S.RUNNING, S.SKIPPED, S.FAILED, S.COMPLETED}),
    # The run is retried: what failed is done again, and what was skipped because of it waits for it.
    S.FAILED: frozenset({S.RETRYING}),
    S.SKIPPED: frozenset({S.PENDING}),
    S.COMPLETED: frozenset(),
}
"""A stage of a run; it starts as `pending`."""

MACHINES = (
    StateMachine(
        "Pipelines",
        "A cancelled pipeline is retired: its history stays, and its name is free for another one.",
        PIPELINE_MOVES,
    ),
    StateMachine(
        "Runs of pipelines",
        "A paused run starts no stage; those that run go on. Only a failed run can be retried. "
        "One that has records of a topic, which later ones wait for, can be cancelled.",
        RUN_MOVES,
    ),
    StateMachine(
        "Stages of runs",
        "A retrying stage waits for its next attempt.",
        STAGE_MOVES,
    ),
)
