"""Scheduling's own figures, in memory: placements/s and the time of one decision on 10,000 nodes; beside a bare heap
and a bare scan of the same nodes."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median, quantiles

from bench.report import Figure
from events.language.base import Event
from events.language.common import DEFAULT_PROJECT, ResourceVector
from events.language.jobs import JobQueued
from events.language.jobs.spec import (
    JobEnvironment,
    JobLaunch,
    JobPriority,
    JobResources,
    JobScheduling,
    QueueRequest,
)
from events.language.resources import NodeRegistered
from events.language.resources.amounts import NANO, of_request
from events.language.resources.hardware import GPUResource, NodeSpec
from events.language.scheduling import JobScheduled
from events.process.settings import Settings
from events.writer.decider import DecisionContext
from services.scheduling.decide import Scheduling
from services.scheduling.engine.backlog import Backlog
from services.scheduling.engine.cluster import Cluster
from services.scheduling.engine.node import Vector, vector
from services.scheduling.engine.plan import plan
from services.scheduling.state import Queue

NODES = 10_000
JOBS = 50_000
DECISIONS = 500
AT_ONCE = 2_000
GIB = 1 << 30
QUEUE = "bench"
START = datetime(2026, 1, 1, tzinfo=UTC)
CAPACITY = ResourceVector(cpus=64.0, memory_bytes=512 * GIB, gpus=8, storage_bytes=1000 * GIB, network_mbps=10_000)
RULES = JobScheduling()
LAUNCH = JobLaunch(name="bench", command="true", environment=JobEnvironment(), array_size=1, grace_seconds=10.0)


def _nodes() -> list[NodeRegistered]:
    gpus = tuple(GPUResource(index=i, uuid=f"GPU-{i}", name="NVIDIA H200", memory_bytes=141 * GIB) for i in range(8))
    return [
        NodeRegistered(
            pool=QUEUE,
            node_id=f"n{number}",
            spec=NodeSpec(hostname=f"n{number}", capacity=CAPACITY, gpus=gpus, labels={"zone": f"z{number % 4}"}),
            boot_id="b",
            agent_id="a",
        )
        for number in range(NODES)
    ]


def _resources(shapes: int) -> list[JobResources]:
    return [JobResources(cpus=1.0 + n % 4, memory_bytes=(1 + n) * GIB, gpus=n % 3 and 1) for n in range(shapes)]


def _request(number: int, resources: JobResources) -> QueueRequest:
    return QueueRequest(
        queue=QUEUE,
        priority=JobPriority.NORMAL,
        submitted_at=START + timedelta(microseconds=number),
        name="bench",
        resources=resources,
        scheduling=RULES,
    )


def _queue() -> Queue:
    """A queue that knows the nodes."""
    decider = Scheduling()
    queue = decider.initial(QUEUE)
    for node in _nodes():
        queue = decider.observe(queue, node, START)
    return queue


def core(cluster: Cluster, shapes: int) -> float:
    """Placements/s of the engine: order, choice of node, book-keeping."""
    backlog = Backlog()
    wanted = _resources(shapes)
    for number in range(JOBS):
        job = backlog.job(f"j{number}", DEFAULT_PROJECT, "owner", _request(number, wanted[number % shapes]), LAUNCH)
        backlog.add(job, 1, ((0, 0),), START, None)
    placed = 0
    started = time.perf_counter()
    while planned := plan(cluster, backlog, placed + 1, AT_ONCE):
        for item in planned:
            for placement in item.placements:
                backlog.place(item.entry.job, placement.id, placement.tasks)
            backlog.take(item.entry, ())
            placed += len(item.placements)
    seconds = time.perf_counter() - started
    if placed != JOBS:
        raise RuntimeError(f"{placed} of {JOBS} jobs were placed")
    for id in list(cluster.holds):
        cluster.release(id)
    return placed / seconds


def bare_heap(shapes: int) -> float:
    """Placements/s of heaps of (what is left over, node) and nothing else: no order, no rules, no devices, no ids."""
    whole = (64 * NANO, CAPACITY.memory_bytes, CAPACITY.gpus, CAPACITY.storage_bytes, CAPACITY.network_mbps)
    free = [list(whole) for _ in range(NODES)]
    requests = [vector(of_request(resources)) for resources in _resources(shapes)]
    heaps = [[(_left(have, wanted, whole), n) for n, have in enumerate(free)] for wanted in requests]
    for heap in heaps:
        heapq.heapify(heap)
    started = time.perf_counter()
    for number in range(JOBS):
        wanted, heap = requests[number % shapes], heaps[number % shapes]
        while True:
            _, node = heap[0]
            have = free[node]
            if all(have[kind] >= wanted[kind] for kind in range(5)):
                break
            heapq.heappop(heap)
        for kind in range(5):
            have[kind] -= wanted[kind]
        heapq.heapreplace(heap, (_left(have, wanted, whole), node))
    return JOBS / (time.perf_counter() - started)


def _left(have: Sequence[int], wanted: Vector, whole: Vector) -> float:
    return (
        (have[0] - wanted[0]) / whole[0]
        + (have[1] - wanted[1]) / whole[1]
        + (have[2] - wanted[2]) / whole[2] * 4
        + (have[3] - wanted[3]) / whole[3]
        + (have[4] - wanted[4]) / whole[4]
    )


class _Writer:
    """Feeds a queue as the runtime's writer does, without a log."""

    def __init__(self) -> None:
        self.decider = Scheduling()
        self.queue = _queue()

    def handle(self, inputs: Sequence[JobQueued]) -> int:
        """React to all, then plan until nothing is left; how many tasks were placed."""
        placed = 0
        for event in inputs:
            self._fold(self.decider.react(self.queue, event, self._context()))
        while events := self.decider.after_batch(self.queue, self._context()):
            self._fold(events)
            placed += sum(len(event.placements) for event in events if isinstance(event, JobScheduled))
        return placed

    def _fold(self, events: Sequence[Event]) -> None:
        for event in events:
            self.queue = self.decider.evolve(self.queue, event, START)

    def _context(self) -> DecisionContext:
        return DecisionContext(START, "input", "owner", DEFAULT_PROJECT, QUEUE)


def _queued(number: int, resources: JobResources) -> JobQueued:
    return JobQueued(
        job_id=f"j{number}",
        project=DEFAULT_PROJECT,
        owner="owner",
        tasks="0",
        attempt=1,
        request=_request(number, resources),
        launch=LAUNCH,
    )


def decisions(shapes: int) -> float:
    """Placements/s of the whole decision: JobQueued in, JobEnqueued and JobScheduled out and folded."""
    writer = _Writer()
    wanted = _resources(shapes)
    inputs = [_queued(number, wanted[number % shapes]) for number in range(JOBS)]
    started = time.perf_counter()
    placed = sum(writer.handle(inputs[start : start + 500]) for start in range(0, JOBS, 500))
    seconds = time.perf_counter() - started
    if placed != JOBS:
        raise RuntimeError(f"{placed} of {JOBS} jobs were placed")
    return placed / seconds


def latencies() -> list[float]:
    """Milliseconds of single decisions, one job at a time, on nodes that are half full."""
    writer = _Writer()
    wanted = _resources(10)
    writer.handle([_queued(number, wanted[number % 10]) for number in range(JOBS)])
    found: list[float] = []
    for number in range(JOBS, JOBS + DECISIONS):
        event = _queued(number, wanted[number % 10])
        started = time.perf_counter()
        if writer.handle([event]) != 1:
            raise RuntimeError("a job was not placed")
        found.append((time.perf_counter() - started) * 1000)
    return found


def bare_scan() -> float:
    """Milliseconds to find the best of the nodes by looking at each."""
    whole = (64 * NANO, CAPACITY.memory_bytes, CAPACITY.gpus, CAPACITY.storage_bytes, CAPACITY.network_mbps)
    wanted = vector(of_request(_resources(1)[0]))
    free = [list(whole) for _ in range(NODES)]
    times: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        min((_left(have, wanted, whole), n) for n, have in enumerate(free) if have[0] >= wanted[0])
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


async def figures(_settings: Settings, runs: int) -> list[Figure]:
    """Everything here is a pure computation: the servers are not asked."""
    found: list[Figure] = []
    cluster = _queue().cluster

    def rate(name: str, figure: Callable[[], float], limit: Callable[[], float], target: float | None) -> None:
        figure()  # the first time fills caches
        pairs = [(figure(), limit()) for _ in range(runs)]
        values, limits = [value for value, _ in pairs], [value for _, value in pairs]
        found.append(Figure(name, "placements/s", values, limits, "bare heap", target))

    for shapes in (1, 10):
        told = f"{NODES:,} nodes, {shapes} shape{'s' if shapes > 1 else ''}"
        rate(f"scheduling core, {told}", partial(core, cluster, shapes), partial(bare_heap, shapes), 25_000)
    rate(f"decisions as events, {NODES:,} nodes, 10 shapes", partial(decisions, 10), partial(bare_heap, 10), None)
    samples = [latencies() for _ in range(runs)]
    scans = [bare_scan() for _ in range(runs)]
    for name, values in (
        ("median", [median(times) for times in samples]),
        ("p99", [quantiles(times, n=100)[98] for times in samples]),
    ):
        found.append(
            Figure(
                f"one decision, {NODES:,} nodes half full, {name}",
                "ms",
                values,
                scans,
                "scan of all nodes",
                higher_is_better=False,
            )
        )
    return found
