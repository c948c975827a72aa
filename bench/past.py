"""A long past, written straight into the log: finished jobs as the platform itself would have left them.

Events are those of one job that really ran, with other ids, through the project's own encoder: markers, epochs, causes,
hash chain. What is left out are the commands, whose positions a later writer would take for its own point of resume.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from typing import Any

from events.language.base import Event
from events.language.common import PLATFORM_ACTOR, WriterStarted
from events.language.jobs import JobAssigned, JobCompleted, JobExited, JobQueued, JobStarted, JobSubmitted
from events.language.resources import AllocationBound, AllocationReleased, NodeRegistered
from events.language.scheduling import JobEnqueued, JobScheduled
from events.log import chain, topics
from events.log.batch import Batch
from events.log.envelope import Meta, Recorded
from events.log.ids import new_command_id
from events.log.partitioner import partition_of
from events.log.producer import new_producer
from events.log.wire import headers_of, value_of
from events.process.settings import Settings
from events.writer.encoding import Encoded, Encoder, Origin, Placed

BATCH = 500
"""Records of one batch."""
IN_FLIGHT = 8

CONTEXTS = ("jobs", "scheduling", "resources")

JOBS = (JobSubmitted, JobQueued, JobAssigned, JobStarted, JobExited, JobCompleted)
SCHEDULING = (JobEnqueued, JobScheduled)
RESOURCES = (AllocationBound, AllocationReleased)


def template(seen: Sequence[Recorded]) -> dict[str, dict[str, Any]]:
    """One finished job's events, and its node's registration, by type, as plain data. Raises LookupError."""
    found = {type(record.data).__name__: record.data.model_dump(mode="json") for record in seen}
    wanted = [kind.__name__ for kind in (*JOBS, *SCHEDULING, *RESOURCES, NodeRegistered)]
    if missing := [name for name in wanted if name not in found]:
        raise LookupError(f"the job that was run has no {', '.join(missing)}")
    return {name: found[name] for name in wanted}


class _Log:
    """A partition to write to from its very beginning."""

    def __init__(self, context: str, number: int) -> None:
        self.topic, self.number = f"events.{context}", number
        self.records: list[Encoded] = []
        self.next_offset = 0
        self._encoder = Encoder(context)
        self._context = context

    def add(self, events: Sequence[Event], cause: str = "", id: str = "") -> None:
        placed: list[Placed] = [
            (event, event.key(), event.subject(), "local/default", PLATFORM_ACTOR, "", "", "") for event in events
        ]
        id = id or f"{self._context}-{self.number}-0-{self.next_offset}"
        origin = Origin(id, "", PLATFORM_ACTOR, "local/default", "", cause)
        now = datetime.now(UTC)
        self.records += self._encoder.records(placed, origin, now)
        self.next_offset += len(placed)

    def start(self) -> None:
        """The marker: epoch 0 begins."""
        marker = WriterStarted(subject_id=f"{self._context}/{self.number}", writer="past")
        now = datetime.now(UTC)
        meta = Meta(
            id=new_command_id(),
            type=WriterStarted.type_name(),
            source=f"forgelog/{self._context}",
            subject=marker.subject_id,
            time=now,
            project="",
            actor=PLATFORM_ACTOR,
        )
        key, value, headers = marker.subject_id.encode(), value_of(marker), headers_of(meta)
        self._encoder.digest = chain.link(self._encoder.digest, key, value, headers)
        self.records.append(Encoded.of(key, value, headers, int(now.timestamp() * 1000)))
        self.next_offset += 1
        self._encoder.begin(0)


def _job_id(number: int) -> str:
    return f"past{number:08d}"


def _renamed(event: Any, job_id: str) -> Any:
    """The event as another job's."""
    change: dict[str, Any] = {"job_id": job_id}
    allocation = f"{job_id}.1.1"
    match event:
        case JobAssigned() | AllocationBound() | AllocationReleased():
            change["allocation_id"] = allocation
        case JobStarted() | JobExited():
            change["tasks"] = tuple(each.model_copy(update={"allocation_id": allocation}) for each in event.tasks)
        case JobScheduled():
            change["placements"] = tuple(
                each.model_copy(update={"allocation_id": allocation}) for each in event.placements
            )
        case JobEnqueued():
            change["entry"] = event.entry.model_copy(update={"job_id": job_id})
    return event.model_copy(update=change)


def _events(found: dict[str, dict[str, Any]], kinds: Sequence[type[Event]]) -> list[Any]:
    return [kind.model_validate(found[kind.__name__], strict=False) for kind in kinds]


def _steps(count: int, alive: int) -> Iterator[tuple[int | None, int | None]]:
    """The job that begins and the job that ends, in each step: so many are alive between steps."""
    for number in range(count + alive):
        yield number if number < count else None, number - alive if number >= alive else None


def _jobs(found: dict[str, dict[str, Any]], count: int, partitions: int, alive: int) -> Iterator[list[_Log]]:
    """events.jobs: six events a job, the assignment caused by its allocation."""
    logs = [_Log("jobs", number) for number in range(partitions)]
    submitted, queued, assigned, *rest = _events(found, JOBS)
    pool = partition_of(found["AllocationBound"]["pool"], partitions)
    for log in logs:
        log.start()
    for step, (begins, ends) in enumerate(_steps(count, alive)):
        if begins is not None:
            job_id = _job_id(begins)
            log = logs[partition_of(job_id, partitions)]
            log.add([_renamed(submitted, job_id), _renamed(queued, job_id)])
            bound = 2 + begins + max(0, begins - alive)
            log.add([_renamed(assigned, job_id)], f"events.resources/{pool}@{bound}|0", f"bound-{begins}")
        if ends is not None:
            job_id = _job_id(ends)
            logs[partition_of(job_id, partitions)].add([_renamed(event, job_id) for event in rest])
        if step % 200 == 199:
            yield logs
    yield logs


def _placed(found: dict[str, dict[str, Any]], count: int, partitions: int, alive: int) -> Iterator[list[_Log]]:
    """events.scheduling and events.resources: two events a job each, caused by each other."""
    queue, pool = found["JobEnqueued"]["queue"], found["AllocationBound"]["pool"]
    scheduling = _Log("scheduling", partition_of(queue, partitions))
    resources = _Log("resources", partition_of(pool, partitions))
    enqueued, scheduled = _events(found, SCHEDULING)
    bound, released = _events(found, RESOURCES)
    offsets = dict.fromkeys(range(partitions), 1)
    for log in (scheduling, resources):
        log.start()
    resources.add(_events(found, [NodeRegistered]))
    for step, (begins, ends) in enumerate(_steps(count, alive)):
        if begins is not None:
            job_id = _job_id(begins)
            own = partition_of(job_id, partitions)
            scheduling.add([_renamed(enqueued, job_id)], f"events.jobs/{own}@{offsets[own] + 1}|0", f"queued-{begins}")
            cause = f"events.scheduling/{scheduling.number}@{scheduling.next_offset}|0"
            scheduling.add([_renamed(scheduled, job_id)])
            resources.add([_renamed(bound, job_id)], cause, f"scheduled-{begins}")
            offsets[own] += 3
        if ends is not None:
            job_id = _job_id(ends)
            resources.add([_renamed(released, job_id)])
            offsets[partition_of(job_id, partitions)] += 3
        if step % 200 == 199:
            yield [scheduling, resources]
    yield [scheduling, resources]


async def _produce(settings: Settings, made: Iterator[list[_Log]]) -> int:
    """Append what is made, in batches; the number of records."""
    logs: list[_Log] = []
    producer = new_producer(settings)
    await producer.start()
    pending: set[asyncio.Future[Any]] = set()
    try:
        for logs in made:
            for log in logs:
                if len(log.records) >= BATCH:
                    await _send(producer, settings, log, pending)
        for log in logs:
            await _send(producer, settings, log, pending)
        await asyncio.gather(*pending)
        return sum(log.next_offset for log in logs)
    finally:
        await producer.stop()


async def _send(producer: Any, settings: Settings, log: _Log, pending: set[asyncio.Future[Any]]) -> None:
    records, log.records = log.records, []
    for start in range(0, len(records), BATCH):
        batch = Batch()
        batch.extend(records[start : start + BATCH])
        future = await producer.send_batch(batch, settings.prefix + log.topic, partition=log.number)
        pending.add(future)
        future.add_done_callback(pending.discard)
        while len(pending) > IN_FLIGHT:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)


def _work(settings: Settings, part: str, found: dict[str, dict[str, Any]], count: int, alive: int) -> int:
    """In a process of its own."""
    import uvloop

    make = {"jobs": _jobs, "placed": _placed}[part]
    return uvloop.run(_produce(settings, make(found, count, settings.partitions, alive)))


async def write(
    settings: Settings, found: dict[str, dict[str, Any]], count: int, say: Callable[[str], None], alive: int = 0
) -> tuple[int, float]:
    """Write the history of `count` finished jobs, `alive` of them live at any time, into empty topics. Returns the
    number of records and the seconds that it took."""
    await topics.ensure_topics(settings)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        parts = [loop.run_in_executor(pool, _work, settings, part, found, count, alive) for part in ("jobs", "placed")]
        waiting: set[Any] = set(parts)
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=20)
            if waiting:
                say(f"writing the history of {count:,} jobs, {time.perf_counter() - began:.0f} s")
        records = sum(await asyncio.gather(*parts))
    return records, time.perf_counter() - began
