"""The allowed moves of deployments; drawn in docs/reference/state-machines.md."""

from __future__ import annotations

from events.language.deployments.enums import DeploymentStatus
from events.language.moves import Moves, StateMachine

D = DeploymentStatus

DEPLOYMENT_MOVES: Moves[DeploymentStatus] = {
    D.PENDING: frozenset({D.DEPLOYING, D.FAILED, D.TERMINATING}),
    D.DEPLOYING: frozenset({D.RUNNING, D.FAILED, D.TERMINATING}),
    D.RUNNING: frozenset({D.UPDATING, D.SCALING, D.DEGRADED, D.TERMINATING}),
    D.UPDATING: frozenset({D.RUNNING, D.SCALING, D.DEGRADED, D.FAILED, D.TERMINATING}),
    D.SCALING: frozenset({D.RUNNING, D.UPDATING, D.DEGRADED, D.TERMINATING}),
    D.DEGRADED: frozenset({D.RUNNING, D.UPDATING, D.SCALING, D.FAILED, D.TERMINATING}),
    # A replica that gets ready after all makes it run again.
    D.FAILED: frozenset({D.RUNNING, D.UPDATING, D.DEGRADED, D.TERMINATING}),
    D.TERMINATING: frozenset({D.TERMINATED}),
    # A deployment of the same name is another one, which begins as `pending`.
    D.TERMINATED: frozenset(),
}
"""A deployment; it starts as `pending`."""

MACHINES = (
    StateMachine(
        "Deployments",
        "Only a deployment without a ready replica has `failed`. An update of it is tried all the same. A terminated\n"
        "deployment's name is free for another one.",
        DEPLOYMENT_MOVES,
    ),
)
