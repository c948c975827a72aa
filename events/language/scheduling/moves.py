"""The allowed moves of queues; drawn in docs/reference/state-machines.md."""

from __future__ import annotations

from events.language.moves import Moves, StateMachine
from events.language.scheduling.models import QueueStatus

Q = QueueStatus

QUEUE_MOVES: Moves[QueueStatus] = {
    Q.ACTIVE: frozenset({Q.PAUSED, Q.DRAINING, Q.CLOSED}),
    Q.PAUSED: frozenset({Q.ACTIVE, Q.DRAINING, Q.CLOSED}),
    Q.DRAINING: frozenset({Q.ACTIVE, Q.PAUSED, Q.CLOSED}),
    Q.CLOSED: frozenset({Q.ACTIVE, Q.PAUSED}),
}
"""A queue; it starts as `active`."""

MACHINES = (StateMachine("Queues", "Set by `ConfigureQueue`.", QUEUE_MOVES),)
