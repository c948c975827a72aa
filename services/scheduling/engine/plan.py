"""Plans placements: takes the backlog in its order, and each task to the best node that fits. Snapshot in, plan out.

Best-effort order (as Kueue's BestEffortFIFO): a task that fits nowhere now is skipped, so an impossible request delays
no other task. If a task of one shape fits nowhere, all tasks of that shape are skipped.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from hashlib import sha256

from events.language.task_ranges import Tasks, count, split
from services.scheduling.engine.backlog import Backlog, Entry, Order
from services.scheduling.engine.candidates import Candidates
from services.scheduling.engine.cluster import Cluster
from services.scheduling.engine.node import Hold
from services.scheduling.engine.shape import Shape, room

MOST_PLACEMENTS = 500
"""Most placements of one entry in one plan: an event carries that many."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Tasks and the node to place them on."""

    id: str
    node_id: str
    tasks: Tasks
    score: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """The placements of one entry."""

    entry: Entry
    placements: tuple[Placed, ...]


_LONGEST_JOB_ID = 96
"""Most characters of a job's id in an allocation's id. A longer id is shortened to one character more, so that it never
equals the id of another job."""

_DIGEST = 24


def allocation_id(job_id: str, attempt: int, number: int) -> str:
    """The unique id of a queue's placement with this number; at most 128 characters."""
    if len(job_id) > _LONGEST_JOB_ID:
        digest = sha256(job_id.encode()).hexdigest()[:_DIGEST]
        job_id = f"{job_id[: _LONGEST_JOB_ID - _DIGEST]}-{digest}"
    return f"{job_id}.{attempt}.{number}"


def plan(cluster: Cluster, backlog: Backlog, number: int, most: int) -> list[Proposal]:
    """The placements to make now, about `most` at most. The first one gets allocation number `number`.

    The cluster holds the placements when this returns: call `undo`, or let events with the same ids confirm them.
    """
    cluster.refresh()
    planned: list[Proposal] = []
    heads: list[tuple[Order, int, Shape]] = []
    at: dict[Shape, int] = {}
    for serial, (shape, entries) in enumerate(backlog.ready.items()):
        heads.append((entries[0].order, serial, shape))
        at[shape] = 0
    heapq.heapify(heads)
    allowed: dict[str, int] = {}
    while heads and most > 0:
        _, serial, shape = heapq.heappop(heads)
        entries = backlog.ready[shape]
        entry = entries[at[shape]]
        placements, full = _place(cluster, entry, allowed, number, min(most, MOST_PLACEMENTS))
        if placements:
            planned.append(Proposal(entry, tuple(placements)))
            number += len(placements)
            most -= len(placements)
        if full and not cluster.presence.concerns(entry.job.wish.labels):
            continue
        at[shape] += 1
        if at[shape] < len(entries):
            heapq.heappush(heads, (entries[at[shape]].order, serial, shape))
    return planned


def _place(
    cluster: Cluster, entry: Entry, allowed: dict[str, int], number: int, most: int
) -> tuple[list[Placed], bool]:
    """Placements of one entry, and whether no node can take more of its shape."""
    job = entry.job
    allowance = allowed.get(job.id)
    if allowance is None:
        allowance = job.allowance
    left = entry.tasks
    placements: list[Placed] = []
    candidates = _candidates(cluster, entry)
    full = False
    while left and allowance > 0 and len(placements) < most:
        best = candidates.best()
        if best is None:
            full = True
            break
        node, score = best
        fitting = 1 if job.wish.apart else room(job.wish, node)
        tasks, left = split(left, min(fitting, allowance))
        allowance -= count(tasks)
        id = allocation_id(job.id, entry.attempt, number + len(placements))
        cluster.hold(
            Hold(
                id,
                job.id,
                node.id,
                tasks,
                job.request.resources,
                job.wish.shape.request,
                job.request.labels,
                job.wish.affinity,
            )
        )
        placements.append(Placed(id, node.id, tasks, round(score, 6)))
    allowed[job.id] = allowance
    return placements, full


def _candidates(cluster: Cluster, entry: Entry) -> Candidates:
    """The candidates for an entry; its own heap if another job's rules concern its labels."""
    wish = entry.job.wish
    if wish.shape.job_id or not cluster.presence.concerns(wish.labels):
        return cluster.candidates(wish)
    return Candidates(cluster, wish)


def undo(cluster: Cluster, planned: list[Proposal]) -> None:
    """Release the holds of a plan."""
    for item in planned:
        for placement in item.placements:
            cluster.release(placement.id)
