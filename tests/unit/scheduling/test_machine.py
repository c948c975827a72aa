"""A queue and the real decider of its pool, with any delay between them: no task is lost, doubled or squeezed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from events.language import task_ranges as sets
from events.language.base import Command, Event
from events.language.common import Refused
from events.language.jobs import JobQueued
from events.language.jobs.spec import JobPriority, Toleration
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    AllocationReleased,
    CordonNode,
    DrainNode,
    NodeRegistered,
    ReleaseReason,
    RemoveNode,
    Taint,
    TaintNode,
    UncordonNode,
)
from events.language.resources.amounts import CPU_TOLERANCE
from events.language.resources.hardware import NodeStatus
from events.language.scheduling import (
    ConfigureQueue,
    JobDequeued,
    JobEnqueued,
    JobScheduled,
    JobUnscheduled,
    QueueStatus,
    SchedulingPolicy,
)
from tests.unit.resources.pools import Pools, ended, gpu, heartbeat, register
from tests.unit.scheduling.queues import GIB, QUEUE, Queues, cancel, job, same_view

NODES = st.sampled_from(["n1", "n2"])
TASKS = st.sampled_from(["0", "0-3", "1-2,5"])

Task = tuple[str, int, int]
"""Job, task, attempt."""

WAITS, IN_FLIGHT, BOUND, OVER = "waits", "in flight", "bound", "over"


class QueueMachine(RuleBasedStateMachine):
    """Acts as jobs, agents and operators; what the queue and the pool tell each other arrives in order, some time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queues()
        self.pool = Pools(lost_after=15.0)
        self.to_pool: deque[Event] = deque()
        self.to_queue: deque[Event] = deque()
        self.stage: dict[Task, str] = {}
        self.jobs: dict[str, JobQueued] = {}
        self.cancelled: set[tuple[str, int]] = set()
        self.reregistered: set[str] = set()
        """Nodes that may have less than the queue has placed there, until what it placed is gone: what the queue has
        decided without knowing of the new registration, the pool refuses or releases."""
        self.scheduled: list[Event] = []

    # What each says

    def move(self, job_id: str, tasks: str, attempt: int, old: Iterable[str | None], new: str) -> None:
        for task in sets.each(sets.parse(tasks)):
            key = job_id, task, attempt
            assert self.stage.get(key) in old, f"{key} is {self.stage.get(key)} and becomes {new}"
            self.stage[key] = new

    def queue_says(self, events: list[Event]) -> None:
        for event in events:
            self.scheduled.append(event)
            match event:
                case JobEnqueued():
                    self.move(event.job_id, event.entry.tasks, event.entry.attempt, (None, IN_FLIGHT), WAITS)
                case JobScheduled():
                    for placed in event.placements:
                        self.move(event.job_id, placed.tasks, placed.attempt, (WAITS,), IN_FLIGHT)
                    self.to_pool.append(event)
                case JobDequeued():
                    self.move(event.job_id, event.tasks, event.attempt, (None, WAITS, IN_FLIGHT), OVER)
                case JobUnscheduled():
                    self.to_pool.append(event)

    def pool_says(self, events: list[Event]) -> None:
        for event in events:
            self.to_queue.append(event)
            self.queue.said(event)
            if isinstance(event, AllocationReleased) and event.reason is ReleaseReason.NODE_LOST:
                self.again(event.job_id, event.tasks, event.attempt + 1, 0)

    def again(self, job_id: str, tasks: str, attempt: int, delay: float) -> None:
        """As jobs does by restart policy: another attempt for what was not cancelled."""
        left = [task for task in sets.each(sets.parse(tasks)) if (job_id, task) not in self.cancelled]
        if not left:
            return
        ranges = sets.text(sets.union(tuple((task, task) for task in left), sets.NONE))
        not_before = self.queue.now + timedelta(seconds=delay) if delay else None
        changes = {"tasks": ranges, "attempt": attempt, "not_before": not_before}
        self.queue_says(self.queue.event(self.jobs[job_id].model_copy(update=changes)))

    def command(self, command: Command) -> None:
        try:
            self.pool_says(self.pool.command(command))
        except Refused:
            pass  # a refusal is an answer; the invariants say whether all is sound

    # Agents and operators

    @initialize(gpus=st.integers(0, 3))
    def start(self, gpus: int) -> None:
        for node in ("n1", "n2"):
            self.register(node, "b1", gpus, 4.0)
        self.all_is_heard()

    @rule(node=NODES, boot=st.sampled_from(["b1", "b2"]), gpus=st.integers(0, 3), cpus=st.sampled_from([2.0, 4.0]))
    def register(self, node: str, boot: str, gpus: int, cpus: float) -> None:
        devices = [gpu(i, "NVIDIA A10" if i % 2 else "NVIDIA H200") for i in range(gpus)]
        self.command(register(node, boot=boot, gpus=devices, capacity={"cpus": cpus}))

    @rule(node=NODES, kind=st.sampled_from([CordonNode, DrainNode, RemoveNode, *[UncordonNode] * 4]))
    def hold(self, node: str, kind: Any) -> None:
        self.command(kind(pool=QUEUE, node_id=node))

    @rule(node=NODES, taints=st.sampled_from([(), (), (Taint(key="team"),)]))
    def taint(self, node: str, taints: tuple[Taint, ...]) -> None:
        self.command(TaintNode(pool=QUEUE, node_id=node, taints=taints))

    @precondition(lambda self: self.pool.state.allocations)
    @rule(data=st.data(), whole=st.booleans(), retry=st.sampled_from([None, 0.0, 0.0, 3.0]))
    def end(self, data: st.DataObject, whole: bool, retry: float | None) -> None:
        """An agent reports ends; jobs may want another attempt, and say so before the queue knows of the end."""
        id = data.draw(st.sampled_from(sorted(self.pool.state.allocations)))
        allocation = self.pool.state.allocations[id]
        tasks = sets.text(allocation.held if whole else sets.split(allocation.held, 1)[0])
        job_id, attempt = allocation.job_id, allocation.attempt
        self.command(ended((id, tasks), node_id=allocation.node_id))
        if retry is not None:
            self.again(job_id, tasks, attempt + 1, retry)

    # Users

    @rule(
        tasks=TASKS,
        priority=st.sampled_from([JobPriority.LOW, JobPriority.HIGH]),
        max_parallel=st.sampled_from([None, None, 2]),
        tolerations=st.sampled_from([(), (Toleration(),)]),
        wanted=st.fixed_dictionaries(
            {
                "cpus": st.sampled_from([1 / 3, 1.0]),
                "memory_bytes": st.sampled_from([GIB, 3 * GIB]),
                "gpus": st.sampled_from([0, 0, 1, 2]),
                "exclusive": st.sampled_from([False, False, True]),
            }
        ),
        typed=st.booleans(),
    )
    def submit(self, tasks: str, wanted: dict[str, Any], typed: bool, **more: Any) -> None:
        id = f"job-{len(self.jobs)}"
        if typed and wanted["gpus"]:
            wanted["gpu_type"] = "a10"
        self.jobs[id] = job(id, tasks, **wanted, **more)
        self.queue_says(self.queue.event(self.jobs[id]))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), tasks=st.sampled_from(["0-9", "1"]))
    def cancel(self, data: st.DataObject, tasks: str) -> None:
        id = data.draw(st.sampled_from(sorted(self.jobs)))
        self.cancelled.update((id, task) for task in sets.each(sets.parse(tasks)))
        self.queue_says(self.queue.event(cancel(id, tasks)))
        assert self.queue.event(cancel(id, tasks)) == []

    @rule(
        policy=st.sampled_from([None, SchedulingPolicy.FIFO, SchedulingPolicy.PRIORITY]),
        status=st.sampled_from([*QueueStatus, *[QueueStatus.ACTIVE] * 5]),
    )
    def configure(self, policy: SchedulingPolicy | None, status: QueueStatus | None) -> None:
        try:
            self.queue_says(self.queue.command(ConfigureQueue(queue=QUEUE, policy=policy, status=status)))
        except Refused:
            pass  # the move is not allowed

    # Time and delivery

    @rule(seconds=st.sampled_from([0.5, 2.0, 20.0]), heard=st.sampled_from([True, True, True, False]))
    def time_passes(self, seconds: float, heard: bool) -> None:
        self.queue_says(self.queue.after(seconds))
        if heard:
            for node in self.pool.state.nodes:
                self.command(heartbeat(node))
        self.pool_says(self.pool.after(seconds))

    @rule(count=st.integers(1, 5))
    def pool_hears(self, count: int) -> None:
        for _ in range(min(count, len(self.to_pool))):
            self.pool_says(self.pool.event(self.to_pool.popleft()))

    @rule(count=st.integers(1, 5))
    def queue_hears(self, count: int) -> None:
        heard = [self.to_queue.popleft() for _ in range(min(count, len(self.to_queue)))]
        for event in heard:
            match event:
                case NodeRegistered():
                    self.reregistered.add(event.node_id)
                case AllocationBound():
                    self.move(event.job_id, event.tasks, event.attempt, (IN_FLIGHT,), BOUND)
                case AllocationReleased():
                    self.move(event.job_id, event.tasks, event.attempt, (BOUND,), OVER)
        self.queue_says(self.queue.event(*heard))
        for event in heard:
            if isinstance(event, AllocationRejected):
                assert self.queue.event(event) == []

    @rule()
    def all_is_heard(self) -> None:
        """Once all has arrived, both have the same idea of who holds what, and of what is free."""
        while self.to_pool or self.to_queue:
            self.pool_hears(len(self.to_pool))
            self.queue_hears(len(self.to_queue))
        cluster, pool = self.queue.state.cluster, self.pool.state
        assert {id: hold.tasks for id, hold in cluster.holds.items()} == {
            id: allocation.held for id, allocation in pool.allocations.items()
        }
        assert set(cluster.nodes) == set(pool.nodes)
        for id, node in cluster.nodes.items():
            free = pool.nodes[id].free
            assert tuple(node.free) == (free.cpus, free.memory, free.gpus, free.storage, free.network)
            assert set(node.taken) == set(pool.nodes[id].gpus)
            assert (node.status is NodeStatus.READY) == (pool.nodes[id].status is NodeStatus.READY)

    # Restarts

    @rule()
    def restart(self) -> None:
        """A new writer folds the queue's own history, and then the view."""
        self.queue.state = self.queue.replayed()
        self.queue_says(self.queue.settle())

    @rule()
    def restart_from_a_snapshot(self) -> None:
        dumped = self.queue.decider.dump(self.queue.state)
        self.queue.state = self.queue.decider.load(QUEUE, dumped)
        assert self.queue.decider.dump(self.queue.state) == dumped
        self.queue_says(self.queue.settle())

    # What must always hold

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        state = self.queue.state
        waiting = [(e.job.id, task, e.attempt) for e in state.backlog for task in sets.each(e.tasks)]
        placed = [(p.job.id, task, p.attempt) for p in state.placements.values() for task in sets.each(p.tasks)]
        assert len(waiting) == len(set(waiting))
        assert len(placed) == len(set(placed))
        assert set(waiting) == {task for task, stage in self.stage.items() if stage == WAITS}
        assert set(placed) == {task for task, stage in self.stage.items() if stage in (IN_FLIGHT, BOUND)}
        assert set(state.backlog.jobs) == {job for job, _, _ in [*waiting, *placed]}

    @invariant()
    def no_node_is_overcommitted(self) -> None:
        for id, node in self.queue.state.cluster.nodes.items():
            held = [index for hold in node.holds.values() for indices in hold.gpus.values() for index in indices]
            if not node.holds:
                self.reregistered.discard(id)
            if id not in self.reregistered:
                assert node.free[0] >= -CPU_TOLERANCE
                assert min(node.free[1:]) >= 0
                assert len(held) == len(set(held))
            if node.held:
                assert set(node.jobs) == {node.held}

    @invariant()
    def limits_are_kept(self) -> None:
        for known in self.queue.state.backlog.jobs.values():
            assert known.placed == sum(map(sets.count, known.placements.values()))
            assert known.request.max_parallel is None or known.placed <= known.request.max_parallel

    @invariant()
    def the_log_tells_all(self) -> None:
        assert same_view(self.queue.replayed(), self.queue.state)
        assert same_view(self.queue.interleaved(), self.queue.state)

    @invariant()
    def a_snapshot_tells_all(self) -> None:
        decider = self.queue.decider
        assert same_view(decider.load(QUEUE, decider.dump(self.queue.state)), self.queue.state)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
