"""The state of a queue: its waiting entries, its placements, and a view of the nodes of its pool.

It is folded from scheduling's own events (entries, placements), which are the queue's history, and from those of
resources (nodes, outcomes of placements), which are the view. `engine.Cluster` combines the two in any order.
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
    """The tasks that have not released their share, as far as is known."""
    stopping: Tasks = NONE
    """The tasks of `tasks` that are to stop."""


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
    """Number of the next allocation."""
    agent_taints: dict[str, tuple[Taint, ...]] = field(default_factory=dict)
    """Node → the taints that its agent announced, without those of operators."""

    # Volatile: recomputed after a restart.

    rejected: PlacedTasks | None = None
    """The placement that the current event is about."""
    planned: tuple[int, int] | None = None
    """Versions of cluster and backlog for which there is nothing to place."""
    tentative: list[str] = field(default_factory=list)
    """Allocations that the last plan holds on the cluster; undone unless they became placements."""
    rechecks: list[tuple[datetime, int, Entry]] = field(default_factory=list)
    """Heap of the checks of why entries wait, by time."""
    most_rechecks: int = LEAST_RECHECKS
    """Length from which the heap is cleared of checks whose entries do not wait any more."""
    recheck_from: datetime | None = None
    """Earliest time of the next checks, which are rate-limited."""
    recoveries: list[tuple[datetime, str]] = field(default_factory=list)
    """Heap of the times to try nodes again that rejected a placement."""
    serial: int = 0

    @property
    def exists(self) -> bool:
        """Whether it takes jobs: it was created, or its pool has nodes."""
        return self.made or self.name == DEFAULT_QUEUE or bool(self.cluster.nodes)
