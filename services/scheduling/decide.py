"""The decisions of a queue: takes tasks in, places them on nodes, takes them out, and records why one waits. Pure.

    JobQueued ─► JobEnqueued ─► (a node fits) JobScheduled ─► [resources] AllocationBound
                     ▲              └─ JobDeferred (why not)       └─ AllocationRejected ─┐
                     └───────────────────────────────────────────────────────────────────┘
    JobCancelRequested ─► JobDequeued (what waits), JobUnscheduled (what was placed)

Scheduling proposes placements. Resources, the single writer of a pool's capacity, binds or rejects them.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from events.language import task_ranges as sets
from events.language.base import Command, Event
from events.language.jobs import JobCancelRequested, JobQueued
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    AllocationReleased,
    NodeCordoned,
    NodeDrained,
    NodeDraining,
    NodeLabelled,
    NodeLost,
    NodeRecovered,
    NodeRegistered,
    NodeRemoved,
    NodeTainted,
    NodeUncordoned,
)
from events.language.scheduling import (
    ConfigureQueue,
    CreateQueue,
    DeleteQueue,
    JobDeferred,
    JobDequeued,
    JobEnqueued,
    JobScheduled,
    JobUnscheduled,
    PendingReason,
    Placement,
    QueueConfigured,
    QueueCreated,
    QueueDeleted,
    QueueEntry,
    QueueStatus,
)
from events.writer.decider import Decider, DecisionContext, Route
from services.scheduling import dumps, fold, operating
from services.scheduling.engine.backlog import Entry
from services.scheduling.engine.explain import summary, waiting_for
from services.scheduling.engine.plan import Proposal, plan, undo
from services.scheduling.engine.shape import Shape
from services.scheduling.state import Queue

AT_ONCE = 2_000
"""Most placements of one `after_batch`; it is called again until nothing is left to place."""

BYTES_AT_ONCE = 1_500_000
"""About the most bytes of the events of one `after_batch`, which are appended in one batch."""

IDS_AT_ONCE = 500
"""Most allocations that one `JobUnscheduled` names."""

RECHECK_EVERY = timedelta(seconds=10)
"""Time between two checks whether the reasons why a task waits have changed."""

LOOKS_AT_ONCE = 100
NODES_AT_ONCE = 50_000
PACE = timedelta(seconds=1)
"""Most checks, and about the most nodes examined, in this time: a long queue must not fill the log with reasons, nor
keep the writer from placing."""

Known = dict[tuple[Shape, frozenset[tuple[str, str]]], tuple[PendingReason, ...]]
"""Cache of explanations by shape, and by labels if another job's rules keep such labels away."""


class Scheduling(Decider[Queue]):
    """The decider of queues; its key is the queue, which schedules onto the pool of the same name."""

    context: ClassVar[str] = "scheduling"
    aggregate: ClassVar[str] = "queue"
    commands: ClassVar[tuple[type[Command], ...]] = (ConfigureQueue, CreateQueue, DeleteQueue)
    events: ClassVar[tuple[type[Event], ...]] = (
        JobEnqueued,
        JobScheduled,
        JobDeferred,
        JobDequeued,
        JobUnscheduled,
        QueueConfigured,
        QueueCreated,
        QueueDeleted,
    )
    routes: ClassVar[Mapping[type[Event], Route]] = {
        JobQueued: lambda event: (event.request.queue,),
        JobCancelRequested: lambda event: (event.queue,),
        **dict.fromkeys(
            (
                NodeRegistered,
                NodeCordoned,
                NodeUncordoned,
                NodeDraining,
                NodeDrained,
                NodeLost,
                NodeRecovered,
                NodeLabelled,
                NodeTainted,
                NodeRemoved,
                AllocationBound,
                AllocationRejected,
                AllocationReleased,
            ),
            lambda event: (event.pool,),
        ),
    }

    reacting: ClassVar[frozenset[type[Event]] | None] = frozenset((JobQueued, JobCancelRequested, AllocationRejected))

    def initial(self, key: str) -> Queue:
        return Queue(key)

    def evolve(self, state: Queue, event: Event, time: datetime) -> Queue:
        return fold.evolve(state, event, time)

    def observe(self, state: Queue, event: Event, time: datetime) -> Queue:
        return fold.observe(state, event, time)

    # Operators

    def decide(self, state: Queue, command: Command, context: DecisionContext) -> Sequence[Event]:
        match command:
            case CreateQueue():
                return operating.create(state, command)
            case DeleteQueue():
                return operating.delete(state)
            case ConfigureQueue():
                return operating.configure(state, command)
        raise TypeError(f"{type(command).__name__} is no command of scheduling")

    # Events of jobs and resources

    def react(self, state: Queue, event: Event, context: DecisionContext) -> Sequence[Event]:
        match event:
            case JobQueued():
                return queued(state, event)
            case JobCancelRequested():
                return cancelled(state, event)
            case AllocationRejected():
                return rejected(state, event)
        return ()

    # Placing

    def after_batch(self, state: Queue, context: DecisionContext) -> Sequence[Event]:
        for id in state.tentative:
            if id not in state.placements:
                state.cluster.release(id)
        state.tentative = []
        state.backlog.wake(context.now)
        versions = (state.cluster.version, state.backlog.version)
        if state.planned == versions or state.status in (QueueStatus.PAUSED, QueueStatus.CLOSED):
            return ()
        planned = plan(state.cluster, state.backlog, state.number, AT_ONCE)
        events: list[Event] = []
        size = 0
        for index, item in enumerate(planned):
            if size > BYTES_AT_ONCE:
                undo(state.cluster, planned[index:])
                break
            event = scheduled(state, item, context.now)
            size += item.entry.job.size + sum(len(placed.tasks) + 120 for placed in event.placements)
            events.append(event)
            state.tentative += [placed.allocation_id for placed in event.placements]
        if not planned:
            state.planned = versions
            if state.cluster.shapes > len(state.backlog.ready):
                state.cluster.trim(state.backlog.ready)
        return events

    # Time

    def due(self, state: Queue) -> datetime | None:
        times = [time for time in (state.backlog.next_time(), self._next_look(state)) if time is not None]
        if state.recoveries:
            times.append(state.recoveries[0][0])
        return min(times) if times else None

    @staticmethod
    def _next_look(state: Queue) -> datetime | None:
        rechecks = state.rechecks
        while rechecks and not fold.stands(rechecks[0]):
            heapq.heappop(rechecks)
        if not rechecks:
            return None
        return max(rechecks[0][0], state.recheck_from) if state.recheck_from else rechecks[0][0]

    def wake(self, state: Queue, context: DecisionContext) -> Sequence[Event]:
        now = context.now
        state.backlog.wake(now)
        while state.recoveries and state.recoveries[0][0] <= now:
            _, node_id = heapq.heappop(state.recoveries)
            node = state.cluster.nodes.get(node_id)
            if node is not None and node.passed_over:
                state.cluster.try_again(node)
        return self._look(state, now)

    def _look(self, state: Queue, now: datetime) -> list[Event]:
        """The events that record why tasks wait, for entries whose reasons have changed."""
        events: list[Event] = []
        known: Known = {}
        looked = 0
        while (due := self._next_look(state)) is not None and due <= now:
            if looked == LOOKS_AT_ONCE or len(known) * len(state.cluster.nodes) >= NODES_AT_ONCE:
                state.recheck_from = now + PACE
                break
            looked += 1
            entry = heapq.heappop(state.rechecks)[2]
            fold.recheck(state, entry, now + RECHECK_EVERY)
            if (event := deferred(state, entry, now, known)) is not None:
                events.append(event)
        return events

    # State

    def holds(self, state: Queue, aggregate: str, id: str) -> bool:
        """Whether the job waits or is placed."""
        return id in state.backlog.jobs

    dump_version: ClassVar[int] = 4

    def dump(self, state: Queue) -> dict[str, Any]:
        return dumps.dump(state)

    def load(self, key: str, data: dict[str, Any]) -> Queue:
        return dumps.load(key, data)


def queued(queue: Queue, event: JobQueued) -> list[Event]:
    """React to tasks that are ready: take them in, if the queue takes jobs."""
    closed = queue.status is QueueStatus.CLOSED
    if not queue.exists:
        reason = operating.unknown(queue.name)
        return [
            JobDequeued(queue=queue.name, job_id=event.job_id, tasks=event.tasks, attempt=event.attempt, reason=reason)
        ]
    if closed or (queue.status is QueueStatus.DRAINING and event.attempt == 1):
        reason = f"queue {queue.name} is {queue.status.value} and takes no new jobs"
        return [
            JobDequeued(queue=queue.name, job_id=event.job_id, tasks=event.tasks, attempt=event.attempt, reason=reason)
        ]
    entry = QueueEntry(
        job_id=event.job_id,
        project=event.project,
        owner=event.owner,
        tasks=event.tasks,
        attempt=event.attempt,
        not_before=event.not_before,
        request=event.request,
        launch=event.launch,
    )
    return [JobEnqueued(queue=queue.name, job_id=event.job_id, entry=entry)]


def cancelled(queue: Queue, event: JobCancelRequested) -> list[Event]:
    """React to a cancel: waiting tasks leave the queue, placed ones are unscheduled."""
    job = queue.backlog.jobs.get(event.job_id)
    if job is None:
        return []
    tasks = sets.parse(event.tasks)
    events: list[Event] = []
    for entry in job.entries.values():
        if hit := sets.both(entry.tasks, tasks):
            events.append(
                JobDequeued(
                    queue=queue.name,
                    job_id=job.id,
                    tasks=sets.text(hit),
                    attempt=entry.attempt,
                    reason=event.reason,
                )
            )
    stops: list[str] = []
    for id in job.placements:
        placement = queue.placements[id]
        if sets.minus(sets.both(placement.tasks, tasks), placement.stopping):
            stops.append(id)
    for start in range(0, len(stops), IDS_AT_ONCE):
        ids = stops[start : start + IDS_AT_ONCE]
        held: sets.Tasks = sets.NONE
        for id in ids:
            held = sets.union(held, sets.both(queue.placements[id].tasks, tasks))
        events.append(
            JobUnscheduled(
                queue=queue.name,
                job_id=job.id,
                project=job.project,
                allocations=tuple(ids),
                tasks=sets.text(held),
                grace_seconds=event.grace_seconds,
                reason=event.reason,
            )
        )
    return events


def rejected(queue: Queue, event: AllocationRejected) -> list[Event]:
    """React to a rejected placement: its tasks wait again, except for those that are to stop."""
    placement = queue.rejected
    if placement is None or placement.id != event.allocation_id:
        return []
    job = placement.job
    events: list[Event] = []
    if again := sets.minus(placement.tasks, placement.stopping):
        entry = QueueEntry(
            job_id=job.id,
            project=job.project,
            owner=job.owner,
            tasks=sets.text(again),
            attempt=placement.attempt,
            request=job.request,
            launch=job.launch,
        )
        events.append(JobEnqueued(queue=queue.name, job_id=job.id, entry=entry))
    if placement.stopping:
        events.append(
            JobDequeued(
                queue=queue.name,
                job_id=job.id,
                tasks=sets.text(placement.stopping),
                attempt=placement.attempt,
                reason="cancelled before it was bound to a node",
            )
        )
    return events


def scheduled(queue: Queue, item: Proposal, now: datetime) -> JobScheduled:
    """The event of a plan for one entry."""
    entry, job = item.entry, item.entry.job
    ready = max(entry.since, entry.not_before) if entry.not_before else entry.since
    return JobScheduled(
        queue=queue.name,
        job_id=job.id,
        project=job.project,
        owner=job.owner,
        placements=tuple(
            Placement(
                node_id=placed.node_id,
                allocation_id=placed.id,
                tasks=sets.text(placed.tasks),
                attempt=entry.attempt,
                score=placed.score,
            )
            for placed in item.placements
        ),
        request=job.request,
        launch=job.launch,
        waited_seconds=max(0.0, (now - ready).total_seconds()),
    )


def deferred(queue: Queue, entry: Entry, now: datetime, known: Known) -> JobDeferred | None:
    """The event that records why an entry waits; None if the reasons are unchanged. `known`: explanations by shape."""
    job = entry.job
    own = queue.status in (QueueStatus.PAUSED, QueueStatus.CLOSED) or not job.allowance
    own = own or (entry.not_before is not None and entry.not_before > now)
    concerned = queue.cluster.presence.concerns(job.wish.labels)
    key = job.wish.shape, frozenset(job.wish.labels.items() if concerned else ())
    reasons = None if own else known.get(key)
    if reasons is None:
        reasons = waiting_for(entry, queue.cluster, queue.status, now)
        if not own:
            known[key] = reasons
    if not reasons or _gist(reasons) == _gist(entry.told):
        return None
    return JobDeferred(
        queue=queue.name,
        job_id=job.id,
        tasks=sets.text(entry.tasks),
        reasons=reasons,
        message=summary(reasons, len(queue.cluster.nodes)),
    )


def _gist(reasons: Sequence[PendingReason]) -> set[tuple[str, str, int]]:
    """The part of the reasons whose change is recorded. It leaves out the amounts that are free at the moment."""
    return {(reason.reason, reason.node_group, reason.nodes) for reason in reasons}
