"""Waiting tasks: ready ones by shape and in order, ones in back-off, and ones of jobs at `max_parallel`."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from sortedcontainers import SortedKeyList

from events.language.jobs.spec import PRIORITY_WEIGHT, JobLaunch, QueueRequest
from events.language.scheduling import PendingReason, SchedulingPolicy
from events.language.task_ranges import NONE, Tasks, count, union
from services.scheduling.engine.shape import Shape, Wish, wish_of

Order = tuple[int, float, str, int]
"""Sort key; the smallest comes first: priority (0 under fifo), time of submission, job, attempt."""


EntryKey = tuple[int, datetime | None]
"""Attempt, and the earliest start of its tasks: each retry of an array's tasks has its own."""


@dataclass(slots=True)
class Job:
    """A job with waiting or placed tasks."""

    id: str
    project: str
    owner: str
    request: QueueRequest
    launch: JobLaunch
    wish: Wish
    entries: dict[EntryKey, Entry] = field(default_factory=dict)
    """Its waiting entries."""
    placements: dict[str, Tasks] = field(default_factory=dict)
    """Allocation → tasks that have or are about to get their share."""
    placed: int = 0
    """The number of those tasks."""
    size: int = 0
    """About the bytes of request and launch as JSON."""

    @property
    def allowance(self) -> int:
        """How many more tasks may be placed under `max_parallel`."""
        most = self.request.max_parallel
        return 1 << 30 if most is None else max(0, most - self.placed)


@dataclass(slots=True, eq=False)
class Entry:
    """Waiting tasks of one attempt of a job, with the same earliest start."""

    job: Job
    attempt: int
    tasks: Tasks
    since: datetime
    """When it was enqueued."""
    not_before: datetime | None = None
    asleep: bool = False
    """Whether its earliest start has not come yet."""
    told: tuple[PendingReason, ...] = ()
    """The reasons that were last recorded."""
    recheck_at: datetime | None = None
    """When to check the reasons again."""
    order: Order = (0, 0.0, "", 0)
    """Its sort key among the ready entries."""


_ORDER = attrgetter("order")


class Backlog:
    """Entries that may be placed now, by shape, in the policy's order; and the other entries."""

    def __init__(self, policy: SchedulingPolicy = SchedulingPolicy.PRIORITY) -> None:
        self.policy = policy
        self.jobs: dict[str, Job] = {}
        self.ready: dict[Shape, SortedKeyList[Entry, Order]] = {}
        self.parked: dict[str, list[Entry]] = {}
        """Job at its `max_parallel` → its entries."""
        self.timed: list[tuple[datetime, int, Entry]] = []
        """Heap of entries in back-off. A removed entry stays until it is at the top."""
        self.version = 0
        """Raised by every change."""
        self._serial = 0

    # Jobs

    def job(self, id: str, project: str, owner: str, request: QueueRequest, launch: JobLaunch) -> Job:
        """The job, created if it is new. Its request is the same for all its attempts."""
        found = self.jobs.get(id)
        if found is None:
            wish = wish_of(id, request.resources, request.scheduling, request.labels)
            size = len(request.model_dump_json()) + len(launch.model_dump_json())
            found = self.jobs[id] = Job(id, project, owner, request, launch, wish, size=size)
        return found

    def forget(self, job: Job) -> None:
        """Drop a job without waiting and placed tasks."""
        if not job.entries and not job.placements:
            self.jobs.pop(job.id, None)
            self.parked.pop(job.id, None)

    def place(self, job: Job, allocation_id: str, tasks: Tasks) -> None:
        self.version += 1
        job.placements[allocation_id] = tasks
        job.placed += count(tasks)

    def unplace(self, job: Job, allocation_id: str, rest: Tasks) -> None:
        """Reduce an allocation to the tasks in `rest`."""
        self.version += 1
        before = job.placements.pop(allocation_id, NONE)
        job.placed -= count(before) - count(rest)
        if rest:
            job.placements[allocation_id] = rest
        for entry in self.parked.pop(job.id, []):
            self._file(entry)

    # Entries

    def order(self, entry: Entry) -> Order:
        request = entry.job.request
        weight = PRIORITY_WEIGHT[request.priority] if self.policy is not SchedulingPolicy.FIFO else 0
        return -weight, request.submitted_at.timestamp(), entry.job.id, entry.attempt

    def add(self, job: Job, attempt: int, tasks: Tasks, since: datetime, not_before: datetime | None) -> Entry:
        """Add waiting tasks. They join an entry of their attempt that is ready, or that has the same earliest start."""
        self.version += 1
        if not_before is not None and not_before <= since:
            not_before = None
        key = attempt, not_before
        entry = job.entries.get(key)
        if entry is not None:
            entry.tasks = union(entry.tasks, tasks)
            return entry
        entry = job.entries[key] = Entry(job, attempt, tasks, since, not_before, not_before is not None)
        if not_before is not None:
            self._serial += 1
            heapq.heappush(self.timed, (not_before, self._serial, entry))
        else:
            self._file(entry)
        return entry

    def take(self, entry: Entry, rest: Tasks) -> None:
        """Reduce an entry to the tasks in `rest`."""
        self.version += 1
        entry.tasks = rest
        if rest:
            if not entry.job.allowance:
                self._unfile(entry)
                self._file(entry)
            return
        del entry.job.entries[entry.attempt, entry.not_before]
        self._unfile(entry)

    def wake(self, now: datetime) -> None:
        """Make entries ready whose earliest start has come."""
        while self.timed and self.timed[0][0] <= now:
            entry = heapq.heappop(self.timed)[2]
            if entry.tasks:
                self.version += 1
                entry.asleep = False
                self._file(entry)

    def next_time(self) -> datetime | None:
        """The earliest start of the next entry in back-off."""
        while self.timed and not self.timed[0][2].tasks:
            heapq.heappop(self.timed)
        return self.timed[0][0] if self.timed else None

    def reorder(self, policy: SchedulingPolicy) -> None:
        """Order the entries by another policy."""
        self.policy = policy
        self.version += 1
        for shape, entries in self.ready.items():
            for entry in entries:
                entry.order = self.order(entry)
            self.ready[shape] = SortedKeyList(list(entries), key=_ORDER)

    def _file(self, entry: Entry) -> None:
        if not entry.tasks or entry.asleep:
            return
        if not entry.job.allowance:
            self.parked.setdefault(entry.job.id, []).append(entry)
            return
        shape = entry.job.wish.shape
        if shape not in self.ready:
            self.ready[shape] = SortedKeyList(key=_ORDER)
        entry.order = self.order(entry)
        self.ready[shape].add(entry)

    def _unfile(self, entry: Entry) -> None:
        shape = entry.job.wish.shape
        listed = self.ready.get(shape)
        if listed is not None:
            listed.discard(entry)
            if not listed:
                del self.ready[shape]
        if entry in (parked := self.parked.get(entry.job.id, [])):
            parked.remove(entry)
            if not parked:
                del self.parked[entry.job.id]

    def __iter__(self) -> Iterator[Entry]:
        for job in self.jobs.values():
            yield from job.entries.values()

    def waiting(self) -> int:
        """The number of waiting tasks."""
        return sum(count(entry.tasks) for entry in self)
