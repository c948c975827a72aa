"""A queue as the log tells it: what waits, what was placed where, and the pool's nodes as far as news of them has come.

Folded from scheduling's own events (entries, placements) and from those of resources (nodes, what became of the
placements): the first are the queue's history, the second a view. They meet in `engine.Cluster`, which does not mind
their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from events.language.common import DEFAULT_QUEUE
from events.language.resources import Taint
from events.language.scheduling import QueueStatus
from events.language.task_ranges import NONE, Tasks
from services.scheduling.engine.backlog import Backlog, Entry, Job
from services.scheduling.engine.cluster import Cluster

LEAST_RECHECKS = 1_024


@dataclass(slots=True)
class PlacedTasks:
    """Tasks that have, or are about to get, a share of a node."""

    id: str
    job: Job
    node_id: str
    attempt: int
    tasks: Tasks
    """Those not known to have given it back."""
    stopping: Tasks = NONE
    """Those of `tasks` that are to stop."""


@dataclass(slots=True)
class Queue:
    """One queue and the pool of the same name."""

    name: str
    status: QueueStatus = QueueStatus.ACTIVE
    backlog: Backlog = field(default_factory=Backlog)
    cluster: Cluster = field(default_factory=Cluster)
    placements: dict[str, PlacedTasks] = field(default_factory=dict)
    made: bool = False
    """Whether its own history says that there is such a queue: it was made, changed or given a job, and not deleted."""
    number: int = 1
    """Of the next allocation."""
    agent_taints: dict[str, tuple[Taint, ...]] = field(default_factory=dict)
    """Node → the taints its agent announced; operators' come on top."""

    # Volatile: worked out anew after a restart.

    rejected: PlacedTasks | None = None
    """The placement that the event being handled speaks of."""
    planned: tuple[int, int] | None = None
    """Versions of cluster and backlog for which there is nothing to place."""
    tentative: list[str] = field(default_factory=list)
    """Allocations that the last plan holds on the cluster; void unless they became placements."""
    rechecks: list[tuple[datetime, int, Entry]] = field(default_factory=list)
    """Heap of when to see why an entry waits."""
    most_rechecks: int = LEAST_RECHECKS
    """When there are more, those of entries that wait no more are dropped."""
    recheck_from: datetime | None = None
    """No looks before this time: they are paced."""
    recoveries: list[tuple[datetime, str]] = field(default_factory=list)
    """Heap of when to try a node again that rejected a placement."""
    serial: int = 0

    @property
    def exists(self) -> bool:
        """Whether it takes jobs at all: it was made, or its pool has nodes."""
        return self.made or self.name == DEFAULT_QUEUE or bool(self.cluster.nodes)
