"""The allowed moves of nodes and of allocations; drawn in docs/reference/state-machines.md."""

from __future__ import annotations

from events.language.moves import Moves, StateMachine
from events.language.resources.hardware import NodeStatus
from events.language.resources.models import AllocationStatus

N, A = NodeStatus, AllocationStatus

NODE_MOVES: Moves[NodeStatus] = {
    N.READY: frozenset({N.NOT_READY, N.CORDONED, N.DRAINING, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    N.NOT_READY: frozenset({N.READY, N.CORDONED, N.DRAINING, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    N.CORDONED: frozenset({N.READY, N.NOT_READY, N.DRAINING, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    N.DRAINING: frozenset({N.READY, N.NOT_READY, N.CORDONED, N.DRAINED, N.LOST, N.TERMINATING}),
    N.DRAINED: frozenset({N.READY, N.NOT_READY, N.CORDONED, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    # A node comes back as what it was: an operator's cordon or drain outlives the loss.
    N.LOST: frozenset({N.READY, N.CORDONED, N.DRAINING, N.DRAINED, N.MAINTENANCE, N.TERMINATING}),
    N.MAINTENANCE: frozenset({N.READY, N.NOT_READY, N.CORDONED, N.LOST, N.TERMINATING}),
    N.TERMINATING: frozenset(),
}
"""A node; it starts as `ready` when it registers, and `RemoveNode` forgets it from any status."""

ALLOCATION_MOVES: Moves[AllocationStatus] = {
    A.PENDING: frozenset({A.BOUND, A.REJECTED}),
    A.BOUND: frozenset({A.ACTIVE, A.STOPPING, A.RELEASED, A.LOST}),
    A.ACTIVE: frozenset({A.STOPPING, A.RELEASED, A.LOST}),
    A.STOPPING: frozenset({A.RELEASED, A.LOST}),
    A.RELEASED: frozenset(),
    A.REJECTED: frozenset(),
    A.LOST: frozenset(),
}
"""An allocation; it is `pending` from the placement until the pool's writer has bound or rejected it."""

MACHINES = (
    StateMachine("Nodes", "A lost node comes back as what it was: a cordon or drain outlives the loss.", NODE_MOVES),
    StateMachine(
        "Allocations", "An allocation holds its resources from `bound` until `released` or `lost`.", ALLOCATION_MOVES
    ),
)
